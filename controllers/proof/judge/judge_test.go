// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

const (
	isTrue  = metav1.ConditionTrue
	isFalse = metav1.ConditionFalse
	unknown = metav1.ConditionUnknown
)

var api = Part{obsv1.PartMonitor, "api"}

func selected(state metav1.ConditionStatus, reason string) Finding {
	return Finding{Part: api, Level: obsv1.LevelSelected, State: state, Reason: reason}
}

func seen(state metav1.ConditionStatus, reason string) Finding {
	return Finding{Part: api, Level: obsv1.LevelSeen, State: state, Reason: reason}
}

func TestJudgeTakesTheWorst(t *testing.T) {
	for _, test := range []struct {
		findings []Finding
		written  bool
		want     string
	}{
		{nil, true, "Unknown Written NotAsked"},
		{[]Finding{selected(isTrue, "Selected")}, true, "Unknown Selected NotAsked"},
		{[]Finding{selected(isTrue, "Selected"), seen(unknown, "NoPlatform")}, true, "Unknown Selected NoPlatform"},
		{[]Finding{seen(unknown, "NoPlatform")}, true, "Unknown Written NoPlatform"},
		{[]Finding{seen(isTrue, "Seen")}, true, "True Seen Seen"},
		{[]Finding{seen(isTrue, "Seen"), seen(unknown, "NotAsked")}, true, "Unknown Written NotAsked"},
		{[]Finding{selected(isTrue, "Selected"), seen(isTrue, "Seen")}, true, "True Seen Seen"},
		{[]Finding{seen(isTrue, "Seen"), seen(isFalse, "TargetDown")}, true, "False Seen TargetDown"},
		{[]Finding{seen(isFalse, "NotScraped"), selected(isFalse, "NotSelected")}, true, "False Selected NotSelected"},
		{[]Finding{seen(isTrue, "Seen")}, false, "Unknown Written NotReady"},
		{[]Finding{seen(isFalse, "TargetDown")}, false, "False Seen TargetDown"},
	} {
		for range 2 {
			written := func(obsv1.PartKind) bool { return test.written }
			status := Judge([]Part{api}, written, test.findings)[0]
			if got := fmt.Sprint(status.State, " ", status.Level, " ", status.Reason); got != test.want {
				t.Errorf("%v gives %s, not %s", test.findings, got, test.want)
			}
			slices.Reverse(test.findings)
		}
	}
}

func TestJudgeCountsTargetsAndBoundsMessages(t *testing.T) {
	f := seen(isFalse, "TargetDown")
	f.Up, f.Total, f.Message = 0, 3, strings.Repeat("ü", maxMessage)
	status := Judge([]Part{api}, func(obsv1.PartKind) bool { return true }, []Finding{f})[0]
	if *status.TargetsUp != 0 || *status.Targets != 3 {
		t.Errorf("targets are %d of %d, not 0 of 3", *status.TargetsUp, *status.Targets)
	}
	if len(status.Message) > maxMessage || strings.Trim(status.Message, "ü") != "" {
		t.Errorf("the message has %d bytes and ends in %q", len(status.Message), status.Message[len(status.Message)-4:])
	}
}

func TestConditionDeepensWhatIsWritten(t *testing.T) {
	part := func(state metav1.ConditionStatus, level obsv1.ProofLevel, reason, message string) obsv1.PartStatus {
		return obsv1.PartStatus{Kind: api.Kind, Name: api.Name, State: state, Level: level, Reason: reason, Message: message}
	}
	written := desired.Output{Status: isTrue, Reason: obsv1.ReasonAvailable, Message: "1 ServiceMonitor in place"}
	off := desired.Output{Status: isTrue, Reason: obsv1.ReasonDisabled, Message: "Sentry is off"}
	missing := desired.Output{Status: isFalse, Reason: obsv1.ReasonMissingAPI, Message: "no such kind"}
	good, bad := part(isTrue, obsv1.LevelSeen, "Seen", ""), part(isFalse, obsv1.LevelSeen, "TargetDown", "api is down")
	for _, test := range []struct {
		out   desired.Output
		parts []obsv1.PartStatus
		want  string
	}{
		{written, nil, "True Available 1 ServiceMonitor in place"},
		{written, []obsv1.PartStatus{good}, "True Seen 1 ServiceMonitor in place; seen to work"},
		{
			written, []obsv1.PartStatus{good, part(unknown, obsv1.LevelSelected, "NotAsked", "")},
			"True Selected 1 ServiceMonitor in place; selected, and not seen to work yet",
		},
		{written, []obsv1.PartStatus{good, part(unknown, obsv1.LevelWritten, "NotAsked", "")},
			"True Available 1 ServiceMonitor in place"},
		{written, []obsv1.PartStatus{good, bad, bad}, "False TargetDown api is down"},
		{off, []obsv1.PartStatus{good}, "True Disabled Sentry is off"},
		{missing, []obsv1.PartStatus{bad}, "False MissingAPI no such kind"},
	} {
		out := Condition(test.out, test.parts)
		if got := fmt.Sprint(out.Status, " ", out.Reason, " ", out.Message); got != test.want {
			t.Errorf("%v with %v gives %q, not %q", test.out, test.parts, got, test.want)
		}
	}
}

func TestVerifiedSaysWhatIsMissing(t *testing.T) {
	part := func(state metav1.ConditionStatus, reason, message string) obsv1.PartStatus {
		return obsv1.PartStatus{Kind: api.Kind, Name: api.Name, State: state, Reason: reason, Message: message}
	}
	good := part(isTrue, "Seen", "")
	asked := part(unknown, "NoPlatform", "name a Prometheus")
	for _, test := range []struct {
		parts []obsv1.PartStatus
		gaps  []Gap
		ready bool
		want  string
	}{
		{nil, nil, true, "  "},
		{[]obsv1.PartStatus{good}, nil, true, "True Seen 1 of 1 parts were seen to work"},
		{[]obsv1.PartStatus{good}, nil, false,
			"Unknown NotReady every part was seen to work, and the stack is not ready: Ready says why"},
		{[]obsv1.PartStatus{good, asked, asked}, nil, true,
			"Unknown NoPlatform 1 of 3 parts were seen to work; not yet: Monitor (NoPlatform: name a Prometheus)"},
		{[]obsv1.PartStatus{good}, []Gap{{"Unreachable", "Prometheus is away"}}, true,
			"Unknown Unreachable Prometheus is away"},
		{[]obsv1.PartStatus{asked, part(isFalse, "TargetDown", "")}, []Gap{{"Unreachable", "away"}}, true,
			"False TargetDown 1 of 2 parts do not work: Monitor api (TargetDown)"},
	} {
		out := Verified(test.parts, test.gaps, test.ready)
		if got := fmt.Sprint(out.Status, " ", out.Reason, " ", out.Message); got != test.want {
			t.Errorf("%v gives %q, not %q", test.parts, got, test.want)
		}
	}
}

func TestPartsAreThoseOfTheSpec(t *testing.T) {
	stack := &obsv1.ObservabilityStack{Spec: obsv1.ObservabilityStackSpec{
		Metrics: &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{{Name: "api", Framework: obsv1.FrameworkFastAPI}}},
		Tasks:   &obsv1.TasksSpec{Brokers: []obsv1.Broker{{Name: "main"}}}, Dashboards: &obsv1.DashboardsSpec{},
		Alerts: &obsv1.AlertsSpec{}, SLOs: []obsv1.SLO{{Name: "availability"}},
		Sentry: &obsv1.SentrySpec{DSNFrom: &obsv1.SecretKeySource{}, Projects: []obsv1.SentryProject{{Name: "payments"}}},
	}}
	want := "[{Monitor api} {Broker main} {Dashboard overview} {Dashboard http-fastapi} {Dashboard tasks} " +
		"{Alerts alerts} {SLO availability} {DSN default} {DSN payments}]"
	if got := fmt.Sprint(Parts(stack)); got != want {
		t.Errorf("the parts are %s, not %s", got, want)
	}
	if got := Parts(&obsv1.ObservabilityStack{}); got != nil {
		t.Errorf("a stack without anything has the parts %v", got)
	}
	for _, part := range Parts(stack) {
		if ConditionOf(part.Kind) == "" {
			t.Errorf("no condition speaks for %v", part)
		}
	}
}
