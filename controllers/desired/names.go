// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"maps"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// The names of all children are made here. CEL bounds the stack's name to 36
// characters, a monitor's to 26 and a broker's to 19, so that "<stack>-<monitor>"
// and "<stack>-tasks-<broker>" fit the 63 characters of a Service's name.

// monitorName of the ServiceMonitor of a monitor.
func monitorName(stack *obsv1.ObservabilityStack, monitor string) string {
	return stack.Name + "-" + monitor
}

// pythonName of the PodMonitor of spec.python. No ServiceMonitor could have it.
func pythonName(stack *obsv1.ObservabilityStack) string {
	return stack.Name + "-" + obsv1.MonitorPython
}

// ExporterName of the Deployment, Service and ServiceMonitor of a broker.
func ExporterName(stack *obsv1.ObservabilityStack, broker string) string {
	return stack.Name + "-tasks-" + broker
}

// ExporterNames are the names of the stack's task exporters.
func ExporterNames(stack *obsv1.ObservabilityStack) []string {
	var names []string
	for _, broker := range stack.Spec.Brokers() {
		names = append(names, ExporterName(stack, broker.Name))
	}
	return names
}

// SourcesName of the Secret that says from which Secrets an exporter was made.
func SourcesName(exporter string) string {
	return "obstack." + exporter
}

// dashboardName of the ConfigMap and GrafanaDashboard of a dashboard.
func dashboardName(stack *obsv1.ObservabilityStack, dashboard string) string {
	return stack.Name + "-dashboard-" + dashboard
}

// alertsName of the PrometheusRule with the default alerts.
func alertsName(stack *obsv1.ObservabilityStack) string {
	return stack.Name + "-alerts"
}

// sloName of the PrometheusRule of an SLO. CEL bounds the SLO's name to 22 characters.
func sloName(stack *obsv1.ObservabilityStack, slo string) string {
	return stack.Name + "-slo-" + slo
}

// objectMeta of a child. The labels of obstack win over extra ones.
func objectMeta(stack *obsv1.ObservabilityStack, component, name string,
	extra map[string]obsv1.LabelValue) metav1.ObjectMeta {
	labels := make(map[string]string, len(extra)+8)
	for key, value := range extra {
		labels[key] = string(value)
	}
	maps.Copy(labels, CommonLabels(stack))
	labels["app.kubernetes.io/name"], labels[obsv1.LabelComponent] = "obstack-"+component, component
	return metav1.ObjectMeta{Namespace: stack.Namespace, Name: name, Labels: labels}
}

// CommonLabels are those that all children of a stack have, whatever their part.
func CommonLabels(stack *obsv1.ObservabilityStack) map[string]string {
	return map[string]string{
		"app.kubernetes.io/instance": stack.Name,
		"app.kubernetes.io/part-of":  "obstack",
		obsv1.LabelManagedBy:         obsv1.ManagedBy,
		obsv1.LabelStack:             stack.Name,
		obsv1.LabelStackNamespace:    stack.Namespace,
	}
}

// Part returns which part of the stack an object of metrics, Python, tasks, alerts or SLOs is of.
func Part(stack *obsv1.ObservabilityStack, obj metav1.Object) (kind obsv1.PartKind, name string, ok bool) {
	kinds := map[string]struct {
		kind   obsv1.PartKind
		prefix string
	}{
		componentMetrics: {obsv1.PartMonitor, monitorName(stack, "")},
		componentPython:  {obsv1.PartPython, stack.Name + "-"},
		componentTasks:   {obsv1.PartBroker, ExporterName(stack, "")},
		componentSLOs:    {obsv1.PartSLO, sloName(stack, "")},
	}
	component := obj.GetLabels()[obsv1.LabelComponent]
	if component == componentAlerts {
		return obsv1.PartAlerts, AlertsPart, true
	}
	part := kinds[component]
	name, ok = strings.CutPrefix(obj.GetName(), part.prefix)
	return part.kind, name, ok && part.prefix != ""
}

// AlertsPart is the name of the alerts in the status.
const AlertsPart = "alerts"

// discovered are the labels by which the cluster's Prometheus selects, if any were found.
func (in *Inputs) discovered() obsv1.DiscoveredStatus {
	if in.Discovered == nil {
		return obsv1.DiscoveredStatus{}
	}
	return *in.Discovered
}

// prometheusLabels are those of the spec, or else those that were discovered.
func prometheusLabels(stack *obsv1.ObservabilityStack, discovered *obsv1.DiscoveredLabels) map[string]obsv1.LabelValue {
	if NamesLabels(stack) {
		return stack.Spec.Metrics.Labels
	}
	if discovered != nil {
		return discovered.Labels
	}
	return nil
}

// NamesLabels reports whether the spec names the labels by which a Prometheus selects.
func NamesLabels(stack *obsv1.ObservabilityStack) bool {
	return stack.Spec.Metrics != nil && len(stack.Spec.Metrics.Labels) > 0
}
