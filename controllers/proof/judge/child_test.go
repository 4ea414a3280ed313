// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

func TestChildOfKnowsThePart(t *testing.T) {
	stack := &obsv1.ObservabilityStack{}
	stack.Namespace, stack.Name = "shop", "shop"
	stack.Spec.Metrics = &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{{Name: "tasks-main", Port: "http"}}}
	stack.Spec.Tasks = &obsv1.TasksSpec{Brokers: []obsv1.Broker{{Name: "main", URL: "redis://redis/0"}}}
	stack.Spec.Alerts = &obsv1.AlertsSpec{}
	stack.Spec.SLOs = []obsv1.SLO{{Name: "api", Monitor: "tasks-main", Objective: "99", Indicator: "availability"}}
	var got []Part
	for _, component := range desired.Components {
		for _, obj := range component.Build(stack, desired.Inputs{}).Objects {
			if child := ChildOf(stack, obj); child != nil {
				got = append(got, child.Part)
			}
		}
	}
	want := []Part{
		{obsv1.PartMonitor, "tasks-main"}, {obsv1.PartBroker, "main"}, {obsv1.PartAlerts, "alerts"}, {obsv1.PartSLO, "api"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("the parts are %v, want %v", got, want)
	}
	if child := ChildOf(stack, &corev1.Service{}); child != nil {
		t.Errorf("a Service is %+v, want no child", child)
	}
}
