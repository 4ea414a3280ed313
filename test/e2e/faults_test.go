// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// fault is something that goes wrong in a cluster where all else works.
type fault struct {
	// name is how docs/faults.md refers to it.
	name string
	// make breaks something and returns what repairs it.
	make func(*testing.T, *cluster) (cure func())
	// condition, reason and message, or a part of it, are what the stack's status has to say.
	condition, reason, message string
}

// faults are tried one after the other.
var faults = []fault{
	{
		"secret-deleted", deleteDSN, obsv1.SentryReady, obsv1.ReasonSecretNotFound,
		"Secret shop-sentry does not exist",
	},
	{
		"wrong-threshold", inSpec(func(spec *obsv1.ObservabilityStackSpec) {
			spec.SLOs[0].Indicator, spec.SLOs[0].Threshold = obsv1.IndicatorLatency, "300ms"
		}), obsv1.SLOsReady, obsv1.ReasonInvalidThreshold,
		"the threshold 300ms is not the boundary of a bucket",
	},
	{
		"broker-away", scaledToZero("redis"), obsv1.TasksReady, obsv1.ReasonRollingOut,
		"the task exporter of broker main is not ready",
	},
}

// TestFaults breaks one thing after the other. The status has to say so in time, and to be Ready
// again in time when it is repaired.
func TestFaults(t *testing.T) {
	c := start(t)
	c.ready(t)
	for _, tc := range faults {
		t.Run(tc.name, func(t *testing.T) {
			cure := tc.make(t, c)
			cured := false
			// What comes after a failure finds the cluster as it should be.
			defer func() {
				if !cured {
					cure()
				}
			}()
			eventually(t, fmt.Sprintf("%s to be False, %s", tc.condition, tc.reason), func(ctx context.Context) string {
				return c.lacksFault(ctx, tc)
			})
			cure()
			cured = true
			c.ready(t)
		})
	}
}

// ready waits until nothing is wrong with the stack.
func (c *cluster) ready(t *testing.T) {
	t.Helper()
	eventually(t, "the stack to be Ready", func(ctx context.Context) string {
		return c.lacksCondition(ctx, metav1.Condition{Type: obsv1.Ready, Status: metav1.ConditionTrue})
	})
}

// lacksFault says what the status has instead of a fault, in its condition and in Ready.
func (c *cluster) lacksFault(ctx context.Context, f fault) string {
	for _, condition := range []string{f.condition, obsv1.Ready} {
		want := metav1.Condition{Type: condition, Status: metav1.ConditionFalse}
		if condition == f.condition {
			want.Reason = f.reason
		}
		if lacks := c.lacksCondition(ctx, want); lacks != "" {
			return lacks
		}
	}
	stack, err := c.stack(ctx)
	if err != nil {
		return err.Error()
	}
	got := meta.FindStatusCondition(stack.Status.Conditions, f.condition)
	if got == nil || !strings.Contains(got.Message, f.message) {
		return fmt.Sprintf("%+v lacks %q", got, f.message)
	}
	return ""
}

// inSpec makes a fault of a change of the stack.
func inSpec(edit func(*obsv1.ObservabilityStackSpec)) func(*testing.T, *cluster) func() {
	return func(t *testing.T, c *cluster) func() {
		t.Helper()
		stack, err := c.stack(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		before := stack.Spec.DeepCopy()
		testenv.Change(t, c.Client, stack, func(stack *obsv1.ObservabilityStack) { edit(&stack.Spec) })
		return func() {
			testenv.Change(t, c.Client, stack, func(stack *obsv1.ObservabilityStack) { stack.Spec = *before })
		}
	}
}

// scaledToZero makes a fault of a Deployment without Pods.
func scaledToZero(name string) func(*testing.T, *cluster) func() {
	return func(t *testing.T, c *cluster) func() {
		t.Helper()
		deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
		scale := func(replicas int32) {
			testenv.Change(t, c.Client, deployment, func(d *appsv1.Deployment) { d.Spec.Replicas = &replicas })
		}
		scale(0)
		return func() { scale(1) }
	}
}

// deleteDSN deletes the Secret with the application's DSN.
func deleteDSN(t *testing.T, c *cluster) func() {
	t.Helper()
	testenv.Delete(t, c.Client, c.secret())
	return func() { testenv.Create(t, c.Client, c.secret()) }
}
