// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"fmt"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

// ChildOf a stack is a ServiceMonitor, PodMonitor or PrometheusRule; nil for any other object.
func ChildOf(stack *obsv1.ObservabilityStack, obj client.Object) *Child {
	child := &Child{Name: obj.GetName(), Labels: obj.GetLabels()}
	switch obj.(type) {
	case *monitoringv1.ServiceMonitor:
		child.Object = ServiceMonitor
	case *monitoringv1.PodMonitor:
		child.Object = PodMonitor
	case *monitoringv1.PrometheusRule:
		child.Object = PrometheusRule
	default:
		return nil
	}
	kind, name, ok := desired.Part(stack, obj)
	if !ok {
		return nil
	}
	child.Part = Part{Kind: kind, Name: name}
	return child
}

// Refused says that prometheus-operator does not accept an object for the Prometheuses that select
// it; nothing if it does for one, or has not looked at this generation yet.
func (c *Child) Refused(generation int64, bindings []monitoringv1.WorkloadBinding) string {
	var by []string
	for _, binding := range bindings {
		for _, condition := range binding.Conditions {
			switch {
			case condition.Type != monitoringv1.Accepted || condition.ObservedGeneration != generation:
			case condition.Status == monitoringv1.ConditionFalse:
				by = append(by, binding.Namespace+"/"+binding.Name)
			default:
				return ""
			}
		}
	}
	if len(by) == 0 {
		return ""
	}
	return fmt.Sprintf("prometheus-operator does not accept %s %s for %s: kubectl describe %s %s says why",
		c.Object, c.Name, some(by, ", ", itself), strings.ToLower(c.Object), c.Name)
}
