// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/internal/taskexporter/status"
)

func TestExportersJudgeWhatTheyKnowOfTheirBroker(t *testing.T) {
	up := []status.State{{Name: "events", Up: true}, {Name: "workers", Reason: "NOPERM secret-of-the-broker"}}
	for name, tc := range map[string]struct {
		exporter Exporter
		state    metav1.ConditionStatus
		reason   string
		message  string
	}{
		"works": {
			Exporter{Status: &status.Document{BrokerReached: true, Connections: up, EventsTotal: 7}},
			metav1.ConditionTrue, obsv1.ReasonSeen, "",
		},
		"no broker": {
			Exporter{Status: &status.Document{Connections: []status.State{{Name: "events", Reason: "secret-of-the-broker"}}}},
			metav1.ConditionFalse, obsv1.ReasonBrokerUnreachable,
			"the task exporter does not reach broker main, or may not log in: its log says why",
		},
		"no subscription": {
			Exporter{Status: &status.Document{BrokerReached: true, Connections: []status.State{
				{Name: "events", Reason: "secret-of-the-broker"}}}},
			metav1.ConditionFalse, obsv1.ReasonBrokerUnreachable,
			"broker main does not let the task exporter subscribe to events: its log says why",
		},
		"a worker without -E": {
			Exporter{Status: &status.Document{BrokerReached: true, Connections: up, EventsTotal: 7, Workers: status.Workers{
				Live: 2, EventsOff: 1, EventsOffNames: []string{"celery@a\x1b[2J\n"}}}},
			metav1.ConditionFalse, obsv1.ReasonEventsDisabled, "worker celery@a\ufffd[2J  of broker main sends no task " +
				"events: start it with -E, or set worker_send_task_events, or give the stack spec.python, whose celeryEvents " +
				"does so",
		},
		"many workers without -E": {
			Exporter{Status: &status.Document{BrokerReached: true, Connections: up, EventsTotal: 7, Workers: status.Workers{
				Live: 9, EventsOff: 9, EventsOffNames: []string{"a", "b", "c", "d"}}}},
			metav1.ConditionFalse, obsv1.ReasonEventsDisabled, "workers a, b, c and 6 more of broker main send no task " +
				"events: start them with -E, or set worker_send_task_events" + orPython(nil),
		},
		"a queue of the spec without a worker": {
			Exporter{Status: &status.Document{BrokerReached: true, Connections: up, EventsTotal: 7,
				Unconsumed: &status.Queues{Count: 2, Names: []string{"emails", "of-another-application"}}}},
			metav1.ConditionFalse, obsv1.ReasonNoConsumer,
			"no worker consumes queue emails of broker main, where messages wait: start one with -Q, or take it out of queues",
		},
		"a queue of another application without a worker": {
			Exporter{Status: &status.Document{BrokerReached: true, Connections: up, EventsTotal: 7,
				Unconsumed: &status.Queues{Count: 1, Names: []string{"of-another-application"}}}},
			metav1.ConditionTrue, obsv1.ReasonSeen, "",
		},
		"no event yet": {
			Exporter{Status: &status.Document{BrokerReached: true, Connections: up}},
			metav1.ConditionUnknown, obsv1.ReasonNoEvents,
			"no worker of broker main has sent an event since the exporter started",
		},
		"not asked": {
			Exporter{Gap: Gap{obsv1.ReasonForeignImage, "another image"}},
			metav1.ConditionUnknown, obsv1.ReasonForeignImage, "another image",
		},
	} {
		t.Run(name, func(t *testing.T) {
			stack := &obsv1.ObservabilityStack{Spec: obsv1.ObservabilityStackSpec{Tasks: &obsv1.TasksSpec{
				Brokers: []obsv1.Broker{{Name: "main", Queues: []string{"emails"}}},
			}}}
			got := Exporters(stack, map[string]Exporter{"main": tc.exporter})
			want := Finding{
				Part: Part{obsv1.PartBroker, "main"}, Level: obsv1.LevelSeen,
				State: tc.state, Reason: tc.reason, Message: tc.message,
			}
			if len(got) != 1 || got[0] != want {
				t.Errorf("Exporters() = %+v, want %+v", got, want)
			}
		})
	}
}

func TestExportersNamesFitAMessage(t *testing.T) {
	names := make([]string, status.MaxNames)
	for i := range names {
		names[i] = strings.Repeat("w", status.MaxName)
	}
	workers := status.Workers{EventsOff: 1000, EventsOffNames: names}
	message := eventsOff(&obsv1.Broker{Name: strings.Repeat("b", 19)}, workers) + orPython(nil)
	if len(message) > maxMessage {
		t.Errorf("the message has %d bytes, at most %d fit: %s", len(message), maxMessage, message)
	}
}

// TestExportersOfferPython where it would change something.
func TestExportersOfferPython(t *testing.T) {
	off := Exporter{Status: &status.Document{BrokerReached: true, Workers: status.Workers{
		EventsOff: 1, EventsOffNames: []string{"a"}}}}
	const says = "worker a of broker main sends no task events: start it with -E, or set worker_send_task_events"
	for name, tc := range map[string]struct {
		python *obsv1.PythonSpec
		offers string
	}{
		"without it":          {nil, ", or give the stack spec.python, whose celeryEvents does so"},
		"with it":             {&obsv1.PythonSpec{}, ""},
		"with it, and events": {&obsv1.PythonSpec{CeleryEvents: new(true)}, ""},
		"with it, and no events": {
			&obsv1.PythonSpec{CeleryEvents: new(false)}, ", or remove spec.python.celeryEvents, which is false",
		},
	} {
		stack := &obsv1.ObservabilityStack{Spec: obsv1.ObservabilityStackSpec{Python: tc.python, Tasks: &obsv1.TasksSpec{
			Brokers: []obsv1.Broker{{Name: "main"}},
		}}}
		got := Exporters(stack, map[string]Exporter{"main": off})
		if len(got) != 1 || got[0].Message != says+tc.offers {
			t.Errorf("%s: Exporters() = %+v, want the message %s", name, got, says+tc.offers)
		}
	}
}
