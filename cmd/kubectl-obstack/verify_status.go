// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/proof/judge"
)

// ready is what the stack's conditions say of its newest spec.
func (v *verification) ready() source {
	return func(ctx context.Context) ([]Check, bool) {
		check := Check{Name: "stack", State: metav1.ConditionUnknown, Source: sourceStatus}
		stack, err := v.now(ctx)
		if err != nil {
			check.Says = err.Error()
			return []Check{check}, false
		}
		state, says := metav1.ConditionUnknown, "nothing"
		if found := verdict(&stack.Status, obsv1.Ready); found != nil {
			state, says = found.Status, found.Message
		}
		if state == metav1.ConditionTrue {
			says = "ready"
		}
		if old := v.outdated(ctx, stack, 0); old != nil {
			check.Says = old.says(says)
			return []Check{check}, old.final
		}
		check.State, check.Says = state, says
		return []Check{check}, false
	}
}

// now reads the stack.
func (v *verification) now(ctx context.Context) (*obsv1.ObservabilityStack, error) {
	stack := &obsv1.ObservabilityStack{}
	if err := v.api.Get(ctx, client.ObjectKeyFromObject(v.stack), stack); err != nil {
		return stack, readError("ObservabilityStacks", v.stack.Namespace, err)
	}
	return stack, nil
}

// outdated is why what the status says does not count.
type outdated struct {
	why string
	// final reports whether that will not change.
	final bool
}

// says what the status says, with why it does not count.
func (o *outdated) says(status string) string {
	return o.why + "; the status, which may be old, says: " + status
}

// outdated returns nil if the operator at work wrote the status about the newest spec, and could
// have looked at all of it since the start, which takes it a round.
func (v *verification) outdated(ctx context.Context, stack *obsv1.ObservabilityStack, round time.Duration) *outdated {
	since, why := v.leads(ctx)
	switch {
	case why != nil:
		return why
	case stack.Status.ObservedGeneration < stack.Generation:
		return &outdated{why: "the operator has not looked at the newest spec yet: see kubectl -n " +
			v.operatorNamespace + " get pods"}
	case time.Since(since) < round:
		return &outdated{why: "the operator has not looked since: its next round takes up to " + round.String() +
			", so write a longer --timeout"}
	}
	return nil
}

// partOf a stack's status; nil if it says nothing of it.
func partOf(stack *obsv1.ObservabilityStack, part judge.Part) *obsv1.PartStatus {
	at := slices.IndexFunc(stack.Status.Parts, func(p obsv1.PartStatus) bool {
		return p.Kind == part.Kind && p.Name == part.Name
	})
	if at < 0 {
		return nil
	}
	return &stack.Status.Parts[at]
}

// fromStatus is what the operator saw of parts in its last round, and why it is asked.
func (v *verification) fromStatus(parts []judge.Part, why cannotAsk) source {
	round := v.round()
	return func(ctx context.Context) (checks []Check, final bool) {
		stack, err := v.now(ctx)
		var old *outdated
		if err == nil {
			old = v.outdated(ctx, stack, round)
		}
		for _, part := range parts {
			check := Check{Name: partName(part), State: metav1.ConditionUnknown, Source: sourceStatus, Says: why.Error()}
			p := partOf(stack, part)
			switch {
			case err != nil:
				check.Says = err.Error()
			case p != nil:
				check = checkOf(judge.Finding{Part: part, State: p.State, Reason: p.Reason, Message: p.Message},
					"the operator saw it work ("+why.Error()+")", sourceStatus)
			}
			if p != nil && old != nil {
				check.State, check.Says = metav1.ConditionUnknown, why.Error()+"; "+old.says(cmp.Or(p.Message, p.Reason))
			}
			checks = append(checks, check)
		}
		return checks, old != nil && old.final
	}
}
