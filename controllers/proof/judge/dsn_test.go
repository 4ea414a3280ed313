// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

func TestDSNsJudgeEachProject(t *testing.T) {
	stack := &obsv1.ObservabilityStack{Spec: obsv1.ObservabilityStackSpec{Sentry: &obsv1.SentrySpec{
		DSNFrom: &obsv1.SecretKeySource{}, Projects: []obsv1.SentryProject{{Name: "payments"}},
	}}}
	for outcome, want := range map[DSN]struct {
		state  metav1.ConditionStatus
		reason string
	}{
		DSNOff:            {metav1.ConditionTrue, obsv1.ReasonDisabled},
		DSNAccepted:       {metav1.ConditionTrue, obsv1.ReasonSeen},
		DSNLimited:        {metav1.ConditionTrue, obsv1.ReasonRateLimited},
		DSNRejected:       {metav1.ConditionFalse, obsv1.ReasonKeyRejected},
		DSNOfOtherProject: {metav1.ConditionFalse, obsv1.ReasonProjectMismatch},
		DSNNotAllowed:     {metav1.ConditionUnknown, obsv1.ReasonHostNotAllowed},
		DSNUnreachable:    {metav1.ConditionUnknown, obsv1.ReasonUnreachable},
	} {
		got := DSNs(stack, map[string]DSN{"payments": outcome})
		if len(got) != 1 { // The other one was not asked.
			t.Fatalf("DSNs() = %+v, want one finding", got)
		}
		f := got[0]
		if f.Part != (Part{obsv1.PartDSN, "payments"}) || f.Level != obsv1.LevelSeen || f.State != want.state ||
			f.Reason != want.reason {
			t.Errorf("%d: %+v, want %s %s", outcome, f, want.state, want.reason)
		}
		if f.State != metav1.ConditionTrue && !strings.Contains(f.Message, "DSN payments") || len(f.Message) > maxMessage {
			t.Errorf("%s says %q", f.Reason, f.Message)
		}
	}
}
