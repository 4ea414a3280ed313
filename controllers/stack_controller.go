// SPDX-License-Identifier: Apache-2.0

// Package controllers keeps the cluster as the ObservabilityStacks say: observe
// reads, desired decides, apply writes the children, report writes the status.
package controllers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/apply"
	"obstack.dev/obstack/controllers/desired"
)

// StackReconciler keeps the children and the status of ObservabilityStacks.
type StackReconciler struct {
	// Client reads through the cache and writes.
	client.Client
	// Engine applies and prunes the children.
	Engine *apply.Engine
	// Secrets reads the Secrets that stacks refer to.
	Secrets *SecretReader
	// Kinds knows which kinds the cluster serves.
	Kinds *Kinds
	// Events tells users of conditions that change.
	Events events.EventRecorder
	// Roller brings settings to workloads; nil if injection is off.
	Roller *Roller
	// ExporterImage is the task exporter's image where a broker names none.
	ExporterImage string

	// written holds, by UID, the resource version over which a stack's status was written last.
	written sync.Map
}

// recheckAfter is how long obstack waits for a change that it has no watch for,
// such as the deletion of a stranger's object whose name it needs.
const recheckAfter = time.Minute

// againAfter is how soon obstack looks again at what it knows to be outdated.
const againAfter = time.Second

// Reconcile makes the cluster match one stack: observe, derive, apply, report.
func (r *StackReconciler) Reconcile(ctx context.Context, stack *obsv1.ObservabilityStack) (ctrl.Result, error) {
	if !stack.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // The children go with garbage collection.
	}
	in, survey, err := r.observe(ctx, stack)
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("observe: %w", err)
	}
	results, err := r.applyComponents(ctx, stack, in)
	err = errors.Join(err, r.roll(ctx, stack, survey, results), r.report(ctx, stack, survey, results))
	if apierrors.IsConflict(err) {
		// The cache is behind the stack, or a child was replaced meanwhile: look again.
		return ctrl.Result{RequeueAfter: againAfter}, nil
	}
	return ctrl.Result{RequeueAfter: recheck(results)}, err
}

// result is what became of one component in this pass.
type result struct {
	component desired.Component
	desired.Output
	// requested tells whether the spec asks for the part.
	requested bool
	// retry is a failure that may pass by itself.
	retry error
	// recheck is after how long to look again, where only a change which is not
	// watched can mend the part; 0 if it need not be.
	recheck time.Duration
	// overtaken tells that somebody wrote to a child right after this pass did.
	overtaken bool
}

// failed tells that the part's objects were not all written.
func (r *result) failed() bool { return r.retry != nil || r.recheck > 0 }

// applyComponents applies every component and prunes what is wanted no more. A
// component that fails or is undecided does not stop the others; what exists of it is kept.
func (r *StackReconciler) applyComponents(ctx context.Context, stack *obsv1.ObservabilityStack, in desired.Inputs) ([]result, error) {
	pass, err := r.Engine.Begin(ctx, stack, r.Kinds.Served())
	if err != nil {
		return nil, fmt.Errorf("list children: %w", err)
	}
	step := r.applyComponent
	if stack.Spec.Suspend {
		step = r.diffComponent
	}
	results := make([]result, 0, len(desired.Components)+1)
	held := map[string]bool{}
	var failures []error
	for _, component := range desired.Components {
		done := measure(component, func() result {
			out := component.Build(stack, in)
			done := step(ctx, pass, component, out)
			done.component, done.requested = component, out.Requested()
			return done
		})
		held[component.Name] = done.Hold
		failures = append(failures, done.retry)
		results = append(results, done)
	}
	if stack.Spec.Suspend {
		return results, errors.Join(failures...)
	}
	err = pass.Prune(ctx, func(child *metav1.PartialObjectMetadata) bool {
		return held[child.Labels[obsv1.LabelComponent]]
	})
	if err != nil {
		results = append(results, pruneFailure(err))
	}
	return results, errors.Join(append(failures, err)...)
}

// applyComponent writes one component. Its condition is what the builder said,
// unless writing failed.
func (r *StackReconciler) applyComponent(ctx context.Context, pass *apply.Pass, _ desired.Component, out desired.Output) result {
	if err := pass.Apply(ctx, out.Objects); err != nil {
		return failure(err)
	}
	return result{Output: out, overtaken: pass.Overtaken()}
}

// diffComponent says what applyComponent and pruning would change.
func (r *StackReconciler) diffComponent(ctx context.Context, pass *apply.Pass, component desired.Component, out desired.Output) result {
	changes, err := pass.Diff(ctx, out.Objects)
	if err != nil {
		return failure(err)
	}
	if !out.Hold {
		changes = append(changes, pass.DiffPrune(func(child *metav1.PartialObjectMetadata) bool {
			return child.Labels[obsv1.LabelComponent] != component.Name
		})...)
	}
	return result{Output: suspended(out, changes)}
}

// recheck returns after how long to look again at what no event will tell of, or 0.
// The jitter keeps many stacks from looking at the same time.
func recheck(results []result) time.Duration {
	var soonest time.Duration
	for _, done := range results {
		if done.overtaken {
			return againAfter
		}
		if done.recheck > 0 && (soonest == 0 || done.recheck < soonest) {
			soonest = done.recheck
		}
	}
	return wait.Jitter(soonest, 0.5)
}
