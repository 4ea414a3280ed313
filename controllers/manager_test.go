// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// startManager runs the controllers on one namespace, as in production, until the test ends.
func startManager(t *testing.T, namespace string, edits ...func(*Options)) {
	t.Helper()
	options := CacheOptions()
	options.DefaultNamespaces = map[string]cache.Config{namespace: {}}
	mgr, err := ctrl.NewManager(operatorConfig, ctrl.Options{
		Scheme: scheme, Cache: options,
		Controller: ctrlconfig.Controller{SkipNameValidation: new(true)},
		Metrics:    server.Options{BindAddress: "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	opts := Options{
		ExporterImage: "ghcr.io/obstack/obstack:test", MaxConcurrentReconciles: 2, MaxConcurrentRollouts: 20,
		Namespace: namespace,
	}
	for _, edit := range edits {
		edit(&opts)
	}
	if err := Setup(ctx, mgr, opts); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("the manager ended with: %v", err)
		}
	})
}

// timeout bounds each wait: what is waited for comes, but a shared machine may be slow.
const timeout = 2 * time.Minute

// eventually polls until check has nothing to complain about.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func eventuallyCondition(t *testing.T, stack *obsv1.ObservabilityStack, conditionType, reason string) {
	t.Helper()
	eventually(t, conditionType, func() error {
		refresh(t, stack)
		got := meta.FindStatusCondition(stack.Status.Conditions, conditionType)
		if got == nil || got.Reason != reason {
			return fmt.Errorf("condition is %+v, want reason %s", got, reason)
		}
		return nil
	})
}

func TestSetupReactsToWhatHappens(t *testing.T) {
	stack := fullStack(t)
	startManager(t, stack.Namespace)
	eventuallyCondition(t, stack, obsv1.Ready, obsv1.ReasonRollingOut)

	t.Run("a Deployment that becomes available", func(t *testing.T) {
		finishRollout(t, stack.Namespace)
		eventuallyCondition(t, stack, obsv1.Ready, obsv1.ReasonAvailable)
	})
	t.Run("a child that is deleted", func(t *testing.T) { repairsADeletedChild(t, stack) })
	t.Run("settings that are deleted", func(t *testing.T) { repairsDeletedSettings(t, stack) })
	t.Run("a child that another process made", func(t *testing.T) { prunesALateChild(t, stack) })
	t.Run("a child that is edited", func(t *testing.T) { repairsAnEditedChild(t, stack) })
	t.Run("a Secret that goes and comes back", func(t *testing.T) { followsTheDSN(t, stack) })
	t.Run("a ConfigMap that comes and changes", func(t *testing.T) { followsAConfigMap(t, stack) })
	t.Run("a broker URL that changes", func(t *testing.T) { restartsTheExporter(t, stack) })
	t.Run("a kind that goes and comes back", func(t *testing.T) { followsAnAPI(t, stack) })
	t.Run("its metrics", countsStacks)
	t.Run("a stack that is deleted", func(t *testing.T) { letsAStackGo(t, stack) })
}

func repairsADeletedChild(t *testing.T, stack *obsv1.ObservabilityStack) {
	child := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "shop-dashboard-overview"}}
	refresh(t, child)
	first := child.UID
	if err := live.Delete(t.Context(), child); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new ConfigMap", func() error {
		err := live.Get(t.Context(), client.ObjectKeyFromObject(child), child)
		if err == nil && child.UID == first {
			return fmt.Errorf("the old ConfigMap is still there")
		}
		return err
	})
}

func repairsDeletedSettings(t *testing.T, stack *obsv1.ObservabilityStack) {
	version := settingsIn(stack, stack.Namespace)
	remove(t, version)
	eventually(t, "new settings", func() error {
		return live.Get(t.Context(), client.ObjectKeyFromObject(version), version)
	})
}

// prunesALateChild stands in for a request of an operator that was killed, and
// that the API server carries out after the next one has started.
func prunesALateChild(t *testing.T, stack *obsv1.ObservabilityStack) {
	late := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: stack.Namespace, Name: "shop-dashboard-late",
		Labels: map[string]string{
			obsv1.LabelManagedBy: obsv1.ManagedBy, obsv1.LabelComponent: "dashboards",
			obsv1.LabelStack: stack.Name, obsv1.LabelStackNamespace: stack.Namespace,
		},
		OwnerReferences: []metav1.OwnerReference{
			*metav1.NewControllerRef(stack, obsv1.GroupVersion.WithKind("ObservabilityStack")),
		},
	}}
	create(t, late)
	eventually(t, "the late ConfigMap to go", func() error {
		if err := live.Get(t.Context(), client.ObjectKeyFromObject(late), late); err != nil {
			return client.IgnoreNotFound(err)
		}
		return fmt.Errorf("it is still there")
	})
}

func repairsAnEditedChild(t *testing.T, stack *obsv1.ObservabilityStack) {
	child := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "shop-tasks-main"}}
	refresh(t, child)
	child.Spec.Ports[0].Port = 1234
	if err := live.Update(t.Context(), child); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the port", func() error {
		// It cannot be merged, so the Service is replaced, and gone for a moment.
		if err := live.Get(t.Context(), client.ObjectKeyFromObject(child), child); err != nil {
			return err
		}
		if child.Spec.Ports[0].Port != 9808 {
			return fmt.Errorf("port = %d, want 9808", child.Spec.Ports[0].Port)
		}
		return nil
	})
}

func followsTheDSN(t *testing.T, stack *obsv1.ObservabilityStack) {
	dsn := secret(stack.Namespace, "shop-sentry", "dsn", testDSN)
	settings := settingsIn(stack, stack.Namespace)
	if err := live.Delete(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	eventuallyCondition(t, stack, obsv1.SentryReady, obsv1.ReasonSecretNotFound)
	refresh(t, settings)
	if got := string(settings.Data["SENTRY_DSN"]); got != testDSN {
		t.Errorf("SENTRY_DSN = %q while the Secret is missing, want the last good one", got)
	}
	create(t, secret(stack.Namespace, "shop-sentry", "wrong-key", testDSN))
	eventuallyCondition(t, stack, obsv1.SentryReady, obsv1.ReasonKeyNotFound)

	dsn = secret(stack.Namespace, "shop-sentry", "dsn", "not a DSN")
	update := func(value string) {
		dsn.Data["dsn"] = []byte(value)
		if err := live.Update(t.Context(), dsn); err != nil {
			t.Fatal(err)
		}
	}
	update("not a DSN")
	eventuallyCondition(t, stack, obsv1.SentryReady, obsv1.ReasonInvalidDSN)
	update("")
	eventuallyCondition(t, stack, obsv1.SentryReady, obsv1.ReasonDisabled)
	rotated := "https://cafe@o1.ingest.sentry.example/42"
	update(rotated)
	eventuallyCondition(t, stack, obsv1.SentryReady, obsv1.ReasonAvailable)
	settings = settingsIn(stack, stack.Namespace)
	refresh(t, settings)
	if got := string(settings.Data["SENTRY_DSN"]); got != rotated {
		t.Errorf("SENTRY_DSN = %q, want %q", got, rotated)
	}
}

func restartsTheExporter(t *testing.T, stack *obsv1.ObservabilityStack) {
	exporter := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "shop-tasks-main"}}
	revision := func() string {
		refresh(t, exporter)
		return exporter.Spec.Template.Annotations["obstack.dev/broker-revision"]
	}
	first := revision()
	broker := secret(stack.Namespace, "shop-redis", "url", "redis://:hunter3@redis:6379/0")
	if err := live.Update(t.Context(), broker); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the exporter's Pod template", func() error {
		if got := revision(); got == first || got == "" {
			return fmt.Errorf("revision = %q, want another than %q", got, first)
		}
		return nil
	})
	eventuallyCondition(t, stack, obsv1.TasksReady, obsv1.ReasonRollingOut)
	finishRollout(t, stack.Namespace)
	eventuallyCondition(t, stack, obsv1.TasksReady, obsv1.ReasonAvailable)
}

func followsAnAPI(t *testing.T, stack *obsv1.ObservabilityStack) {
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "grafanadashboards.grafana.integreatly.org"},
	}
	if err := live.Get(t.Context(), client.ObjectKeyFromObject(crd), crd); err != nil {
		t.Fatal(err)
	}
	if err := live.Delete(t.Context(), crd.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	eventuallyCondition(t, stack, obsv1.DashboardsReady, obsv1.ReasonMissingAPI)

	crd.ResourceVersion, crd.UID = "", ""
	crd.Status = apiextensionsv1.CustomResourceDefinitionStatus{}
	eventually(t, "install the definition again", func() error { return live.Create(t.Context(), crd.DeepCopy()) })
	eventuallyCondition(t, stack, obsv1.DashboardsReady, obsv1.ReasonAvailable)
	wantChildren(t, stack, fullStackChildren)
}

func countsStacks(t *testing.T) {
	for labels, least := range map[[2]string]float64{{"metrics", "succeeded"}: 1, {"sentry", "blocked"}: 1} {
		if got := counter(t, "obstack_component_total", labels[0], labels[1]); got < least {
			t.Errorf("obstack_component_total{%s} = %v, want some", labels, got)
		}
	}
	if got, err := testutil.GatherAndCount(ctrlmetrics.Registry, "obstack_stacks"); err != nil || got != 3 {
		t.Errorf("%d series of obstack_stacks (%v), want one for each status", got, err)
	}
}

// counter reads a counter by the values of its labels, in the order of their names.
func counter(t *testing.T, name string, values ...string) float64 {
	t.Helper()
	families, err := ctrlmetrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, series := range family.GetMetric() {
			var got []string
			for _, label := range series.GetLabel() {
				got = append(got, label.GetValue())
			}
			if family.GetName() == name && slices.Equal(got, values) {
				return series.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func letsAStackGo(t *testing.T, stack *obsv1.ObservabilityStack) {
	if err := live.Delete(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stack to go", func() error {
		err := live.Get(t.Context(), client.ObjectKeyFromObject(stack), stack)
		if err == nil {
			return fmt.Errorf("it is still there, with finalizers %v", stack.Finalizers)
		}
		return client.IgnoreNotFound(err)
	})
}
