// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// platformFor is named after a namespace, so that it has the stacks of one test: platforms are the
// whole cluster's.
func platformFor(t *testing.T, namespace string, spec obsv1.ObservabilityPlatformSpec) *obsv1.ObservabilityPlatform {
	t.Helper()
	platform := &obsv1.ObservabilityPlatform{ObjectMeta: metav1.ObjectMeta{Name: namespace}, Spec: spec}
	create(t, platform)
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(live.Delete(context.Background(), platform)); err != nil {
			t.Error(err)
		}
	})
	return platform
}

func changePlatform(t *testing.T, platform *obsv1.ObservabilityPlatform, edit func(*obsv1.ObservabilityPlatformSpec)) {
	t.Helper()
	before := platform.DeepCopy()
	edit(&platform.Spec)
	if err := live.Patch(t.Context(), platform, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// ofPlatform is a stack with one monitor that names a platform.
func ofPlatform(namespace, name, platform string) *obsv1.ObservabilityStack {
	return &obsv1.ObservabilityStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: obsv1.ObservabilityStackSpec{
			Platform: platform, Metrics: &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{monitor("api")}},
		},
	}
}

func monitorOf(t *testing.T, stack *obsv1.ObservabilityStack) *monitoringv1.ServiceMonitor {
	t.Helper()
	found := &monitoringv1.ServiceMonitor{}
	key := client.ObjectKey{Namespace: stack.Namespace, Name: stack.Name + "-api"}
	if err := live.Get(t.Context(), key, found); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestReconcileGivesStacksTheDefaultsOfTheirPlatform(t *testing.T) {
	f := newFixture(t)
	stack := ofPlatform(namespace(t), "shop", "")
	stack.Spec.Platform = stack.Namespace
	stack.Spec.Metrics.Monitors[0].Interval = ""
	create(t, stack)

	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.PlatformReady, metav1.ConditionFalse, obsv1.ReasonPlatformNotFound)
	wantCondition(t, stack, obsv1.Ready, metav1.ConditionFalse, obsv1.ReasonPlatformNotFound)
	if got := monitorOf(t, stack); got.Spec.Endpoints[0].Interval != "30s" || got.Labels["release"] != "" {
		t.Errorf("without its platform: interval %s, labels %v", got.Spec.Endpoints[0].Interval, got.Labels)
	}

	platform := platformFor(t, stack.Namespace, obsv1.ObservabilityPlatformSpec{
		Cluster: "eu-1", Defaults: obsv1.PlatformDefaults{Metrics: obsv1.PlatformMetricsDefaults{
			Interval: "15s", Labels: obsv1.Labels{"release": "monitoring"},
		}},
	})
	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.PlatformReady, metav1.ConditionTrue, obsv1.ReasonAvailable)
	got := monitorOf(t, stack)
	labels := got.Spec.Endpoints[0].RelabelConfigs
	if got.Spec.Endpoints[0].Interval != "15s" || got.Labels["release"] != "monitoring" ||
		labels[len(labels)-1].TargetLabel != obsv1.SeriesCluster {
		t.Errorf("with its platform: interval %s, labels %v, relabelings %v", got.Spec.Endpoints[0].Interval, got.Labels,
			labels)
	}
	refresh(t, stack)
	if stack.Spec.Metrics.Labels != nil || stack.Spec.Metrics.Monitors[0].Interval != "" {
		t.Errorf("the pass wrote defaults into the spec: %+v", stack.Spec.Metrics)
	}
	f.sent.reset()
	if f.reconcileStack(t, stack); f.sent.total() > 0 {
		t.Errorf("a second pass sends %v", f.sent)
	}

	changePlatform(t, platform, func(spec *obsv1.ObservabilityPlatformSpec) {
		spec.Namespaces = &obsv1.PlatformNamespaces{
			From: obsv1.PlatformNamespacesFromSelector, Selector: &metav1.LabelSelector{
				MatchLabels: map[string]string{corev1.LabelMetadataName: "another"},
			},
		}
	})
	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.PlatformReady, metav1.ConditionFalse, obsv1.ReasonPlatformNotAdmitted)
	if got := monitorOf(t, stack); got.Labels["release"] != "" {
		t.Errorf("a platform that does not admit the stack still gives it labels: %v", got.Labels)
	}

	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Platform = "" })
	f.reconcileStack(t, stack)
	if refresh(t, stack); meta.FindStatusCondition(stack.Status.Conditions, obsv1.PlatformReady) != nil {
		t.Error("PlatformReady stays although the stack names no platform and there is no default")
	}
}

func TestPlatformsReachTheirStacks(t *testing.T) {
	const count = 30
	ns := namespace(t)
	platform := platformFor(t, ns, obsv1.ObservabilityPlatformSpec{})
	for i := range count {
		create(t, ofPlatform(ns, fmt.Sprintf("shop-%d", i), ns))
	}
	startManager(t, ns)
	everyMonitor := func(release string) func() error {
		return func() error {
			monitors := &monitoringv1.ServiceMonitorList{}
			if err := live.List(t.Context(), monitors, client.InNamespace(ns)); err != nil {
				return err
			}
			have := 0
			for _, found := range monitors.Items {
				if found.Labels["release"] == release {
					have++
				}
			}
			if have != count {
				return fmt.Errorf("%d of %d ServiceMonitors have the label release=%s", have, count, release)
			}
			return nil
		}
	}
	eventually(t, "the first passes", everyMonitor(""))
	eventuallyPlatform(t, platform, func(status *obsv1.ObservabilityPlatformStatus) bool {
		return status.Stacks != nil && meta.IsStatusConditionTrue(status.Conditions, obsv1.Ready)
	})
	changePlatform(t, platform, func(spec *obsv1.ObservabilityPlatformSpec) {
		spec.Defaults.Metrics.Labels = obsv1.Labels{"release": "monitoring"}
	})
	eventually(t, "a change of the platform", everyMonitor("monitoring"))
	eventuallyPlatform(t, platform, func(status *obsv1.ObservabilityPlatformStatus) bool {
		return status.ObservedGeneration == platform.Generation && *status.Stacks == count
	})
	t.Run("a Secret that comes", func(t *testing.T) { reachesGrafana(t, platform) })
	changePlatform(t, platform, func(spec *obsv1.ObservabilityPlatformSpec) {
		spec.Namespaces = &obsv1.PlatformNamespaces{
			From:     obsv1.PlatformNamespacesFromSelector,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "shop"}},
		}
	})
	eventually(t, "a platform that does not admit the namespace", everyMonitor(""))
	admitted := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}
	label := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"team":"shop"}}}`))
	if err := live.Patch(t.Context(), admitted, label); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a Namespace that is admitted", everyMonitor("monitoring"))
	remove(t, platform)
	eventually(t, "a platform that goes", everyMonitor(""))
}

// reachesGrafana gives the platform a Grafana, and then the Secret with its token.
func reachesGrafana(t *testing.T, platform *obsv1.ObservabilityPlatform) {
	fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer viewer" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = w.Write([]byte(`[]`))
	}))
	t.Cleanup(fake.Close)
	changePlatform(t, platform, func(spec *obsv1.ObservabilityPlatformSpec) {
		spec.Grafana = &obsv1.PlatformGrafana{URL: obsv1.PlatformURL(fake.URL), TokenFrom: &obsv1.PlatformSecretSource{
			SecretKeyRef: obsv1.SecretKeySelector{Name: "grafana", Key: "token"},
		}}
	})
	eventuallyPlatform(t, platform, func(status *obsv1.ObservabilityPlatformStatus) bool {
		return slices.Equal(status.MissingSecrets, []string{"grafana"})
	})
	token := secret(platform.Name, "grafana", "token", "viewer")
	token.Labels = map[string]string{obsv1.LabelPlatform: platform.Name}
	create(t, token)
	eventuallyPlatform(t, platform, func(status *obsv1.ObservabilityPlatformStatus) bool {
		return len(status.MissingSecrets) == 0 && meta.IsStatusConditionTrue(status.Conditions, obsv1.GrafanaReachable)
	})
}

func eventuallyPlatform(
	t *testing.T, platform *obsv1.ObservabilityPlatform, done func(*obsv1.ObservabilityPlatformStatus) bool,
) {
	t.Helper()
	eventually(t, "the platform's status", func() error {
		if refresh(t, platform); !done(&platform.Status) {
			return fmt.Errorf("status is %+v", platform.Status)
		}
		return nil
	})
}
