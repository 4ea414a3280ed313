// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"fmt"
	"math"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

// TestPythonIsJudged by the processes of the stack's own namespace: another tenant changes no
// condition of it.
func TestPythonIsJudged(t *testing.T) {
	web := Process{
		Workload: "shop/api", Sentry: "auto", Logging: "auto", Structlog: "absent", Celery: "absent", Metrics: "port",
	}
	worker := Process{
		Workload: "shop/worker", Sentry: "own", Logging: "auto", Structlog: "own", Celery: "auto", Metrics: "port",
	}
	without, broken := web, worker
	without.Sentry, broken.Logging = "absent", "error"
	elsewhere := func(p Process) Process {
		p.Workload = strings.Replace(p.Workload, "shop/", "team/", 1)
		return p
	}
	off := obsv1.PythonMetrics{Mode: obsv1.PythonDisabled}
	for name, tc := range map[string]struct {
		spec      obsv1.PythonSpec
		noSentry  bool
		all       bool // injection.requireAll
		processes map[Process]int32
		mounted   []string
		want      string
	}{
		"all report themselves": {
			processes: map[Process]int32{web: 4, worker: 2}, mounted: []string{"shop/api", "shop/worker"},
			want: "True Seen: 6 processes of 2 workloads: sentry auto 4, own 2; logging auto 6; structlog absent 4, own 2; " +
				"celery absent 4, auto 2; metrics port 6",
		},
		"more than there can be": {
			processes: map[Process]int32{web: math.MaxInt32, worker: math.MaxInt32},
			want: "True Seen: 4294967294 processes of 2 workloads: sentry auto 2147483647, own 2147483647; " +
				"logging auto 4294967294",
		},
		"one of two is not heard of": {
			processes: map[Process]int32{web: 1}, mounted: []string{"shop/redis", "shop/api"},
			want: "True Seen: 1 process of 1 workload: sentry auto 1; logging auto 1; structlog absent 1; celery absent 1; " +
				"metrics port 1; no process of shop/redis reports itself",
		},
		"nobody is heard of": {
			mounted: []string{"shop/b", "shop/a"}, want: "False NotReported: no process of shop/a, shop/b reports itself",
		},
		"nobody has it": {want: "Unknown NoData: no running workload has the bundle"},
		"metrics are disabled": {
			spec: obsv1.PythonSpec{Metrics: off}, mounted: []string{"shop/a"}, want: "Unknown NoData: processes report",
		},
		"without sentry_sdk": {
			processes: map[Process]int32{web: 1, without: 2},
			want:      "False SentrySDKMissing: processes of shop/api have no sentry_sdk: add sentry-sdk to their requirements",
		},
		"without sentry_sdk, and without Sentry": {
			processes: map[Process]int32{without: 2}, noSentry: true, want: "True Seen: 2 processes",
		},
		"without sentry_sdk, which is not wanted": {
			processes: map[Process]int32{without: 2}, spec: obsv1.PythonSpec{Sentry: obsv1.PythonDisabled},
			want: "True Seen: 2 processes",
		},
		"a part failed, which comes first": {
			processes: map[Process]int32{without: 2, broken: 1},
			want:      "False PythonFailed: in processes of shop/worker a part failed",
		},
		"a part failed elsewhere": {
			processes: map[Process]int32{web: 1, elsewhere(broken): 2, elsewhere(without): 1},
			want: "True Seen: 4 processes of 3 workloads: sentry absent 1, auto 1, own 2; logging auto 2, error 2; " +
				"structlog absent 2, own 2; celery absent 2, auto 2; metrics port 4; 2 workloads of other namespaces, with " +
				"events that say so: team/api (SentrySDKMissing), team/worker (PythonFailed)",
		},
		"a part failed elsewhere, for which it speaks": {
			processes: map[Process]int32{web: 1, elsewhere(broken): 2}, all: true,
			want: "False PythonFailed: in processes of team/worker a part failed",
		},
		"a part failed here and elsewhere": {
			processes: map[Process]int32{broken: 1, elsewhere(broken): 2},
			want: "False PythonFailed: in processes of shop/worker a part failed, without which they go on: set " +
				"OBSTACK_PYTHON_DEBUG=1 there, and their log says why; 1 workload of other namespaces, with events that say so: " +
				"team/worker (PythonFailed)",
		},
		"nobody of another namespace is heard of": {
			processes: map[Process]int32{web: 1}, mounted: []string{"shop/api", "team/b", "team/a"},
			want: "True Seen: 1 process of 1 workload: sentry auto 1; logging auto 1; structlog absent 1; celery absent 1; " +
				"metrics port 1; 2 workloads of other namespaces, with events that say so: team/a (NotReported), " +
				"team/b (NotReported)",
		},
		"nobody is heard of but elsewhere": {
			processes: map[Process]int32{elsewhere(web): 1}, mounted: []string{"shop/api"},
			want: "False NotReported: no process of shop/api reports itself",
		},
		"all are elsewhere, and heard of": {
			processes: map[Process]int32{elsewhere(web): 1}, mounted: []string{"team/api"}, want: "True Seen: 1 process",
		},
		"all are elsewhere, and not heard of": {
			mounted: []string{"team/api"},
			want: "Unknown NoData: no process reports itself; 1 workload of other namespaces, with events that say so: " +
				"team/api (NotReported)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			stack := observed()
			stack.Spec.Python, stack.Spec.Sentry = &tc.spec, &obsv1.SentrySpec{}
			if tc.noSentry {
				stack.Spec.Sentry = nil
			}
			stack.Spec.Injection = &obsv1.InjectionSpec{RequireAll: tc.all}
			f := Python(stack, Series{Processes: tc.processes}, tc.mounted)[0]
			if got := fmt.Sprintf("%s %s: %s", f.State, f.Reason, f.Message); !strings.HasPrefix(got, tc.want) {
				t.Errorf("got\n%s, want\n%s", got, tc.want)
			}
			if len(f.Message) > maxMessage {
				t.Errorf("the message has %d bytes", len(f.Message))
			}
			if (f.Reason == obsv1.ReasonNotReported) != (f.Holds > 0) {
				t.Errorf("it must be so for %s", f.Holds)
			}
		})
	}
	if got := Python(observed(), Series{}, nil); got != nil {
		t.Errorf("without spec.python: %v", got)
	}
}

// TestPythonConditionIsUnknown while nobody was asked, and no other condition is.
func TestPythonConditionIsUnknown(t *testing.T) {
	out := desired.Output{Status: metav1.ConditionTrue, Reason: obsv1.ReasonAvailable, Message: "1 PodMonitor in place"}
	part := obsv1.PartStatus{Kind: obsv1.PartPython, Name: "python"}
	for _, tc := range []struct {
		state           metav1.ConditionStatus
		reason, message string
		want            string
	}{
		{metav1.ConditionUnknown, obsv1.ReasonNotAsked, "",
			"Unknown NotAsked: 1 PodMonitor in place; not asked yet whether processes report themselves"},
		{metav1.ConditionUnknown, obsv1.ReasonNoPlatform, "nobody", "Unknown NoPlatform: 1 PodMonitor in place; nobody"},
		{metav1.ConditionTrue, obsv1.ReasonSeen, "2 processes", "True Seen: 1 PodMonitor in place; 2 processes"},
		{metav1.ConditionFalse, obsv1.ReasonPythonFailed, "a part failed", "False PythonFailed: a part failed"},
	} {
		part.State, part.Reason, part.Message = tc.state, tc.reason, tc.message
		got := Condition(out, []obsv1.PartStatus{part})
		if text := fmt.Sprintf("%s %s: %s", got.Status, got.Reason, got.Message); text != tc.want {
			t.Errorf("got %s, want %s", text, tc.want)
		}
	}
	monitor := obsv1.PartStatus{Kind: obsv1.PartMonitor, State: metav1.ConditionUnknown, Level: obsv1.LevelWritten}
	if got := Condition(out, []obsv1.PartStatus{monitor}); got.Status != metav1.ConditionTrue {
		t.Errorf("a monitor that nobody was asked about makes it %s", got.Status)
	}
}

// TestPodMonitorsHaveASelectorOfTheirOwn, and need labels of their own.
func TestPodMonitorsHaveASelectorOfTheirOwn(t *testing.T) {
	p := prometheus("k8s", everything, everything)
	p.PodMonitors = &Selection{Objects: matching("scrape", "pods"), Namespaces: everything}
	cluster := Cluster{Prometheuses: []Prometheus{p}}
	child := Child{Part: Part{obsv1.PartPython, "python"}, Object: PodMonitor, Name: "shop-python"}
	got := Selected("shop", []Child{child}, cluster)
	if want := "no Prometheus selects PodMonitor shop-python: monitoring/k8s wants scrape=pods"; len(got) != 1 ||
		!strings.HasPrefix(got[0].Message, want) {
		t.Errorf("found %v, want %s", got, want)
	}
	stack := observed()
	stack.Spec.Python = &obsv1.PythonSpec{}
	found := Labels(stack, cluster)
	if found == nil || found.ServiceMonitors != nil || found.PodMonitors == nil ||
		found.PodMonitors.Labels["scrape"] != "pods" {
		t.Errorf("discovered %+v, want the label of PodMonitors alone", found)
	}
}
