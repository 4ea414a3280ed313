// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/proof/judge"
)

// recording asks a Prometheus, once a minute, about a stack of which workloads of three namespaces
// have the bundle.
type recording struct {
	*platformProof
	server   *fakePrometheus
	recorder *events.FakeRecorder
}

func newRecording(stack obsv1.ObservabilityStack) recording {
	server, recorder := healthy(), events.NewFakeRecorder(9)
	c := &cluster{
		stacks: []obsv1.ObservabilityStack{stack}, platforms: []obsv1.ObservabilityPlatform{platformOf("big", "http://big")},
	}
	p := &platformProof{Prometheus: prometheusOf(c, map[string]http.RoundTripper{"http://big": server}), platform: "big"}
	p.Events = recorder
	p.Python = func(context.Context, *obsv1.ObservabilityStack) (workloads []*corev1.ObjectReference, err error) {
		for _, namespace := range []string{"ns", "team", "far"} {
			workloads = append(workloads, &corev1.ObjectReference{Namespace: namespace, Name: "api", UID: types.UID(namespace)})
		}
		return workloads, nil
	}
	return recording{p, server, recorder}
}

// rounds are made after processes say what obstack did of Sentry, by workload, and return the
// events.
func (t recording) rounds(tb testing.TB, n int, processes map[string]string) (recorded []string) {
	tb.Helper()
	var all []string
	for workload, sentry := range processes {
		all = append(all, "obstack_stack=shop,obstack_monitor=python,obstack_workload="+workload+",sentry="+sentry+
			",logging=auto,structlog=own,celery=absent,metrics=port 1")
	}
	t.server.responses["obstack_python_info"] = series(all...)
	for range n {
		if err := t.round(tb.Context()); err != nil {
			tb.Fatal(err)
		}
		time.Sleep(time.Minute)
	}
	for len(t.recorder.Events) > 0 {
		recorded = append(recorded, <-t.recorder.Events)
	}
	return recorded
}

// TestFaultsElsewhereAreRecorded once, for the owners of workloads, and change nothing of the stack
// that these take the bundle from.
func TestFaultsElsewhereAreRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stack := stackOf("shop", "big")
		stack.Spec.Python = &obsv1.PythonSpec{}
		asked := newRecording(stack)
		fails := map[string]string{"ns/api": "auto", "team/api": "error"}
		for _, step := range []struct {
			when   string
			rounds int
			want   string
		}{
			{"in two rounds", 2, "[]"},
			{"in three", 1, "[Warning PythonFailed in processes of team/api a part failed"},
			{"in seven", 4, "[Warning NotReported no process of far/api reports itself"},
			{"in twenty", 13, "[]"},
		} {
			got := asked.rounds(t, step.rounds, fails)
			if len(got) > 1 || !strings.HasPrefix(fmt.Sprint(got), step.want) {
				t.Errorf("%s: recorded %q, want %q", step.when, got, step.want)
			}
		}
		part := find(asked.Store.Evidence(&stack).Findings, judge.Finding{
			Part: judge.Part{Kind: obsv1.PartPython, Name: obsv1.MonitorPython}, Level: obsv1.LevelSeen,
		})
		if part.State != metav1.ConditionTrue || !strings.Contains(part.Message, "team/api (PythonFailed)") {
			t.Errorf("the stack's own part is %s: %s", part.State, part.Message)
		}
		asked.rounds(t, 1, map[string]string{"ns/api": "auto", "team/api": "own"})
		if got := asked.rounds(t, 3, fails); len(got) != 1 {
			t.Errorf("recorded %q of what failed again", got)
		}
	})
}
