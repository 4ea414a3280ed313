// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/proof"
	"obstack.dev/obstack/controllers/proof/judge"
)

// proven is a stack of which Prometheus says something in rounds.
type proven struct {
	*fixture
	stack *obsv1.ObservabilityStack
	store *proof.Store
}

func newProven(t *testing.T) *proven {
	p := &proven{fixture: newFixture(t), stack: fullStack(t), store: &proof.Store{}}
	p.Proofs = p.store
	change(t, p.stack, func(spec *obsv1.ObservabilityStackSpec) {
		*spec = obsv1.ObservabilityStackSpec{Metrics: &obsv1.MetricsSpec{Monitors: spec.Metrics.Monitors[:1]}}
	})
	p.reconcileStack(t, p.stack)
	return p
}

// round of Prometheus, and the pass after it.
func (p *proven) round(t *testing.T, state metav1.ConditionStatus, reason string) {
	t.Helper()
	p.store.Set(t.Context(), p.stack, proof.SourcePrometheus, []judge.Finding{{
		Part:  judge.Part{Kind: obsv1.PartMonitor, Name: "api"},
		Level: obsv1.LevelSeen, State: state, Reason: reason, Message: "monitor api: " + reason, Up: 1, Total: 2,
	}})
	p.reconcileStack(t, p.stack)
}

func TestReportSaysWhatWorks(t *testing.T) {
	p := newProven(t)
	wantCondition(t, p.stack, obsv1.Verified, metav1.ConditionUnknown, obsv1.ReasonNotAsked)
	wantCondition(t, p.stack, obsv1.MetricsReady, metav1.ConditionTrue, obsv1.ReasonAvailable)
	if p.stack.Status.Verified != nil {
		t.Errorf("nothing was seen yet, and verified is %v", p.stack.Status.Verified)
	}
	p.round(t, metav1.ConditionTrue, obsv1.ReasonSeen)
	wantCondition(t, p.stack, obsv1.Verified, metav1.ConditionTrue, obsv1.ReasonSeen)
	wantCondition(t, p.stack, obsv1.MetricsReady, metav1.ConditionTrue, obsv1.ReasonSeen)
	part := p.stack.Status.Parts[0]
	if part.Name != "api" || part.State != metav1.ConditionTrue || *part.TargetsUp != 1 || *part.Targets != 2 {
		t.Errorf("the part is %+v, want api, True, 1 of 2", part)
	}
	if verified := p.stack.Status.Verified; verified == nil || *verified.Parts != 1 {
		t.Errorf("verified is %v, want one part", verified)
	}

	p.round(t, metav1.ConditionFalse, "TargetDown")
	wantCondition(t, p.stack, obsv1.Ready, metav1.ConditionTrue, obsv1.ReasonAvailable)
	p.round(t, metav1.ConditionFalse, "TargetDown")
	message := wantCondition(t, p.stack, obsv1.Ready, metav1.ConditionFalse, "TargetDown")
	if want := "MetricsReady: monitor api: TargetDown"; message != want {
		t.Errorf("Ready says %q, not %q", message, want)
	}
	wantCondition(t, p.stack, obsv1.MetricsReady, metav1.ConditionFalse, "TargetDown")
	wantCondition(t, p.stack, obsv1.Verified, metav1.ConditionFalse, "TargetDown")
	for range 3 {
		p.store.Unavailable(t.Context(), p.stack, proof.SourcePrometheus, judge.Gap{Reason: "Unreachable"})
	}
	p.reconcileStack(t, p.stack)
	wantCondition(t, p.stack, obsv1.Ready, metav1.ConditionFalse, "TargetDown")
}

// TestReportOfPythonWaitsForNobody, and says what processes report: Ready is True meanwhile.
func TestReportOfPythonWaitsForNobody(t *testing.T) {
	p := newProven(t)
	change(t, p.stack, func(spec *obsv1.ObservabilityStackSpec) {
		*spec = obsv1.ObservabilityStackSpec{Python: &obsv1.PythonSpec{}}
	})
	p.reconcileStack(t, p.stack)
	refresh(t, &monitoringv1.PodMonitor{ObjectMeta: metav1.ObjectMeta{Namespace: p.stack.Namespace, Name: "shop-python"}})
	says := func(status metav1.ConditionStatus, reason, want string) {
		t.Helper()
		if got := wantCondition(t, p.stack, obsv1.PythonReady, status, reason); got != want {
			t.Errorf("PythonReady says %q, want %q", got, want)
		}
	}
	says(metav1.ConditionUnknown, obsv1.ReasonNotAsked,
		"1 PodMonitor in place; not asked yet whether processes report themselves")
	wantCondition(t, p.stack, obsv1.Ready, metav1.ConditionTrue, obsv1.ReasonAvailable)
	finding := judge.Finding{
		Part:  judge.Part{Kind: obsv1.PartPython, Name: obsv1.MonitorPython},
		Level: obsv1.LevelSeen, State: metav1.ConditionTrue, Reason: obsv1.ReasonSeen, Message: "3 processes of 1 workload",
	}
	round := func() {
		p.store.Set(t.Context(), p.stack, proof.SourcePrometheus, []judge.Finding{finding})
		p.reconcileStack(t, p.stack)
	}
	round()
	says(metav1.ConditionTrue, obsv1.ReasonSeen, "1 PodMonitor in place; 3 processes of 1 workload")
	wantCondition(t, p.stack, obsv1.Verified, metav1.ConditionTrue, obsv1.ReasonSeen)
	finding.State, finding.Reason, finding.Message = metav1.ConditionFalse, obsv1.ReasonSentrySDKMissing, "no sentry_sdk"
	round()
	round()
	says(metav1.ConditionFalse, obsv1.ReasonSentrySDKMissing, "no sentry_sdk")
	wantCondition(t, p.stack, obsv1.Ready, metav1.ConditionFalse, obsv1.ReasonSentrySDKMissing)
	change(t, p.stack, func(spec *obsv1.ObservabilityStackSpec) {
		*spec = obsv1.ObservabilityStackSpec{Environment: "test"}
	})
	p.reconcileStack(t, p.stack)
	err := live.Get(t.Context(), client.ObjectKey{Namespace: p.stack.Namespace, Name: "shop-python"},
		&monitoringv1.PodMonitor{})
	if !apierrors.IsNotFound(err) || meta.FindStatusCondition(p.stack.Status.Conditions, obsv1.PythonReady) != nil {
		t.Errorf("without spec.python: %v, conditions %v", err, p.stack.Status.Conditions)
	}
}

// TestReportOutlivesARestart: what was found out before a restart of the operator still holds,
// nothing is written, and nobody hears of it twice.
func TestReportOutlivesARestart(t *testing.T) {
	for state, reason := range map[metav1.ConditionStatus]string{
		metav1.ConditionTrue: obsv1.ReasonSeen, metav1.ConditionFalse: "TargetDown", metav1.ConditionUnknown: "NoPlatform",
	} {
		p := newProven(t)
		for range 3 {
			p.round(t, state, reason)
		}
		if state == metav1.ConditionTrue {
			p.store.Unavailable(t.Context(), p.stack, proof.SourcePrometheus, judge.Gap{Reason: "Unreachable"})
			p.store.Unavailable(t.Context(), p.stack, proof.SourcePrometheus, judge.Gap{Reason: "Unreachable"})
			p.reconcileStack(t, p.stack)
			wantCondition(t, p.stack, obsv1.Verified, metav1.ConditionUnknown, "Unreachable")
			wantCondition(t, p.stack, obsv1.MetricsReady, metav1.ConditionTrue, obsv1.ReasonSeen)
		}
		before := p.stack.Status.DeepCopy()
		for len(p.recorded.Events) > 0 {
			<-p.recorded.Events
		}
		p.sent.writes = nil
		p.store = &proof.Store{}
		p.Proofs = p.store
		p.reconcileStack(t, p.stack)
		p.store.Unavailable(t.Context(), p.stack, proof.SourcePrometheus, judge.Gap{Reason: "Unreachable"})
		p.reconcileStack(t, p.stack)
		if len(p.sent.writes) > 0 || len(p.recorded.Events) > 0 {
			t.Errorf("after a restart %s %s gives the writes %q and %d events: %s", state, reason, p.sent.writes,
				len(p.recorded.Events), cmp.Diff(before, &p.stack.Status))
		}
		p.round(t, state, reason)
		if state == metav1.ConditionTrue {
			wantCondition(t, p.stack, obsv1.Verified, metav1.ConditionTrue, obsv1.ReasonSeen)
		}
		if events := len(p.recorded.Events); events > 0 && state != metav1.ConditionTrue {
			t.Errorf("%s, said again, gives %d events", reason, events)
		}
	}
}

// TestReportEndsWithTheProofs: what was seen before they were turned off is not known any more.
func TestReportEndsWithTheProofs(t *testing.T) {
	for state, reason := range map[metav1.ConditionStatus]string{
		metav1.ConditionTrue: obsv1.ReasonSeen, metav1.ConditionFalse: "TargetDown",
	} {
		p := newProven(t)
		for range 3 {
			p.round(t, state, reason)
		}
		p.store = &proof.Store{Off: ProofOptions{SentryInterval: time.Hour}.off()}
		p.Proofs = p.store
		p.reconcileStack(t, p.stack)
		wantCondition(t, p.stack, obsv1.Ready, metav1.ConditionTrue, obsv1.ReasonAvailable)
		message := wantCondition(t, p.stack, obsv1.Verified, metav1.ConditionUnknown, obsv1.ReasonNotAsked)
		if want := "obstack asks nobody: its flag --proof-interval is 0"; message != want {
			t.Errorf("Verified says %q, not %q", message, want)
		}
	}
}

// TestReportOfANewSpecIsNotThatOfTheOldOne although nobody was asked since the operator started.
func TestReportOfANewSpecIsNotThatOfTheOldOne(t *testing.T) {
	p := newProven(t)
	p.store = &proof.Store{}
	p.Proofs = p.store
	change(t, p.stack, func(spec *obsv1.ObservabilityStackSpec) {
		other := spec.Metrics.Monitors[0].DeepCopy()
		other.Name = "other"
		spec.Metrics.Monitors = append(spec.Metrics.Monitors, *other)
	})
	p.reconcileStack(t, p.stack)
	message := wantCondition(t, p.stack, obsv1.Verified, metav1.ConditionUnknown, obsv1.ReasonNotAsked)
	if !strings.Contains(message, "of 2 parts") || !strings.Contains(message, "Monitor other") {
		t.Errorf("Verified says %q, which is not about both monitors", message)
	}
}

func TestReportSaysNothingOfAStackWithoutParts(t *testing.T) {
	p := newProven(t)
	change(t, p.stack, func(spec *obsv1.ObservabilityStackSpec) {
		*spec = obsv1.ObservabilityStackSpec{Environment: "production"}
	})
	p.reconcileStack(t, p.stack)
	for _, condition := range p.stack.Status.Conditions {
		if condition.Type == obsv1.Verified || strings.HasPrefix(condition.Type, "Metrics") {
			t.Errorf("the stack still has the condition %v", condition)
		}
	}
	if p.stack.Status.Parts != nil {
		t.Errorf("the stack still has the parts %v", p.stack.Status.Parts)
	}
}
