// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

// perNamespace is how many stacks share a namespace.
const perNamespace = 50

const (
	dsn       = "https://f00dfeed@o1.ingest.sentry.example/42"
	brokerURL = "redis://:hunter2@redis:6379/0"
)

// fullStack asks for every part.
func fullStack(namespace string, i int) *obsv1.ObservabilityStack {
	return &obsv1.ObservabilityStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("shop-%04d", i)},
		Spec: obsv1.ObservabilityStackSpec{
			Environment: "production",
			Metrics: &obsv1.MetricsSpec{
				Monitors: []obsv1.Monitor{monitor("api"), monitor("worker")},
				Labels:   map[string]obsv1.LabelValue{"release": "prometheus"},
			},
			Tasks: &obsv1.TasksSpec{Brokers: []obsv1.Broker{{
				Name: "main", URLFrom: from("shop-redis", "url"), Queues: []string{"celery", "emails"},
			}}},
			Dashboards: &obsv1.DashboardsSpec{
				Folder:          "Shop",
				GrafanaOperator: &obsv1.GrafanaOperatorSpec{InstanceSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "grafana"}}},
			},
			Alerts:  &obsv1.AlertsSpec{Labels: map[string]obsv1.AlertLabelValue{"team": "shop"}},
			Sentry:  &obsv1.SentrySpec{DSNFrom: from("shop-sentry", "dsn"), TracesSampleRate: "0.1"},
			Logging: &obsv1.LoggingSpec{Level: "INFO", Format: "json"},
		},
	}
}

func monitor(name string) obsv1.Monitor {
	return obsv1.Monitor{Name: name, Selector: metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}}
}

func from(name, key string) *obsv1.SecretKeySource {
	return &obsv1.SecretKeySource{SecretKeyRef: obsv1.SecretKeySelector{Name: name, Key: key}}
}

// newStacks makes the namespaces for n stacks and the Secrets that these refer
// to, and returns the stacks, which it does not make.
func (b *bench) newStacks(ctx context.Context, n int) ([]*obsv1.ObservabilityStack, error) {
	b.sets++
	var stacks []*obsv1.ObservabilityStack
	for i := range n {
		namespace := fmt.Sprintf("bench-%d-%d", b.sets, i/perNamespace)
		stacks = append(stacks, fullStack(namespace, i))
		if i%perNamespace != 0 {
			continue
		}
		for _, obj := range []client.Object{
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
			&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop-sentry"}, Data: map[string][]byte{"dsn": []byte(dsn)}},
			&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop-redis"}, Data: map[string][]byte{"url": []byte(brokerURL)}},
		} {
			if err := b.api.Create(ctx, obj); err != nil {
				return nil, fmt.Errorf("prepare namespace %s: %w", namespace, err)
			}
		}
	}
	return stacks, nil
}

// request is an object as the bare client applies it.
type request struct {
	kind            schema.GroupVersionKind
	namespace, name string
	body            []byte
}

// requestsFor are the children of a stack, made by the operator's own builders.
func (b *bench) requestsFor(stack *obsv1.ObservabilityStack) ([]request, error) {
	in := desired.Inputs{
		ExporterImage: "ghcr.io/obstack/obstack:dev",
		Secrets: map[obsv1.SecretKeySelector]desired.SecretValue{
			{Name: "shop-sentry", Key: "dsn"}: {SecretExists: true, KeyExists: true, Value: dsn, Source: desired.Source{Revision: "0123456789abcdef0123456789abcdef"}},
			{Name: "shop-redis", Key: "url"}:  {SecretExists: true, KeyExists: true, Value: brokerURL, Source: desired.Source{Revision: "0123456789abcdef0123456789abcdef"}},
		},
	}
	stack = stack.DeepCopy()
	stack.UID = types.UID("00000000-0000-4000-8000-000000000000")
	var requests []request
	for _, component := range desired.Components {
		for _, obj := range component.Build(stack, in).Objects {
			r, err := b.newRequest(stack, obj)
			if err != nil {
				return nil, err
			}
			requests = append(requests, r)
		}
	}
	return requests, nil
}

func (b *bench) newRequest(stack *obsv1.ObservabilityStack, obj client.Object) (request, error) {
	kind, err := apiutil.GVKForObject(obj, b.api.Scheme())
	if err != nil {
		return request{}, fmt.Errorf("find the kind of %s: %w", obj.GetName(), err)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return request{}, fmt.Errorf("convert %s: %w", obj.GetName(), err)
	}
	delete(content, "status")
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(kind)
	u.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(stack, obsv1.GroupVersion.WithKind("ObservabilityStack"))})
	body, err := json.Marshal(u.Object)
	return request{kind, stack.Namespace, obj.GetName(), body}, err
}

// apply sends a request, and asks for no more than metadata, as the operator does.
func (b *bench) apply(ctx context.Context, r request, opts ...client.PatchOption) error {
	answer := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: r.name}}
	answer.SetGroupVersionKind(r.kind)
	err := b.api.Patch(ctx, answer, client.RawPatch(types.ApplyPatchType, r.body), append(opts, client.FieldOwner("bare"), client.ForceOwnership)...)
	if err != nil {
		return fmt.Errorf("apply %s %s: %w", r.kind.Kind, r.name, err)
	}
	return nil
}

// wipe removes the stacks of the namespaces and their children, as no garbage collector runs.
func (b *bench) wipe(ctx context.Context, stacks []*obsv1.ObservabilityStack) error {
	for i := 0; i < len(stacks); i += perNamespace {
		for _, kind := range append([]schema.GroupVersionKind{obsv1.GroupVersion.WithKind("ObservabilityStack")}, childKinds...) {
			obj := &metav1.PartialObjectMetadata{}
			obj.SetGroupVersionKind(kind)
			if err := b.api.DeleteAllOf(ctx, obj, client.InNamespace(stacks[i].Namespace)); err != nil {
				return fmt.Errorf("clear namespace %s: %w", stacks[i].Namespace, err)
			}
		}
	}
	return nil
}

// childKinds are the kinds of a full stack's children.
var childKinds = []schema.GroupVersionKind{
	{Version: "v1", Kind: "Secret"},
	{Version: "v1", Kind: "ConfigMap"},
	{Version: "v1", Kind: "Service"},
	{Group: "apps", Version: "v1", Kind: "Deployment"},
	desired.ServiceMonitorKind,
	desired.PrometheusRuleKind,
	desired.GrafanaDashboardKind,
}

// podOf is a Pod of a ReplicaSet, as large as such Pods commonly are.
func podOf(namespace string, labels, annotations map[string]string) *corev1.Pod {
	d := deploymentOf(namespace, "shop-api", nil)
	meta := d.Spec.Template.ObjectMeta
	meta.Namespace = namespace
	maps.Copy(meta.Labels, labels)
	maps.Copy(meta.Labels, map[string]string{"pod-template-hash": "5d8f6c7b9"})
	maps.Copy(meta.Annotations, annotations)
	meta.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "apps/v1", Kind: "ReplicaSet", Name: d.Name + "-5d8f6c7b9", UID: types.UID("00000000-0000-4000-8000-000000000001"),
		Controller: new(true), BlockOwnerDeletion: new(true),
	}}
	return &corev1.Pod{ObjectMeta: meta, Spec: d.Spec.Template.Spec}
}

// deploymentOf is a Deployment of two containers with what such containers commonly have.
func deploymentOf(namespace, name string, annotations map[string]string) *appsv1.Deployment {
	labels := map[string]string{"app.kubernetes.io/name": name, "app.kubernetes.io/instance": name, "app.kubernetes.io/managed-by": "Helm"}
	var env []corev1.EnvVar
	for i := range 8 {
		env = append(env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%d", i), Value: "a value of common length"})
	}
	probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http")}}}
	container := corev1.Container{
		Name: "api", Image: "registry.example.com/shop/api:1.4.2", Env: env,
		Ports:         []corev1.ContainerPort{{Name: "http", ContainerPort: 8000}},
		LivenessProbe: probe, ReadinessProbe: probe,
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
		},
		EnvFrom:      []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "shop"}}}},
		VolumeMounts: []corev1.VolumeMount{{Name: "tmp", MountPath: "/tmp"}},
	}
	sidecar := *container.DeepCopy()
	sidecar.Name, sidecar.Ports[0].Name, sidecar.Ports[0].ContainerPort = "proxy", "proxy", 8001
	sidecar.LivenessProbe, sidecar.ReadinessProbe = nil, nil
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels, Annotations: annotations},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(podsPerWorkload)),
			Selector: &metav1.LabelSelector{MatchLabels: maps.Clone(labels)},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: maps.Clone(labels), Annotations: map[string]string{"checksum/config": "0123456789abcdef0123456789abcdef"}},
				Spec: corev1.PodSpec{
					Containers: []corev1.Container{container, sidecar},
					Volumes:    []corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
				},
			},
		},
	}
}
