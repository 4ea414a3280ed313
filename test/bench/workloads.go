// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// How the workloads are spread, and how many of them are annotated: one namespace in workloadShare.
const (
	podsPerWorkload       = 5
	workloadsPerNamespace = 10
	workloadShare         = 20
)

// footprint is the memory of an operator that was just started, in bytes.
type footprint struct {
	// Heap is what it holds; Resident is what it occupies.
	Heap, Resident int64
}

// loads are footprints beside workloads and Pods.
type loads struct {
	Namespaces, Workloads, Pods, Annotated footprint
}

// workloadMemory measures what workloads and Pods cost the operator, of which first
// none is annotated and then some are.
func (b *bench) workloadMemory(ctx context.Context) error {
	progress("memory beside %d workloads with %d Pods each", b.workloads, podsPerWorkload)
	stack, err := b.renewWithStack(ctx)
	if err != nil {
		return err
	}
	namespaces := make([]string, b.workloads/workloadsPerNamespace)
	for i := range namespaces {
		namespaces[i] = fmt.Sprintf("load-%04d", i)
	}
	annotated := namespaces[:len(namespaces)/workloadShare]
	annotations := map[string]string{obsv1.AnnotationStack: client.ObjectKeyFromObject(stack).String()}
	for _, step := range []struct {
		into *footprint
		do   func() error
	}{
		{&b.Loads.Namespaces, func() error { return b.makeNamespaces(ctx, namespaces) }},
		{&b.Loads.Workloads, func() error { return b.makeWorkloads(ctx, namespaces, nil) }},
		{&b.Loads.Pods, func() error { return b.makePods(ctx, namespaces) }},
		{&b.Loads.Annotated, func() error {
			if err := b.clear(ctx, annotated); err != nil {
				return err
			}
			// The webhooks stamp the templates and inject the Pods, as they do anywhere.
			if err := b.makeWorkloads(ctx, annotated, annotations); err != nil {
				return err
			}
			return b.makePods(ctx, annotated)
		}},
	} {
		if err := step.do(); err != nil {
			return err
		}
		if *step.into, err = b.footprint(ctx); err != nil {
			return err
		}
	}
	b.Annotated = len(annotated) * workloadsPerNamespace
	return b.checkInjected(ctx, stack)
}

// footprint of an operator that is started anew and has come to rest.
func (b *bench) footprint(ctx context.Context) (footprint, error) {
	var f footprint
	if err := b.restart(ctx); err != nil {
		return f, err
	}
	err := b.settled(ctx, 1)
	if err != nil {
		return f, err
	}
	if f.Resident, err = b.memory(ctx); err != nil {
		return f, err
	}
	f.Heap, err = b.op.Heap(ctx)
	progress("heap: %.1f MiB", float64(f.Heap)/(1<<20))
	return f, err
}

func (b *bench) makeNamespaces(ctx context.Context, names []string) error {
	return parallel(ctx, len(names), func(ctx context.Context, i int) error {
		if err := b.api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: names[i]}}); err != nil {
			return fmt.Errorf("make a namespace: %w", err)
		}
		return nil
	})
}

// makeWorkloads makes Deployments, and says of them that all their Pods are there,
// as the controller would that does not run.
func (b *bench) makeWorkloads(ctx context.Context, namespaces []string, annotations map[string]string) error {
	return parallel(ctx, len(namespaces)*workloadsPerNamespace, func(ctx context.Context, i int) error {
		d := deploymentOf(namespaces[i/workloadsPerNamespace], fmt.Sprintf("shop-%d", i%workloadsPerNamespace), annotations)
		if err := b.api.Create(ctx, d); err != nil {
			return fmt.Errorf("make a workload: %w", err)
		}
		d.Status = appsv1.DeploymentStatus{
			ObservedGeneration: d.Generation, Replicas: podsPerWorkload, UpdatedReplicas: podsPerWorkload,
			ReadyReplicas: podsPerWorkload, AvailableReplicas: podsPerWorkload,
			Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, Reason: "MinimumReplicasAvailable"}},
		}
		if err := b.api.Status().Update(ctx, d); err != nil {
			return fmt.Errorf("write the status of a workload: %w", err)
		}
		return nil
	})
}

// makePods makes the Pods of the workloads, from their templates.
func (b *bench) makePods(ctx context.Context, namespaces []string) error {
	return parallel(ctx, len(namespaces), func(ctx context.Context, i int) error {
		deployments := &appsv1.DeploymentList{}
		if err := b.api.List(ctx, deployments, client.InNamespace(namespaces[i])); err != nil {
			return fmt.Errorf("list workloads: %w", err)
		}
		for n := range deployments.Items {
			if err := b.makePodsOf(ctx, &deployments.Items[n]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *bench) makePodsOf(ctx context.Context, d *appsv1.Deployment) error {
	template := podOf(d.Namespace, d.Spec.Template.Labels, d.Spec.Template.Annotations)
	template.OwnerReferences[0].Name = d.Name + "-" + template.Labels["pod-template-hash"]
	template.OwnerReferences[0].UID = types.UID("of-" + d.UID)
	for i := range podsPerWorkload {
		pod := template.DeepCopy()
		pod.Name = fmt.Sprintf("%s-%d", template.OwnerReferences[0].Name, i)
		if err := b.api.Create(ctx, pod); err != nil {
			return fmt.Errorf("make a Pod: %w", err)
		}
	}
	return nil
}

// clear removes workloads and Pods.
func (b *bench) clear(ctx context.Context, namespaces []string) error {
	return parallel(ctx, len(namespaces), func(ctx context.Context, i int) error {
		for _, obj := range []client.Object{&appsv1.Deployment{}, &corev1.Pod{}} {
			if err := b.api.DeleteAllOf(ctx, obj, client.InNamespace(namespaces[i]), client.GracePeriodSeconds(0)); err != nil {
				return fmt.Errorf("clear a namespace: %w", err)
			}
		}
		return nil
	})
}

// checkInjected asks the stack's status whether the annotated workloads are what they are taken for.
func (b *bench) checkInjected(ctx context.Context, stack *obsv1.ObservabilityStack) error {
	if err := b.api.Get(ctx, client.ObjectKeyFromObject(stack), stack); err != nil {
		return fmt.Errorf("read the stack: %w", err)
	}
	got := stack.Status.Workloads
	if got == nil || int(got.Annotated) != b.Annotated || int(got.Injected) != b.Annotated {
		return fmt.Errorf("the stack counts %+v workloads, want %d annotated and injected", got, b.Annotated)
	}
	return nil
}
