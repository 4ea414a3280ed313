// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"
)

// The rollouts of other stacks count against the operator's limit, also those that there were
// before it started, and who gets no place asks again later.
func TestRolloutKeepsToTheLimitOfTheOperator(t *testing.T) {
	first := newInjecting(t)
	busy := settingsStack(t, namespace(t))
	d := annotatedDeployment(busy.Namespace, "api", "shop")
	create(t, d)
	first.reconcileStack(t, busy)
	wantStamp(t, d, busy.Namespace+"/shop", busy.Status.ConfigHash)

	f := newInjecting(t) // A restart, while the Deployment rolls out.
	f.injector.MaxConcurrentRollouts = 1
	stack := settingsStack(t, namespace(t))
	waiting := annotatedDeployment(stack.Namespace, "api", "shop")
	create(t, waiting)
	result := f.reconcileStack(t, stack)
	wantStamp(t, waiting, "", "")
	if result.RequeueAfter < time.Minute || result.RequeueAfter > 20*time.Minute {
		t.Errorf("looks again after %s, want some minutes", result.RequeueAfter)
	}
	f = newInjecting(t)
	f.reconcileStack(t, stack)
	wantStamp(t, waiting, stack.Namespace+"/shop", stack.Status.ConfigHash)
}
