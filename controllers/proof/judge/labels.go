// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"maps"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

// Labels are those to set on a stack's objects where its spec names none, by the objects' kind:
// what the one Prometheus wants that wants nothing but labels. Labels that were set before stay
// while a Prometheus selects them, and until exactly one other could be satisfied, whatever comes
// and goes beside it.
func Labels(stack *obsv1.ObservabilityStack, cluster Cluster) *obsv1.DiscoveredStatus {
	if desired.NamesLabels(stack) {
		return nil
	}
	before, found := stack.Status.Discovered, &obsv1.DiscoveredStatus{}
	if before == nil {
		before = &obsv1.DiscoveredStatus{}
	}
	of := desired.CommonLabels(stack)
	if stack.Spec.Metrics != nil || stack.Spec.Tasks != nil {
		found.ServiceMonitors = discovered(ServiceMonitor, stack.Namespace, of, cluster, before.ServiceMonitors)
	}
	if stack.Spec.Python.MetricsPort() > 0 {
		found.PodMonitors = discovered(PodMonitor, stack.Namespace, of, cluster, before.PodMonitors)
	}
	if stack.Spec.Alerts != nil || len(stack.Spec.SLOs) > 0 {
		found.PrometheusRules = discovered(PrometheusRule, stack.Namespace, of, cluster, before.PrometheusRules)
	}
	if *found == (obsv1.DiscoveredStatus{}) {
		return nil
	}
	return found
}

func discovered(kind, namespace string, of map[string]string, cluster Cluster,
	before *obsv1.DiscoveredLabels) *obsv1.DiscoveredLabels {
	if before != nil {
		set := maps.Clone(of)
		for key, value := range before.Labels {
			set[key] = string(value)
		}
		if needs := needsOf(kind, namespace, set, cluster); len(needs) > 0 && needs[0].met() {
			return &obsv1.DiscoveredLabels{Labels: before.Labels, From: selectedBy(needs, before.From)}
		}
	}
	var found []*obsv1.DiscoveredLabels
	for _, n := range needsOf(kind, namespace, of, cluster) {
		if n.met() {
			return nil // It needs no label.
		}
		if missing, ok := n.labels(); ok {
			set := map[string]obsv1.LabelValue{}
			for key, value := range missing {
				set[key] = obsv1.LabelValue(value)
			}
			found = append(found, &obsv1.DiscoveredLabels{Labels: set, From: n.prometheus})
		}
	}
	if len(found) == 1 {
		return found[0]
	}
	return before
}

// selectedBy is a Prometheus whose needs are met: the one of before, if it still is one.
func selectedBy(needs []need, before string) string {
	for _, n := range needs {
		if n.met() && n.prometheus == before {
			return before
		}
	}
	return needs[0].prometheus
}
