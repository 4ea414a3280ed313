// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"context"
	"fmt"
	"slices"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	monitoringv1alpha1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1alpha1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/capabilities"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/controllers/proof/judge"
)

// Reader reads what concerns a stack.
type Reader struct {
	// Namespaces reads the metadata of Namespaces.
	Namespaces client.Reader
	// Objects reads Services and the kinds that select.
	Objects client.Reader
	// Kinds knows which of those the cluster serves.
	Kinds *capabilities.Kinds
	// Unready are the monitors of a stack behind whose Services nothing is ready.
	Unready func(stack *obsv1.ObservabilityStack) map[string]bool
	// Refused are the parts of a stack whose object prometheus-operator does not accept, and why.
	Refused func(stack *obsv1.ObservabilityStack) map[judge.Part]string
}

// Observe reads, from memory alone, what objects of the cluster say about a stack.
func (r *Reader) Observe(ctx context.Context, stack *obsv1.ObservabilityStack) (cluster judge.Cluster, err error) {
	if cluster.Services, err = r.Services(ctx, stack.Namespace); err != nil {
		return cluster, err
	}
	cluster.Unready, cluster.Refused = r.Unready(stack), r.Refused(stack)
	namespace, err := metadata.Find(ctx, r.Namespaces, metadata.Namespace, client.ObjectKey{Name: stack.Namespace})
	if namespace == nil || err != nil { // Of one that is not known yet nobody can say who looks into it.
		return cluster, err
	}
	cluster.Labels = namespace.Labels
	cluster.Prometheuses, err = Prometheuses(ctx, r.Objects, r.Kinds.Serves)
	return cluster, err
}

// Services of a namespace, by name, but for those that obstack made.
func (r *Reader) Services(ctx context.Context, namespace string) ([]judge.Service, error) {
	list := &ServiceList{}
	if err := r.Objects.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list Services: %w", err)
	}
	services := make([]judge.Service, 0, len(list.Items))
	for i := range list.Items {
		services = append(services, asJudged(&list.Items[i]))
	}
	slices.SortFunc(services, func(a, b judge.Service) int { return strings.Compare(a.Name, b.Name) })
	return services, nil
}

func asJudged(service *Service) judge.Service {
	ports := make([]string, 0, len(service.Spec.Ports))
	for _, port := range service.Spec.Ports {
		ports = append(ports, port.Name)
	}
	return judge.Service{Name: service.Name, Labels: service.Labels, Ports: ports, Unread: service.Spec.Large}
}

// Prometheuses lists whatever selects, and stays, of the kinds that the cluster serves.
func Prometheuses(
	ctx context.Context, objects client.Reader, serves func(schema.GroupVersionKind) bool,
) (found []judge.Prometheus, err error) {
	add := func(obj client.Object, fields *monitoringv1.CommonPrometheusFields, rules *judge.Selection) {
		if !obj.GetDeletionTimestamp().IsZero() {
			return
		}
		p := judge.Prometheus{Namespace: obj.GetNamespace(), Name: obj.GetName(), Rules: rules}
		if fields != nil && !byHand(fields) {
			p.Monitors = &judge.Selection{
				Objects: fields.ServiceMonitorSelector, Namespaces: fields.ServiceMonitorNamespaceSelector,
			}
			p.PodMonitors = &judge.Selection{Objects: fields.PodMonitorSelector, Namespaces: fields.PodMonitorNamespaceSelector}
		}
		found = append(found, p)
	}
	servers, agents, rulers := &monitoringv1.PrometheusList{}, &monitoringv1alpha1.PrometheusAgentList{},
		&monitoringv1.ThanosRulerList{}
	for kind, list := range map[schema.GroupVersionKind]client.ObjectList{
		prometheusKind: servers, agentKind: agents, thanosRulerKind: rulers,
	} {
		if !serves(kind) {
			continue
		}
		if err := objects.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("list %s objects: %w", kind.Kind, err)
		}
	}
	for i := range servers.Items {
		p := &servers.Items[i]
		add(p, &p.Spec.CommonPrometheusFields,
			&judge.Selection{Objects: p.Spec.RuleSelector, Namespaces: p.Spec.RuleNamespaceSelector})
	}
	for i := range agents.Items {
		add(&agents.Items[i], &agents.Items[i].Spec.CommonPrometheusFields, nil)
	}
	for i := range rulers.Items {
		p := &rulers.Items[i]
		add(p, nil, &judge.Selection{Objects: p.Spec.RuleSelector, Namespaces: p.Spec.RuleNamespaceSelector})
	}
	return found, nil
}

// byHand reports whether a Prometheus is configured by hand, which one without selectors is.
func byHand(spec *monitoringv1.CommonPrometheusFields) bool {
	return spec.ServiceMonitorSelector == nil && spec.PodMonitorSelector == nil && spec.ProbeSelector == nil &&
		spec.ScrapeConfigSelector == nil
}
