// SPDX-License-Identifier: Apache-2.0

package judge

import (
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

// ChildOf a stack is a ServiceMonitor or PrometheusRule; nil for any other object.
func ChildOf(stack *obsv1.ObservabilityStack, obj client.Object) *Child {
	child := &Child{Name: obj.GetName(), Labels: obj.GetLabels()}
	switch obj.(type) {
	case *monitoringv1.ServiceMonitor:
		child.Object = ServiceMonitor
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
