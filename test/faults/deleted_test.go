// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// deletedOneByOne deletes stacks in the middle of a pass: as soon as a child of
// each kind appears, in either way in which kubectl deletes.
func (p *plane) deletedOneByOne(t *testing.T) {
	namespace := p.namespace(t)
	op := p.run(t, "operator")
	ready(t, op)
	for i, kind := range childKinds {
		for _, policy := range []metav1.DeletionPropagation{
			metav1.DeletePropagationBackground, metav1.DeletePropagationForeground,
		} {
			stack := newStack(namespace, fmt.Sprintf("stack-%d-%c", i, policy[0]+'a'-'A'))
			p.deleteAtFirst(t, kind, stack, policy)
		}
	}
	p.nothingRemains(t, op, namespace)
}

// deleteAtFirst makes a stack and deletes it when its first child of a kind appears.
func (p *plane) deleteAtFirst(t *testing.T, kind schema.GroupVersionKind, stack *obsv1.ObservabilityStack,
	policy metav1.DeletionPropagation) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Timeout)
	defer cancel()
	watching, err := client.NewWithWatch(p.Config, client.Options{Scheme: p.api.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	children := &metav1.PartialObjectMetadataList{}
	children.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	watch, err := watching.Watch(ctx, children, client.InNamespace(stack.Namespace),
		client.MatchingLabels{obsv1.LabelStack: stack.Name})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	testenv.Create(t, p.api, stack)
	if _, open := <-watch.ResultChan(); !open {
		t.Fatalf("no %s of %s appeared", kind.Kind, stack.Name)
	}
	if err := p.api.Delete(ctx, stack, client.PropagationPolicy(policy)); err != nil {
		t.Fatal(err)
	}
}

// deletedAtOnce deletes fifty stacks while the operator is converging them.
func (p *plane) deletedAtOnce(t *testing.T) {
	const stacks = 50
	namespace := p.namespace(t)
	op := p.run(t, "operator")
	ready(t, op)
	for i := range stacks {
		testenv.Create(t, p.api, newStack(namespace, fmt.Sprintf("stack-%d", i)))
	}
	testenv.Poll(t, func(ctx context.Context) string {
		samples, err := op.Metrics(ctx)
		if err != nil {
			return err.Error()
		}
		if samples.Passes() < 5 {
			return "the operator has not begun"
		}
		return ""
	})
	var deletions sync.WaitGroup
	for i := range stacks {
		deletions.Go(func() {
			if err := p.api.Delete(t.Context(), newStack(namespace, fmt.Sprintf("stack-%d", i))); err != nil {
				t.Error(err)
			}
		})
	}
	deletions.Wait()
	p.nothingRemains(t, op, namespace)
}

// nothingRemains waits until the operator has seen all and the garbage collector
// has collected all.
func (p *plane) nothingRemains(t *testing.T, op *testenv.Operator, namespace string) {
	t.Helper()
	// A watch delivers in order: an operator that has converged a later stack will
	// not begin a pass over an earlier one that is gone.
	last := newStack(namespace, "last")
	testenv.Create(t, p.api, last)
	testenv.Poll(t, func(ctx context.Context) string {
		err := p.api.Get(ctx, client.ObjectKeyFromObject(last), last)
		if err != nil || last.Status.ObservedGeneration == 0 {
			return fmt.Sprintf("the last stack has not converged: %v", err)
		}
		return ""
	})
	if err := p.api.Delete(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	testenv.Poll(t, func(ctx context.Context) string {
		if doing := busy(ctx, op); doing != "" {
			return doing
		}
		if err := p.api.Get(ctx, client.ObjectKeyFromObject(last), last); !apierrors.IsNotFound(err) {
			return fmt.Sprintf("the last stack is still there: %v", err)
		}
		return p.remaining(t, namespace)
	})
}

// remaining names the stacks and children that are left.
func (p *plane) remaining(t *testing.T, namespace string) string {
	t.Helper()
	for _, kind := range append([]schema.GroupVersionKind{stackKind}, childKinds...) {
		opts := []client.ListOption{client.InNamespace(namespace)}
		if kind != stackKind {
			opts = append(opts, client.MatchingLabels{obsv1.LabelManagedBy: obsv1.ManagedBy})
		}
		left := slices.DeleteFunc(p.list(t, kind, opts...), func(obj unstructured.Unstructured) bool {
			return old(&obj, nil) // Settings outlive their stack.
		})
		if len(left) > 0 {
			return fmt.Sprintf("%d of kind %s remain, such as %s", len(left), kind.Kind, left[0].GetName())
		}
	}
	return ""
}
