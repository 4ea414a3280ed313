// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"cmp"
	"fmt"
	"slices"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// PythonPorts are the names of the ports of the metrics: each container of a Pod has its own.
const PythonPorts = "obstack-py-[0-9]+"

// python makes the PodMonitor that scrapes what the bundle for Python serves.
func python(stack *obsv1.ObservabilityStack, in Inputs) Output {
	if stack.Spec.Python == nil {
		return Output{}
	}
	var out Output
	switch {
	case stack.Spec.Python.MetricsPort() == 0:
		out = available(nil, "workloads get the bundle, and no metrics are scraped")
	case in.MissingAPIs[PodMonitorKind.GroupKind()]:
		out = missingAPI(nil, PodMonitorKind, prometheusOperator)
	default:
		out = available([]client.Object{podMonitor(stack, in)},
			"1 PodMonitor in place"+whence(stack, in.discovered().PodMonitors))
	}
	if in.Workloads != nil && out.Status == metav1.ConditionTrue {
		out = withdrawn(out, in.Workloads)
	}
	out.Covered = "python"
	return out
}

// withdrawn says from which workloads the bundle was taken.
func withdrawn(out Output, workloads *Workloads) Output {
	if len(workloads.Withdrawn) > 0 {
		return unavailable(out.Objects, obsv1.ReasonPythonWithdrawn, "the bundle was taken off "+some(workloads.Withdrawn)+
			": run them with it elsewhere, and change an image or the annotation "+obsv1.AnnotationPythonPath)
	}
	if n := len(workloads.WithdrawnElsewhere); n > 0 {
		out.Message += fmt.Sprintf("; the bundle was taken off %s of other namespaces, with events that say why: %s",
			count(n, "workload"), some(workloads.WithdrawnElsewhere))
	}
	return out
}

// podMonitor scrapes the Pods that are stamped with the stack and a bundle, in the namespaces that
// may have it: anybody can label a Pod.
func podMonitor(stack *obsv1.ObservabilityStack, in Inputs) *monitoringv1.PodMonitor {
	monitor := pythonMonitor(in.Platform)
	// No port: its name would have to be one, and all declared ports are looked at.
	endpoint := monitoringv1.PodMetricsEndpoint{Path: "/metrics", Interval: monitoringv1.Duration(monitor.Interval)}
	endpoint.RelabelConfigs = slices.Concat([]monitoringv1.RelabelConfig{{
		Action: "keep", SourceLabels: []monitoringv1.LabelName{"__meta_kubernetes_pod_container_port_name"},
		Regex: PythonPorts,
	}}, workloadLabel(), ownLabels(stack, in.Platform, obsv1.SeriesMonitor, monitor.Name))
	return &monitoringv1.PodMonitor{
		ObjectMeta: objectMeta(stack, componentPython, pythonName(stack),
			prometheusLabels(stack, in.discovered().PodMonitors)),
		Spec: monitoringv1.PodMonitorSpec{
			Selector: metav1.LabelSelector{
				MatchLabels: map[string]string{obsv1.StampStack: stack.Name, obsv1.StampNamespace: stack.Namespace},
				MatchExpressions: []metav1.LabelSelectorRequirement{
					{Key: obsv1.StampPython, Operator: metav1.LabelSelectorOpExists},
				},
			},
			NamespaceSelector:   monitoringv1.NamespaceSelector{MatchNames: scrapedNamespaces(stack, in.Workloads)},
			PodMetricsEndpoints: []monitoringv1.PodMetricsEndpoint{endpoint},
		},
	}
}

// scrapedNamespaces are the stack's own and those that have its bundle.
func scrapedNamespaces(stack *obsv1.ObservabilityStack, workloads *Workloads) []string {
	namespaces := []string{stack.Namespace}
	if workloads != nil {
		namespaces = append(namespaces, workloads.Python...)
	}
	slices.Sort(namespaces)
	return slices.Compact(namespaces)
}

// workloadLabel is NAMESPACE/NAME of the workload: the label namespace is the stack's. The name of
// a ReplicaSet is that of its Deployment with a hash behind it.
func workloadLabel() []monitoringv1.RelabelConfig {
	const namespace, name = "__meta_kubernetes_namespace", "__meta_kubernetes_pod_controller_name"
	return []monitoringv1.RelabelConfig{{
		Action: "replace", SourceLabels: []monitoringv1.LabelName{namespace, name}, Separator: new("/"),
		TargetLabel: obsv1.SeriesWorkload,
	}, {
		Action: "replace", SourceLabels: []monitoringv1.LabelName{
			"__meta_kubernetes_pod_controller_kind", namespace, name,
		}, Separator: new("/"), Regex: "ReplicaSet/([^/]+/.+)-[^-]+", Replacement: new("$1"),
		TargetLabel: obsv1.SeriesWorkload,
	}}
}

// pythonMonitor is how dashboards, alerts and SLOs see what the PodMonitor scrapes.
func pythonMonitor(platform Platform) obsv1.Monitor {
	monitor := obsv1.Monitor{Name: obsv1.MonitorPython, Framework: obsv1.FrameworkFastAPI, Interval: defaultInterval}
	if platform.Spec != nil {
		monitor.Interval = cmp.Or(platform.Spec.Defaults.Metrics.Interval, monitor.Interval)
	}
	return monitor
}

// httpMonitors are all that have HTTP metrics: those of the spec, and that of the bundle.
func httpMonitors(stack *obsv1.ObservabilityStack, platform Platform) []obsv1.Monitor {
	monitors := stack.Spec.Monitors()
	if stack.Spec.Python.MetricsPort() > 0 {
		monitors = append(slices.Clone(monitors), pythonMonitor(platform))
	}
	return monitors
}
