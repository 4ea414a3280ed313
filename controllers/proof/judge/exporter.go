// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/internal/taskexporter/status"
)

// Exporter is what the task exporter of a broker says of it.
type Exporter struct {
	// Status is nil if the exporter could not be asked, and Gap says why.
	Status *status.Document
	Gap    Gap
}

// Exporters judges the brokers of a stack by their exporters.
func Exporters(stack *obsv1.ObservabilityStack, exporters map[string]Exporter) []Finding {
	var findings []Finding
	for _, broker := range stack.Spec.Brokers() {
		exporter := exporters[broker.Name]
		f := Finding{
			Part:  Part{obsv1.PartBroker, broker.Name},
			Level: obsv1.LevelSeen, State: metav1.ConditionUnknown, Reason: exporter.Gap.Reason, Message: exporter.Gap.Message,
		}
		if exporter.Status != nil {
			f.State, f.Reason, f.Message = broken(&broker, exporter.Status)
			if f.Reason == obsv1.ReasonEventsDisabled {
				f.Message += orPython(stack.Spec.Python)
			}
		}
		findings = append(findings, f)
	}
	return findings
}

// broken says what is wrong with a broker, the cause before its effects. Of the exporter's texts
// only the names of workers are repeated.
func broken(broker *obsv1.Broker, s *status.Document) (state metav1.ConditionStatus, reason, message string) {
	events := slices.IndexFunc(s.Connections, func(c status.State) bool { return c.Name == "events" })
	idle := unconsumed(broker, s)
	switch {
	case !s.BrokerReached:
		return metav1.ConditionFalse, obsv1.ReasonBrokerUnreachable, fmt.Sprintf(
			"the task exporter does not reach broker %s, or may not log in: its log says why", broker.Name)
	case events >= 0 && !s.Connections[events].Up:
		return metav1.ConditionFalse, obsv1.ReasonBrokerUnreachable, fmt.Sprintf(
			"broker %s does not let the task exporter subscribe to events: its log says why", broker.Name)
	case s.Workers.EventsOff > 0:
		return metav1.ConditionFalse, obsv1.ReasonEventsDisabled, eventsOff(broker, s.Workers)
	case len(idle) > 0:
		return metav1.ConditionFalse, obsv1.ReasonNoConsumer, fmt.Sprintf(
			"no worker consumes %s of broker %s, where messages wait: start one with -Q, or take it out of queues",
			plural("queue", idle), broker.Name)
	case s.EventsTotal == 0:
		return metav1.ConditionUnknown, obsv1.ReasonNoEvents, fmt.Sprintf(
			"no worker of broker %s has sent an event since the exporter started", broker.Name)
	default:
		return metav1.ConditionTrue, obsv1.ReasonSeen, ""
	}
}

// orPython is what else has workers send events that get the stack's settings. Those that send none
// with spec.python as it should be have none of it, or say so themselves.
func orPython(python *obsv1.PythonSpec) string {
	switch {
	case python == nil:
		return ", or give the stack spec.python, whose celeryEvents does so"
	case !python.SendsEvents():
		return ", or remove spec.python.celeryEvents, which is false"
	}
	return ""
}

func eventsOff(broker *obsv1.Broker, workers status.Workers) string {
	verb, pronoun := "sends", "it"
	if workers.EventsOff > 1 {
		verb, pronoun = "send", "them"
	}
	who := fmt.Sprintf("%d workers", workers.EventsOff)
	if names := clean(workers.EventsOffNames); len(names) > 0 {
		if more := workers.EventsOff - len(names); more > 0 {
			names = append(names, fmt.Sprintf("%d more", more))
		}
		who = plural("worker", names)
	}
	return fmt.Sprintf("%s of broker %s %s no task events: start %s with -E, or set worker_send_task_events",
		who, broker.Name, verb, pronoun)
}

// unconsumed are those queues of the spec in which messages wait for nobody. Others of the broker
// may be another application's.
func unconsumed(broker *obsv1.Broker, s *status.Document) []string {
	if s.Unconsumed == nil {
		return nil
	}
	return clean(slices.DeleteFunc(slices.Clone(s.Unconsumed.Names), func(name string) bool {
		return !slices.Contains(broker.Queues, name)
	}))
}

// Names from outside are shown as far as a message has room.
const (
	maxNames    = 3
	maxNameSize = 64
)

// clean makes names from outside fit to be shown.
func clean(names []string) []string {
	var cleaned []string
	for _, name := range names[:min(len(names), maxNames)] {
		cleaned = append(cleaned, status.Clean(name, maxNameSize))
	}
	return cleaned
}

// plural joins names after what they are names of.
func plural(noun string, names []string) string {
	if len(names) > 1 {
		noun += "s"
		names = []string{strings.Join(names[:len(names)-1], ", "), names[len(names)-1]}
	}
	return noun + " " + strings.Join(names, " and ")
}
