// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// TestPodMonitorFindsPortsAndWorkloads runs Prometheus' own relabeling over Pods that it discovers.
func TestPodMonitorFindsPortsAndWorkloads(t *testing.T) {
	stack := &obsv1.ObservabilityStack{Spec: obsv1.ObservabilityStackSpec{Python: &obsv1.PythonSpec{}}}
	stack.Namespace, stack.Name = "shop", "shop"
	configs := prometheusConfigs(t, podMonitor(stack, Inputs{}).Spec.PodMetricsEndpoints[0].RelabelConfigs)
	for _, tc := range []struct {
		kind, name, port string
		// workload is empty if the target is dropped.
		workload string
	}{
		{"ReplicaSet", "shop-api-5d6f7b9c4", "obstack-py-0", "web/shop-api"},
		{"ReplicaSet", "shop-api-5d6f7b9c4", "obstack-py-12", "web/shop-api"},
		{"ReplicaSet", "shop-api-5d6f7b9c4", "http", ""},
		{"ReplicaSet", "shop-api-5d6f7b9c4", "", ""},
		{"StatefulSet", "queue-worker", "obstack-py-1", "web/queue-worker"},
	} {
		target := labels.NewBuilder(labels.FromStrings("__address__", "10.0.0.1:19464", "__meta_kubernetes_namespace", "web",
			"__meta_kubernetes_pod_controller_kind", tc.kind, "__meta_kubernetes_pod_controller_name", tc.name,
			"__meta_kubernetes_pod_container_port_name", tc.port, "namespace", "web", "obstack_stack", "other"))
		kept := relabel.ProcessBuilder(target, configs...)
		got := target.Labels()
		if kept != (tc.workload != "") {
			t.Errorf("%+v: kept: %t", tc, kept)
		}
		if !kept {
			continue
		}
		for label, want := range map[string]string{
			obsv1.SeriesWorkload: tc.workload, "namespace": "shop", obsv1.SeriesStack: "shop", obsv1.SeriesMonitor: "python",
		} {
			if got.Get(label) != want {
				t.Errorf("%+v: %s is %q, want %q", tc, label, got.Get(label), want)
			}
		}
	}
}

// TestTargetsOfPythonMayBeDown, because not all that gets the bundle is Python, and those of a
// monitor may not.
func TestTargetsOfPythonMayBeDown(t *testing.T) {
	stack := &obsv1.ObservabilityStack{Spec: obsv1.ObservabilityStackSpec{
		Python: &obsv1.PythonSpec{}, Alerts: &obsv1.AlertsSpec{},
		Metrics: &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{{Name: "api", Framework: obsv1.FrameworkFastAPI}}},
	}}
	groups, problem := AlertGroups(stack)
	if problem != nil || len(groups) != 1 {
		t.Fatalf("%v, %v", groups, problem)
	}
	of := map[string]int{}
	for _, rule := range groups[0].Rules {
		of[rule.Labels[obsv1.SeriesMonitor]]++
		if rule.Alert == alertTargetDown && rule.Labels[obsv1.SeriesMonitor] != "api" {
			t.Errorf("%s is about %s", rule.Alert, rule.Labels[obsv1.SeriesMonitor])
		}
	}
	if of["api"] != of[obsv1.MonitorPython]+1 || of[obsv1.MonitorPython] == 0 {
		t.Errorf("alerts: %v, want one less for python", of)
	}
}
