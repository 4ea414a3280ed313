// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/apply"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/proof/judge"
)

// outcome is what became of a plan.
type outcome struct {
	results []result
	// elsewhere is what became of the settings for which no condition speaks.
	elsewhere result
	// selected says what of the stack the cluster's objects select.
	selected []judge.Finding
}

// result is what became of one component in this pass.
type result struct {
	component desired.Component
	desired.Output
	// requested reports whether the spec asks for the part.
	requested bool
	// retry is a failure that may pass by itself.
	retry error
	// recheck is after how long to look again, where only a change which is not
	// watched can repair the part; 0 if it need not be.
	recheck time.Duration
	// raced reports whether somebody wrote to a child right after this pass did.
	raced bool
}

// of finds the result of a condition.
func (o *outcome) of(condition string) *result {
	for i := range o.results {
		if o.results[i].component.Condition == condition {
			return &o.results[i]
		}
	}
	return &result{}
}

// apply writes every part and prunes what is wanted no more; of a suspended stack it
// says what that would change. A part that fails or is undecided does not stop the
// others; what exists of it is kept.
func (r *Reconciler) apply(ctx context.Context, stack *obsv1.ObservabilityStack, plan plan) outcome {
	applied := outcome{elsewhere: plan.settings.elsewhere()}
	pass := r.Engine.Begin(ctx, stack, r.Kinds.Served())
	step := applyPart
	if stack.Spec.Suspend {
		step = diffPart
	}
	held := map[string]bool{}
	for _, p := range plan.parts {
		done := measure(p.Name, func() result { return step(ctx, pass, p) })
		if p.Condition == obsv1.SettingsReady {
			done = plan.settings.ready(stack, p.Output)
		}
		done.component, done.requested, done.Covered = p.Component, p.Requested(), p.Covered
		held[p.Name] = done.Hold
		applied.results = append(applied.results, done)
	}
	applied.selected = selected(stack, plan, pass)
	if pass.Incomplete() { // That is a condition of no part which does not want such a kind.
		applied.results = append(applied.results, result{recheck: recheckAfter})
	}
	if stack.Spec.Suspend {
		return applied
	}
	err := pass.Prune(ctx, func(child *metav1.PartialObjectMetadata) bool {
		return held[child.Labels[obsv1.LabelComponent]]
	})
	if err != nil {
		applied.results = append(applied.results, pruneFailure(err))
	}
	return applied
}

// applyPart writes one part. Its condition is what the builder said, unless writing failed.
func applyPart(ctx context.Context, pass *apply.Pass, p part) result {
	if err := pass.Apply(ctx, p.Objects); err != nil {
		return failure(err)
	}
	return result{Output: p.Output, raced: pass.Raced()}
}

// diffPart says what applyPart and pruning would change.
func diffPart(ctx context.Context, pass *apply.Pass, p part) result {
	changes, err := pass.Diff(ctx, p.Objects)
	if err != nil {
		return failure(err)
	}
	if !p.Hold {
		changes = append(changes, pass.DiffPrune(func(child *metav1.PartialObjectMetadata) bool {
			return child.Labels[obsv1.LabelComponent] != p.Name
		})...)
	}
	return result{Output: suspended(p.Output, changes)}
}
