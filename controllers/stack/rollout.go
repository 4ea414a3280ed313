// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

// webhookRecheck is how soon the webhook is probed again after it did not respond.
const webhookRecheck = 15 * time.Second

// rollout patches the workloads once the settings are written. The outcome is the one
// of applying, but for the result of injection.
func (r *Reconciler) rollout(ctx context.Context, stack *obsv1.ObservabilityStack, plan plan,
	applied outcome) (outcome, error) {
	done := outcome{results: slices.Clone(applied.results), elsewhere: applied.elsewhere}
	injected := done.of(obsv1.InjectionReady)
	// Bad input is no failure: the last good settings stay, and are what workloads get.
	done.settingsWritten = !stack.Spec.Suspend && !done.of(obsv1.SettingsReady).failed()
	if plan.workloads == nil {
		return done, nil
	}
	if stack.Spec.Suspend {
		if injected.requested {
			injected.Output = suspended(injected.Output, plan.patches())
		}
		return done, nil
	}
	if !done.settingsWritten || !injected.requested {
		return done, nil
	}
	if after := plan.workloads.RetryAfter; after > 0 {
		injected.recheck = max(time.Second, after)
	}
	unreachable, err := r.Injection.Rollout(ctx, client.ObjectKeyFromObject(stack), *plan.workloads)
	if len(unreachable) > 0 {
		injected.Output, injected.recheck = desired.WebhookUnavailable(unreachable), webhookRecheck
	}
	if err == nil {
		return done, nil
	}
	failed := failure(err)
	if failed.recheck > 0 { // Something was refused, such as by an admission policy.
		injected.Output, injected.recheck = failed.Output, failed.recheck
	}
	return done, failed.retry
}
