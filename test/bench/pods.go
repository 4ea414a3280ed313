// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection"
	"obstack.dev/obstack/test/operator"
)

// podCreation compares the creation of Pods with the webhook and without: Pods
// that do not concern us, and Pods with the stamp of a template.
func (b *bench) podCreation(ctx context.Context) error {
	progress("%d pairs of %d Pods, un-annotated and stamped", b.podPairs, b.pods)
	if err := b.renew(ctx); err != nil {
		return err
	}
	if err := b.restart(ctx); err != nil {
		return err
	}
	stack, err := b.injectingStack(ctx)
	if err != nil {
		return err
	}
	plain, stamped := podOf(stack.Namespace, nil, nil), stampedPod(stack)
	turns := []struct {
		pod   *corev1.Pod
		pairs *[]pair
	}{{plain, &b.PodsPlain}, {stamped, &b.PodsStamped}}
	registered := true
	for range b.podPairs {
		for _, turn := range turns {
			var p pair
			// With one change of the registration for each pair.
			for _, with := range []bool{registered, !registered} {
				if err := b.register(ctx, stamped, &registered, with); err != nil {
					return err
				}
				took, err := b.createPods(ctx, turn.pod, with)
				if err != nil {
					return err
				}
				if with {
					p.Operator = took
				} else {
					p.Bare = took
				}
			}
			*turn.pairs = append(*turn.pairs, p)
		}
		// So that what comes first of a pair does not always come first.
		slices.Reverse(turns)
	}
	progress("un-annotated %.3f, stamped %.3f of the creations without the webhook",
		1/medianPair(b.PodsPlain).Ratio(), 1/medianPair(b.PodsStamped).Ratio())
	return nil
}

// injectingStack makes a stack that admits every namespace, and waits for its settings.
func (b *bench) injectingStack(ctx context.Context) (*obsv1.ObservabilityStack, error) {
	stacks, err := b.newStacks(ctx, 1)
	if err != nil {
		return nil, err
	}
	stack := stacks[0]
	stack.Spec.Injection = &obsv1.InjectionSpec{Namespaces: &obsv1.InjectionNamespaces{From: obsv1.NamespacesFromAll}}
	if err := b.api.Create(ctx, stack); err != nil {
		return nil, fmt.Errorf("make a stack: %w", err)
	}
	err = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		err := b.api.Get(ctx, client.ObjectKeyFromObject(stack), stack)
		return stack.Status.ConfigHash != "", err
	})
	if err != nil {
		return nil, fmt.Errorf("wait for the settings of a stack: %w", err)
	}
	return stack, nil
}

// register registers the webhooks or removes them, and waits until the API server acts on it.
func (b *bench) register(ctx context.Context, stamped *corev1.Pod, registered *bool, want bool) error {
	if *registered == want {
		return nil
	}
	change := b.webhooks.Remove
	if want {
		change = b.webhooks.Restore
	}
	if err := change(ctx); err != nil {
		return err
	}
	*registered = want
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		pod := stamped.DeepCopy()
		pod.Name = "probe"
		err := b.api.Create(ctx, pod, client.DryRunAll)
		return injected(pod) == want, err
	})
	if err != nil {
		return fmt.Errorf("wait for the change of the registration: %w", err)
	}
	return nil
}

func injected(pod *corev1.Pod) bool { return pod.Annotations[obsv1.MarkInjected] != "" }

// createPods times the creation of Pods, counts those that the webhook should have
// injected and did not, and removes them.
func (b *bench) createPods(ctx context.Context, template *corev1.Pod, webhook bool) (time.Duration, error) {
	idle := func(s operator.Samples) bool { return s.Idle() }
	if err := b.until(ctx, seldom, "the operator is idle", idle); err != nil {
		return 0, err
	}
	var marked atomic.Int64
	start := time.Now()
	err := parallel(ctx, b.pods, func(ctx context.Context, i int) error {
		pod := template.DeepCopy()
		pod.Name = fmt.Sprintf("pod-%05d", i)
		if err := b.api.Create(ctx, pod); err != nil {
			return fmt.Errorf("create a Pod: %w", err)
		}
		if injected(pod) {
			marked.Add(1)
		}
		return nil
	})
	took := time.Since(start)
	if err != nil {
		return 0, err
	}
	switch concerned := template.Labels[obsv1.StampStack] != ""; {
	case webhook && concerned:
		b.PodsMissed += b.pods - int(marked.Load())
	case marked.Load() > 0:
		return 0, fmt.Errorf("%d Pods were injected that should not be", marked.Load())
	}
	err = b.api.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(template.Namespace), client.GracePeriodSeconds(0))
	if err != nil {
		return 0, fmt.Errorf("remove Pods: %w", err)
	}
	return took, nil
}

// stampedPod is a Pod as it is made from a stamped template.
func stampedPod(stack *obsv1.ObservabilityStack) *corev1.Pod {
	stamp := injection.StampFor(injection.Claim{Stack: client.ObjectKeyFromObject(stack)}, stack.Status.ConfigHash)
	return podOf(stack.Namespace, stamp.Labels(), stamp.Annotations())
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
