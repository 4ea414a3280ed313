// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// TestSetSeenWritesTheDateOnceADay: each write wakes whoever watches the stack.
func TestSetSeenWritesTheDateOnceADay(t *testing.T) {
	began := time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)
	parts := []obsv1.PartStatus{
		{Kind: obsv1.PartMonitor, Name: "api", State: metav1.ConditionTrue},
		{Kind: obsv1.PartBroker, Name: "main", State: metav1.ConditionUnknown},
	}
	status := &obsv1.ObservabilityStackStatus{Parts: parts}
	for _, step := range []struct {
		after time.Duration
		seen  metav1.ConditionStatus // of the broker
		at    time.Duration
		parts int32
	}{
		{0, metav1.ConditionUnknown, 0, 1},
		{23 * time.Hour, metav1.ConditionUnknown, 0, 1},
		{25 * time.Hour, metav1.ConditionUnknown, 25 * time.Hour, 1},
		{26 * time.Hour, metav1.ConditionTrue, 26 * time.Hour, 2},
		{27 * time.Hour, metav1.ConditionFalse, 27 * time.Hour, 1},
	} {
		status.Parts[1].State = step.seen
		setSeen(status, began.Add(step.after))
		if got := status.Verified; !got.At.Time.Equal(began.Add(step.at)) || *got.Parts != step.parts {
			t.Errorf("after %v verified is %v with %d parts, want %v later than the first with %d",
				step.after, got.At, *got.Parts, step.at, step.parts)
		}
	}
	status.Parts = nil
	if setSeen(status, began); status.Verified != nil {
		t.Errorf("nothing is seen any more, and verified is %v", status.Verified)
	}
}
