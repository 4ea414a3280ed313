// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"slices"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

func TestChildOfKnowsThePart(t *testing.T) {
	stack := &obsv1.ObservabilityStack{}
	stack.Namespace, stack.Name = "shop", "shop"
	stack.Spec.Metrics = &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{{Name: "tasks-main", Port: "http"}}}
	stack.Spec.Python = &obsv1.PythonSpec{}
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
		{obsv1.PartMonitor, "tasks-main"}, {obsv1.PartPython, "python"}, {obsv1.PartBroker, "main"},
		{obsv1.PartAlerts, "alerts"}, {obsv1.PartSLO, "api"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("the parts are %v, want %v", got, want)
	}
	if child := ChildOf(stack, &corev1.Service{}); child != nil {
		t.Errorf("a Service is %+v, want no child", child)
	}
}

func TestChildIsRefusedIfNobodyAcceptsIt(t *testing.T) {
	says := func(name string, status monitoringv1.ConditionStatus, generation int64) monitoringv1.WorkloadBinding {
		return monitoringv1.WorkloadBinding{Namespace: "monitoring", Name: name,
			Conditions: []monitoringv1.ConfigResourceCondition{{
				Type: monitoringv1.Accepted, Status: status, ObservedGeneration: generation,
			}}}
	}
	no, yes := monitoringv1.ConditionFalse, monitoringv1.ConditionTrue
	child := &Child{Object: ServiceMonitor, Name: "shop-api"}
	for name, tc := range map[string]struct {
		bindings []monitoringv1.WorkloadBinding
		want     string
	}{
		"nobody says anything": {nil, ""},
		"accepted":             {[]monitoringv1.WorkloadBinding{says("k8s", yes, 2)}, ""},
		"not known":            {[]monitoringv1.WorkloadBinding{says("k8s", monitoringv1.ConditionUnknown, 2)}, ""},
		"without a condition":  {[]monitoringv1.WorkloadBinding{{Namespace: "monitoring", Name: "k8s"}}, ""},
		"not accepted":         {[]monitoringv1.WorkloadBinding{says("k8s", no, 2)}, "monitoring/k8s"},
		"as it was before":     {[]monitoringv1.WorkloadBinding{says("k8s", no, 1)}, ""},
		"accepted by another":  {[]monitoringv1.WorkloadBinding{says("k8s", no, 2), says("long", yes, 2)}, ""},
		"by neither": {[]monitoringv1.WorkloadBinding{says("k8s", no, 2), says("long", no, 2)},
			"monitoring/k8s, monitoring/long"},
	} {
		want := ""
		if tc.want != "" {
			want = "prometheus-operator does not accept ServiceMonitor shop-api for " + tc.want +
				": kubectl describe servicemonitor shop-api says why"
		}
		if got := child.Refused(2, tc.bindings); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestSelectedBelievesPrometheusOperator more than the selectors, and where there are none.
func TestSelectedBelievesPrometheusOperator(t *testing.T) {
	part := Part{obsv1.PartMonitor, "api"}
	for _, prometheuses := range [][]Prometheus{nil, {prometheus("k8s", everything, everything)}} {
		got := Selected("shop", []Child{{part, ServiceMonitor, "shop-api", nil}}, Cluster{
			Prometheuses: prometheuses, Refused: map[Part]string{part: "not accepted"},
		})
		want := Finding{Part: part, Level: obsv1.LevelSelected, State: metav1.ConditionFalse,
			Reason: obsv1.ReasonNotAccepted, Message: "not accepted"}
		if len(got) != 1 || got[0] != want {
			t.Errorf("with %d Prometheuses: %+v, want %+v", len(prometheuses), got, want)
		}
	}
}
