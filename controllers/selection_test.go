// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// selected is a stack with one monitor, and what selects it.
type selected struct {
	stack          *obsv1.ObservabilityStack
	service        *corev1.Service
	first, another *monitoringv1.Prometheus
}

// update writes an object to the API server.
func update[T client.Object](t *testing.T, obj T, edit func(T)) {
	t.Helper()
	refresh(t, obj)
	before := obj.DeepCopyObject().(client.Object)
	edit(obj)
	if err := live.Patch(t.Context(), obj, client.MergeFrom(before)); err != nil {
		t.Fatalf("change %s: %v", obj.GetName(), err)
	}
}

// eventuallySays waits until a condition has a reason and its message a text.
func (s *selected) eventuallySays(t *testing.T, conditionType, reason, text string) {
	t.Helper()
	eventually(t, text, func() error {
		refresh(t, s.stack)
		got := meta.FindStatusCondition(s.stack.Status.Conditions, conditionType)
		if got == nil || got.Reason != reason || !strings.Contains(got.Message, text) {
			return fmt.Errorf("condition is %+v, want %s: %q", got, reason, text)
		}
		return nil
	})
}

// wantLabel checks the label of the ServiceMonitor; without a value, that it is not there.
func (s *selected) wantLabel(t *testing.T, key, want string) {
	t.Helper()
	monitor := &monitoringv1.ServiceMonitor{ObjectMeta: metav1.ObjectMeta{Namespace: s.stack.Namespace, Name: "shop-api"}}
	refresh(t, monitor)
	if got := monitor.Labels[key]; got != want {
		t.Errorf("the label %s of the ServiceMonitor is %q, want %q", key, got, want)
	}
}

func newPrometheus(namespace, name string, labels map[string]string) *monitoringv1.Prometheus {
	p := &monitoringv1.Prometheus{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	selector := &metav1.LabelSelector{MatchLabels: labels}
	p.Spec.ServiceMonitorSelector, p.Spec.ServiceMonitorNamespaceSelector = selector, &metav1.LabelSelector{}
	p.Spec.RuleSelector, p.Spec.RuleNamespaceSelector = selector, &metav1.LabelSelector{}
	return p
}

// A Prometheus concerns all stacks of the cluster, so no other test may run beside this one.
func TestSetupFollowsWhatSelects(t *testing.T) {
	ns := namespace(t)
	monitoring := namespace(t)
	s := &selected{
		stack: &obsv1.ObservabilityStack{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "shop"},
			Spec: obsv1.ObservabilityStackSpec{
				Metrics: &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{monitor("api")}}, Alerts: &obsv1.AlertsSpec{},
			},
		},
		service: testenv.Service(ns, "shop", map[string]string{"app": "shop"}, "web"),
		first:   newPrometheus(monitoring, "k8s", map[string]string{"release": "kube-prometheus-stack"}),
		another: newPrometheus(monitoring, "other", map[string]string{"scraped-by": "other"}),
	}
	create(t, s.stack)
	create(t, s.service)
	t.Cleanup(func() { // Also if the test ends early.
		for _, p := range []client.Object{s.first, s.another} {
			if err := live.Delete(context.WithoutCancel(t.Context()), p); client.IgnoreNotFound(err) != nil {
				t.Error(err)
			}
		}
	})
	startManager(t, ns)
	t.Run("Services", s.followsServices)
	t.Run("one Prometheus", s.setsLabels)
	t.Run("another Prometheus", s.keepsLabels)
	t.Run("labels of the spec", s.prefersTheSpec)
	t.Run("namespaces", s.followsNamespaces)
}

func (s *selected) followsServices(t *testing.T) {
	s.eventuallySays(t, obsv1.MetricsReady, obsv1.ReasonNoService, "it wants app=api, and the Services have app=shop")
	s.eventuallySays(t, obsv1.Ready, obsv1.ReasonNoService, "app=shop")
	update(t, s.service, func(service *corev1.Service) { service.Labels["app"] = "api" })
	s.eventuallySays(t, obsv1.MetricsReady, obsv1.ReasonPortNotFound, "has a port named http: shop has web")
	update(t, s.service, func(service *corev1.Service) { service.Spec.Ports[0].Name = "http" })
	s.eventuallySays(t, obsv1.MetricsReady, obsv1.ReasonAvailable, "1 ServiceMonitor in place")
	s.wantLabel(t, "release", "")
	for _, part := range s.stack.Status.Parts {
		if part.Level != obsv1.LevelWritten {
			t.Errorf("nobody selects %s %s, and its level is %s", part.Kind, part.Name, part.Level)
		}
	}
}

func (s *selected) setsLabels(t *testing.T) {
	create(t, s.first)
	s.eventuallySays(t, obsv1.MetricsReady, obsv1.ReasonSelected,
		"with the labels release=kube-prometheus-stack that Prometheus "+s.first.Namespace+"/k8s wants")
	s.eventuallySays(t, obsv1.AlertsReady, obsv1.ReasonSelected, "in place")
	s.wantLabel(t, "release", "kube-prometheus-stack")
	if found := s.stack.Status.Discovered; found == nil || found.PrometheusRules == nil ||
		found.PrometheusRules.Labels["release"] != "kube-prometheus-stack" {
		t.Errorf("discovered is %+v, want the labels of rules", found)
	}
}

func (s *selected) keepsLabels(t *testing.T) {
	create(t, s.another)
	// A change that shows shows that the other Prometheus was seen.
	update(t, s.service, func(service *corev1.Service) { service.Spec.Ports[0].Name = "web" })
	s.eventuallySays(t, obsv1.MetricsReady, obsv1.ReasonPortNotFound, "has web")
	update(t, s.service, func(service *corev1.Service) { service.Spec.Ports[0].Name = "http" })
	s.eventuallySays(t, obsv1.MetricsReady, obsv1.ReasonSelected, "release=kube-prometheus-stack")
	if err := live.Delete(t.Context(), s.first); err != nil {
		t.Fatal(err)
	}
	s.eventuallySays(t, obsv1.MetricsReady, obsv1.ReasonSelected, "scraped-by=other")
	s.wantLabel(t, "release", "")
	s.wantLabel(t, "scraped-by", "other")
}

func (s *selected) prefersTheSpec(t *testing.T) {
	change(t, s.stack, func(spec *obsv1.ObservabilityStackSpec) {
		spec.Metrics.Labels = map[string]obsv1.LabelValue{"team": "shop"}
	})
	s.eventuallySays(t, obsv1.MetricsReady, obsv1.ReasonNotSelected, fmt.Sprintf(
		"no Prometheus selects ServiceMonitor shop-api: %s/other wants scraped-by=other", s.another.Namespace))
	s.eventuallySays(t, obsv1.AlertsReady, obsv1.ReasonNotSelected, "no Prometheus selects PrometheusRule shop-alerts")
	s.wantLabel(t, "scraped-by", "")
	if s.stack.Status.Discovered != nil {
		t.Errorf("discovered is %+v, though the spec names labels", s.stack.Status.Discovered)
	}
	child := &monitoringv1.ServiceMonitor{ObjectMeta: metav1.ObjectMeta{Namespace: s.stack.Namespace, Name: "shop-api"}}
	update(t, child, func(m *monitoringv1.ServiceMonitor) { m.Labels["scraped-by"] = "other" })
	s.eventuallySays(t, obsv1.MetricsReady, obsv1.ReasonSelected, "in place") // Whoever set it.
}

func (s *selected) followsNamespaces(t *testing.T) {
	update(t, s.another, func(p *monitoringv1.Prometheus) {
		p.Spec.ServiceMonitorNamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "shop"}}
	})
	s.eventuallySays(t, obsv1.MetricsReady, obsv1.ReasonNotSelected, "other looks in namespaces with team=shop only")
	update(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.stack.Namespace}}, func(ns *corev1.Namespace) {
		ns.Labels["team"] = "shop"
	})
	s.eventuallySays(t, obsv1.MetricsReady, obsv1.ReasonSelected, "in place")
	if err := live.Delete(t.Context(), s.another); err != nil {
		t.Fatal(err)
	}
	s.eventuallySays(t, obsv1.MetricsReady, obsv1.ReasonAvailable, "in place") // Something else may take it.
}

// TestSetupBelievesPrometheusOperator, which says in the status of an object that it rejects it.
func TestSetupBelievesPrometheusOperator(t *testing.T) {
	ns := namespace(t)
	s := &selected{
		stack: &obsv1.ObservabilityStack{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "shop"},
			Spec:       obsv1.ObservabilityStackSpec{Metrics: &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{monitor("api")}}},
		},
		service: testenv.Service(ns, "shop", map[string]string{"app": "api"}, "http"),
	}
	create(t, s.stack)
	create(t, s.service)
	create(t, &discoveryv1.EndpointSlice{ // or the proofs say that nothing is ready
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ns, Name: "shop", Labels: map[string]string{discoveryv1.LabelServiceName: s.service.Name},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}}},
	})
	startManager(t, ns, func(opts *Options) { opts.Proofs.Interval = 200 * time.Millisecond })
	s.eventuallySays(t, obsv1.MetricsReady, obsv1.ReasonAvailable, "in place")
	child := &monitoringv1.ServiceMonitor{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "shop-api"}}
	for _, step := range []struct {
		status monitoringv1.ConditionStatus
		reason string
		text   string
	}{
		{monitoringv1.ConditionFalse, obsv1.ReasonNotAccepted, "does not accept ServiceMonitor shop-api for monitoring/k8s"},
		{monitoringv1.ConditionTrue, obsv1.ReasonAvailable, "in place"},
	} {
		refresh(t, child)
		child.Status.Bindings = []monitoringv1.WorkloadBinding{{
			Group: "monitoring.coreos.com", Resource: "prometheuses", Namespace: "monitoring", Name: "k8s",
			Conditions: []monitoringv1.ConfigResourceCondition{{
				Type: monitoringv1.Accepted, Status: step.status, LastTransitionTime: metav1.Now(),
				ObservedGeneration: child.Generation,
			}},
		}}
		if err := live.Status().Update(t.Context(), child); err != nil {
			t.Fatal(err)
		}
		s.eventuallySays(t, obsv1.MetricsReady, step.reason, step.text)
	}
}
