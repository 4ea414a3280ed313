// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/injection/policy"
)

// rollout patches the workloads once the settings are written. The outcome is the one
// of applying, but for the result of injection.
func (r *Reconciler) rollout(ctx context.Context, stack *obsv1.ObservabilityStack, plan plan,
	applied outcome) (outcome, error) {
	done := applied
	done.results = slices.Clone(applied.results)
	injected := done.of(obsv1.InjectionReady)
	if plan.workloads == nil {
		return done, nil
	}
	if stack.Spec.Suspend {
		held := plan.workloads.Hold()
		if injected.requested {
			injected.Output = suspended(injected.Output, changes(held))
		}
	}
	if err := r.Injection.Rollout(ctx, client.ObjectKeyFromObject(stack), plan.workloads); err != nil {
		return done, err
	}
	if after := plan.workloads.RetryAfter; after > 0 {
		injected.recheck = max(time.Second, after)
	}
	if failed := desired.InjectionFailed(failures(plan.workloads)); failed != nil && injected.requested {
		injected.Output = *failed
	}
	return done, nil
}

// failures are the patches that failed and that the stack's condition is about, by reason.
func failures(workloads *policy.Plan) map[string][]string {
	byReason := map[string][]string{}
	for _, f := range workloads.Failures {
		if !workloads.Counts(f.Namespace) {
			continue
		}
		named := f.Workload
		if f.Message != "" {
			named += ": " + f.Message
		}
		byReason[f.Reason] = append(byReason[f.Reason], named)
	}
	for _, names := range byReason {
		slices.Sort(names)
	}
	return byReason
}
