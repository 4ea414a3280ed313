// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/proof/judge"
)

// ready is what the stack's conditions say of its newest spec.
func (v *verification) ready() source {
	return source{look: func(ctx context.Context) ([]Check, bool) {
		check := Check{Name: "stack", State: metav1.ConditionUnknown, Source: sourceStatus}
		stack, err := v.now(ctx)
		found := verdict(&stack.Status, obsv1.Ready)
		switch {
		case err != nil:
			check.Says = err.Error()
		case stack.Status.ObservedGeneration < stack.Generation || found == nil:
			check.Says = "the operator has not looked at the newest spec yet: see kubectl -n " + v.operatorNamespace +
				" get pods"
		case found.Status == metav1.ConditionTrue:
			check.State, check.Says = found.Status, "ready"
		default:
			check.State, check.Says = found.Status, found.Message
		}
		return []Check{check}, false
	}}
}

// now reads the stack.
func (v *verification) now(ctx context.Context) (*obsv1.ObservabilityStack, error) {
	stack := &obsv1.ObservabilityStack{}
	if err := v.api.Get(ctx, client.ObjectKeyFromObject(v.stack), stack); err != nil {
		return stack, readError("ObservabilityStacks", v.stack.Namespace, err)
	}
	return stack, nil
}

// fromStatus is what the operator saw of parts in its last round, and why it is asked.
func (v *verification) fromStatus(parts []judge.Part, why string) source {
	look := func(ctx context.Context) (checks []Check, final bool) {
		stack, err := v.now(ctx)
		for _, part := range parts {
			check := Check{Name: partName(part), State: metav1.ConditionUnknown, Source: sourceStatus, Says: why}
			at := slices.IndexFunc(stack.Status.Parts, func(p obsv1.PartStatus) bool {
				return p.Kind == part.Kind && p.Name == part.Name
			})
			switch {
			case err != nil:
				check.Says = err.Error()
			case at >= 0:
				p := stack.Status.Parts[at]
				check = checkOf(judge.Finding{Part: part, State: p.State, Reason: p.Reason, Message: p.Message},
					"the operator saw it work ("+why+")", sourceStatus)
			}
			checks = append(checks, check)
		}
		return checks, false
	}
	return source{look: look, soonest: min(v.round, v.timeout-pauseBetweenLooks)}
}
