// SPDX-License-Identifier: Apache-2.0

// Package selection reads what the cluster's own objects select of a stack: Prometheuses by their
// selectors, and monitors of Services by labels and ports. It decides nothing.
package selection

import (
	"fmt"
	"maps"
	"strings"
	"unique"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	monitoringv1alpha1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/metadata"
)

// The kinds of prometheus-operator that select. A cluster may lack them.
var (
	prometheusKind  = monitoringv1.SchemeGroupVersion.WithKind(monitoringv1.PrometheusesKind)
	agentKind       = monitoringv1alpha1.SchemeGroupVersion.WithKind(monitoringv1alpha1.PrometheusAgentsKind)
	thanosRulerKind = monitoringv1.SchemeGroupVersion.WithKind(monitoringv1.ThanosRulerKind)
)

// Kinds are those kinds by the names of their CustomResourceDefinitions.
func Kinds() map[string]schema.GroupVersionKind {
	return map[string]schema.GroupVersionKind{
		"prometheuses.monitoring.coreos.com":     prometheusKind,
		"prometheusagents.monitoring.coreos.com": agentKind,
		"thanosrulers.monitoring.coreos.com":     thanosRulerKind,
	}
}

// empty objects of the kinds, as the cache knows them.
func empty(kind schema.GroupVersionKind) client.Object {
	switch kind {
	case prometheusKind:
		return &monitoringv1.Prometheus{}
	case agentKind:
		return &monitoringv1alpha1.PrometheusAgent{}
	default:
		return &monitoringv1.ThanosRuler{}
	}
}

// newCache caches the Services of those namespaces, all if there are none, but for our own, and the
// Prometheuses of the cluster: one that selects a stack may be in any namespace.
func newCache(mgr ctrl.Manager, namespaces map[string]cache.Config) (cache.Cache, error) {
	unmanaged, err := labels.NewRequirement(obsv1.LabelManagedBy, selection.NotEquals, []string{obsv1.ManagedBy})
	utilruntime.Must(err) // The label is a constant.
	scheme := runtime.NewScheme()
	utilruntime.Must(monitoringv1.AddToScheme(scheme))
	utilruntime.Must(monitoringv1alpha1.AddToScheme(scheme))
	core := metadata.Service.GroupVersion()
	scheme.AddKnownTypes(core, &Service{}, &ServiceList{})
	metav1.AddToGroupVersion(scheme, core)
	// The partial type has no protobuf, nor has a custom resource.
	config := rest.CopyConfig(mgr.GetConfig())
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	made, err := cache.New(config, cache.Options{
		Scheme: scheme, Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient(), ReaderFailOnMissingInformer: true,
		DefaultTransform: keepSelectors,
		ByObject: map[client.Object]cache.ByObject{&Service{}: {
			Namespaces: maps.Clone(namespaces), Label: labels.NewSelector().Add(*unmanaged), Transform: keepPorts,
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("make the cache of Services and Prometheuses: %w", err)
	}
	return made, mgr.Add(made)
}

// maxKept is how much is kept of the labels and ports of a Service, in bytes. Who may make Services
// could fill the memory with more.
const maxKept = 1 << 10

// keepPorts keeps of a Service its name, its labels and the names of its ports, each in a copy of
// its own, because the decoder's share their memory with what is dropped. Labels and ports have the
// same names all over a cluster, which are stored once.
func keepPorts(obj any) (any, error) {
	full, ok := obj.(*Service)
	if !ok {
		return obj, nil
	}
	kept := &Service{ObjectMeta: metav1.ObjectMeta{
		Namespace: shared(full.Namespace), Name: strings.Clone(full.Name), UID: full.UID,
		ResourceVersion: strings.Clone(full.ResourceVersion),
	}}
	size := 0
	for key, value := range full.Labels {
		size += len(key) + len(value)
	}
	for _, port := range full.Spec.Ports {
		size += len(port.Name)
	}
	if size > maxKept {
		kept.Spec.Large = true
		return kept, nil
	}
	kept.Labels, kept.Spec.Ports = make(map[string]string, len(full.Labels)), make([]Port, 0, len(full.Spec.Ports))
	for key, value := range full.Labels {
		kept.Labels[shared(key)] = shared(value)
	}
	for _, port := range full.Spec.Ports {
		kept.Spec.Ports = append(kept.Spec.Ports, Port{Name: shared(port.Name)})
	}
	return kept, nil
}

func shared(text string) string { return unique.Make(text).Value() }

// keepSelectors keeps of a Prometheus what it selects.
func keepSelectors(obj any) (any, error) {
	switch full := obj.(type) {
	case *monitoringv1.Prometheus:
		common := onlySelectors(&full.Spec.CommonPrometheusFields)
		return &monitoringv1.Prometheus{ObjectMeta: named(full), Spec: monitoringv1.PrometheusSpec{
			CommonPrometheusFields: common, RuleSelector: full.Spec.RuleSelector,
			RuleNamespaceSelector: full.Spec.RuleNamespaceSelector,
		}}, nil
	case *monitoringv1alpha1.PrometheusAgent:
		return &monitoringv1alpha1.PrometheusAgent{ObjectMeta: named(full), Spec: monitoringv1alpha1.PrometheusAgentSpec{
			CommonPrometheusFields: onlySelectors(&full.Spec.CommonPrometheusFields),
		}}, nil
	case *monitoringv1.ThanosRuler:
		return &monitoringv1.ThanosRuler{ObjectMeta: named(full), Spec: monitoringv1.ThanosRulerSpec{
			RuleSelector: full.Spec.RuleSelector, RuleNamespaceSelector: full.Spec.RuleNamespaceSelector,
		}}, nil
	default:
		return obj, nil
	}
}

func named(obj metav1.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: obj.GetNamespace(), Name: obj.GetName(), UID: obj.GetUID(),
		ResourceVersion: obj.GetResourceVersion(), DeletionTimestamp: obj.GetDeletionTimestamp(),
	}
}

func onlySelectors(full *monitoringv1.CommonPrometheusFields) monitoringv1.CommonPrometheusFields {
	return monitoringv1.CommonPrometheusFields{
		ServiceMonitorSelector:          full.ServiceMonitorSelector,
		ServiceMonitorNamespaceSelector: full.ServiceMonitorNamespaceSelector,
		PodMonitorSelector:              full.PodMonitorSelector,
		PodMonitorNamespaceSelector:     full.PodMonitorNamespaceSelector,
		ProbeSelector:                   full.ProbeSelector,
		ScrapeConfigSelector:            full.ScrapeConfigSelector,
	}
}
