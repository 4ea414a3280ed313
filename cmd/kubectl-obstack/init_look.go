// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// application is what is in a namespace.
type application struct {
	namespace string
	services  []corev1.Service
	workloads []workload
	// secrets are the keys of each Secret; nil if the caller may not list Secrets.
	secrets map[string][]string
	// configMaps are those that give variables, as far as the caller may read them.
	configMaps map[string]map[string]string
}

// workload is anything with a Pod template.
type workload struct {
	kind, name  string
	annotations map[string]string
	template    corev1.PodTemplateSpec
}

func (w *workload) String() string { return w.kind + " " + w.name }

// arg is the workload as kubectl takes it.
func (w *workload) arg() string { return strings.ToLower(w.kind) + "/" + w.name }

// containers are those of the application itself.
func (w *workload) containers() []corev1.Container {
	return slices.DeleteFunc(slices.Clone(w.template.Spec.Containers), func(c corev1.Container) bool {
		return slices.Contains(policy.Sidecars, c.Name)
	})
}

// look reads a namespace.
func look(ctx context.Context, api client.Reader, namespace string) (*application, error) {
	app := &application{namespace: namespace, configMaps: map[string]map[string]string{}}
	deployments, statefulSets := &appsv1.DeploymentList{}, &appsv1.StatefulSetList{}
	daemonSets, cronJobs, services := &appsv1.DaemonSetList{}, &batchv1.CronJobList{}, &corev1.ServiceList{}
	for _, one := range []struct {
		what string
		list client.ObjectList
	}{
		{"Services", services}, {"Deployments", deployments}, {"StatefulSets", statefulSets},
		{"DaemonSets", daemonSets}, {"CronJobs", cronJobs},
	} {
		if err := api.List(ctx, one.list, client.InNamespace(namespace)); err != nil {
			return nil, readError(one.what, namespace, err)
		}
	}
	app.services = slices.DeleteFunc(services.Items, func(s corev1.Service) bool { return ours(&s) })
	for _, d := range deployments.Items {
		app.add(&d, policy.KindDeployment, d.Spec.Template)
	}
	for _, s := range statefulSets.Items {
		app.add(&s, policy.KindStatefulSet, s.Spec.Template)
	}
	for _, d := range daemonSets.Items {
		app.add(&d, policy.KindDaemonSet, d.Spec.Template)
	}
	for _, j := range cronJobs.Items {
		app.add(&j, policy.KindCronJob, j.Spec.JobTemplate.Spec.Template)
	}
	if err := app.lookAtSecrets(ctx, api); err != nil {
		return nil, err
	}
	return app, app.lookAtConfigMaps(ctx, api)
}

// ours reports whether obstack made an object.
func ours(object client.Object) bool {
	return object.GetLabels()[obsv1.LabelManagedBy] == obsv1.ManagedBy
}

func (a *application) add(object client.Object, kind string, template corev1.PodTemplateSpec) {
	if !ours(object) {
		a.workloads = append(a.workloads, workload{kind, object.GetName(), object.GetAnnotations(), template})
	}
}

// lookAtSecrets keeps the keys of the Secrets that people made, if the caller may list them.
func (a *application) lookAtSecrets(ctx context.Context, api client.Reader) error {
	list := &corev1.SecretList{}
	err := api.List(ctx, list, client.InNamespace(a.namespace))
	if apierrors.IsForbidden(err) {
		return nil
	}
	if err != nil {
		return readError("Secrets", a.namespace, err)
	}
	a.secrets = map[string][]string{}
	for i := range list.Items {
		if secret := &list.Items[i]; !ours(secret) && secret.Type == corev1.SecretTypeOpaque {
			a.secrets[secret.Name] = slices.Sorted(maps.Keys(secret.Data))
		}
	}
	return nil
}

// lookAtConfigMaps reads those that give variables to containers.
func (a *application) lookAtConfigMaps(ctx context.Context, api client.Reader) error {
	for i := range a.workloads {
		for _, c := range a.workloads[i].containers() {
			for _, name := range configMapsOf(c) {
				configMap := &corev1.ConfigMap{}
				err := api.Get(ctx, client.ObjectKey{Namespace: a.namespace, Name: name}, configMap)
				if err == nil {
					a.configMaps[name] = configMap.Data
				} else if !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
					return readError("ConfigMap "+name, a.namespace, err)
				}
			}
		}
	}
	return nil
}

func configMapsOf(c corev1.Container) (names []string) {
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef != nil {
			names = append(names, from.ConfigMapRef.Name)
		}
	}
	for _, variable := range c.Env {
		if variable.ValueFrom != nil && variable.ValueFrom.ConfigMapKeyRef != nil {
			names = append(names, variable.ValueFrom.ConfigMapKeyRef.Name)
		}
	}
	return names
}

// variable is one of a container.
type variable struct {
	// value is that of a plain variable, or of one from a ConfigMap.
	value string
	// secret is where the value is, if it is in a Secret.
	secret *obsv1.SecretKeySelector
}

// variables of a container, as far as they can be known. Those of Secrets in opaque are not.
func (a *application) variables(c corev1.Container) (found map[string]variable, opaque []string) {
	found = map[string]variable{}
	for _, from := range c.EnvFrom {
		switch {
		case from.ConfigMapRef != nil:
			for key, value := range a.configMaps[from.ConfigMapRef.Name] {
				found[from.Prefix+key] = variable{value: value}
			}
		case from.SecretRef != nil && a.secrets == nil:
			opaque = append(opaque, from.SecretRef.Name)
		case from.SecretRef != nil:
			for _, key := range a.secrets[from.SecretRef.Name] {
				found[from.Prefix+key] = variable{secret: &obsv1.SecretKeySelector{Name: from.SecretRef.Name, Key: key}}
			}
		}
	}
	for _, env := range c.Env {
		switch from := env.ValueFrom; {
		case from == nil:
			found[env.Name] = variable{value: env.Value}
		case from.SecretKeyRef != nil:
			ref := obsv1.SecretKeySelector{Name: from.SecretKeyRef.Name, Key: from.SecretKeyRef.Key}
			found[env.Name] = variable{secret: &ref}
		case from.ConfigMapKeyRef != nil:
			found[env.Name] = variable{value: a.configMaps[from.ConfigMapKeyRef.Name][from.ConfigMapKeyRef.Key]}
		}
	}
	return found, opaque
}
