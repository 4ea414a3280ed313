// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/test/testenv"
)

const testDSN = "https://f00dfeed@o1.ingest.sentry.example/42"

// fullStack asks for every part. Its Secrets are made too.
func fullStack(t *testing.T) *obsv1.ObservabilityStack {
	t.Helper()
	ns := namespace(t)
	create(t, secret(ns, "shop-sentry", "dsn", testDSN))
	create(t, secret(ns, "shop-redis", "url", "redis://:hunter2@redis:6379/0"))
	for _, name := range []string{"api", "worker"} {
		create(t, testenv.Service(ns, name, map[string]string{"app": name}, "http"))
	}
	stack := &obsv1.ObservabilityStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "shop"},
		Spec: obsv1.ObservabilityStackSpec{
			Environment: "production",
			Metrics: &obsv1.MetricsSpec{
				Monitors: []obsv1.Monitor{monitor("api"), monitor("worker")},
				Labels:   map[string]obsv1.LabelValue{"release": "prometheus"},
			},
			Tasks: &obsv1.TasksSpec{Brokers: []obsv1.Broker{{
				Name: "main", URLFrom: from("shop-redis", "url"), Queues: []string{"celery", "emails"},
				NetworkPolicy: &obsv1.BrokerNetworkPolicy{
					Broker: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}},
				},
			}}},
			Dashboards: &obsv1.DashboardsSpec{
				Folder: "Shop",
				GrafanaOperator: &obsv1.GrafanaOperatorSpec{
					InstanceSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "grafana"}},
				},
			},
			Alerts:  &obsv1.AlertsSpec{Labels: map[string]obsv1.AlertLabelValue{"team": "shop"}},
			Sentry:  &obsv1.SentrySpec{DSNFrom: from("shop-sentry", "dsn"), TracesSampleRate: "0.1"},
			Logging: &obsv1.LoggingSpec{Level: "INFO", Format: "json"},
		},
	}
	create(t, stack)
	return stack
}

var fullStackChildren = []string{
	"ConfigMap/shop-dashboard-http-fastapi",
	"ConfigMap/shop-dashboard-overview",
	"ConfigMap/shop-dashboard-tasks",
	"Deployment/shop-tasks-main",
	"GrafanaDashboard/shop-dashboard-http-fastapi",
	"GrafanaDashboard/shop-dashboard-overview",
	"GrafanaDashboard/shop-dashboard-tasks",
	"NetworkPolicy/shop-tasks-main",
	"PrometheusRule/shop-alerts",
	"Secret/obstack.shop-tasks-main",
	"Service/shop-tasks-main",
	"ServiceMonitor/shop-api",
	"ServiceMonitor/shop-tasks-main",
	"ServiceMonitor/shop-worker",
}

func wantChildren(t *testing.T, stack *obsv1.ObservabilityStack, want []string) {
	t.Helper()
	got := children(t, stack)
	for i := range got {
		got[i] = strings.Replace(got[i], stack.Namespace, "NAMESPACE", 1)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("children (-want +got):\n%s", diff)
	}
}

func monitor(name string) obsv1.Monitor {
	return obsv1.Monitor{Name: name, Selector: metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}}
}

func from(name, key string) *obsv1.SecretKeySource {
	return &obsv1.SecretKeySource{SecretKeyRef: obsv1.SecretKeySelector{Name: name, Key: key}}
}

func secret(namespace, name, key, value string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string][]byte{key: []byte(value)},
	}
}

// finishRollout stands in for the controllers that make the exporter available.
func finishRollout(t *testing.T, namespace string) {
	t.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop-tasks-main"}}
	refresh(t, d)
	d.Status = appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1,
	}
	if err := live.Status().Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func TestReconcileMakesTheChildrenAndThenTheStackReady(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)
	wantChildren(t, stack, fullStackChildren)
	wantCondition(t, stack, obsv1.TasksReady, metav1.ConditionFalse, obsv1.ReasonRollingOut)
	wantCondition(t, stack, obsv1.Ready, metav1.ConditionFalse, obsv1.ReasonRollingOut)

	finishRollout(t, stack.Namespace)
	f.reconcileStack(t, stack)
	for _, part := range []string{
		obsv1.MetricsReady, obsv1.TasksReady, obsv1.DashboardsReady, obsv1.AlertsReady,
		obsv1.SentryReady, obsv1.SettingsReady, obsv1.Ready,
	} {
		wantCondition(t, stack, part, metav1.ConditionTrue, obsv1.ReasonAvailable)
	}
	if want := "2 monitors, 1 broker, 3 dashboards, 8 alerts, sentry, logging"; stack.Status.Covered != want {
		t.Errorf("covered = %q, want %q", stack.Status.Covered, want)
	}
	if stack.Status.ObservedGeneration != stack.Generation {
		t.Errorf("observedGeneration = %d, want %d", stack.Status.ObservedGeneration, stack.Generation)
	}
}

func TestReconcileGivesEveryChildLabelsAndOwner(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Python = &obsv1.PythonSpec{} })
	f.reconcileStack(t, stack)
	for _, kind := range f.Kinds.Served() {
		list, err := liveChildren(t.Context(), stack, kind)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			t.Errorf("no child of kind %s", kind.Kind)
		}
		for _, child := range list {
			for key, want := range map[string]string{
				obsv1.LabelManagedBy: "obstack", obsv1.LabelStack: "shop", obsv1.LabelStackNamespace: stack.Namespace,
			} {
				if got := child.Labels[key]; got != want {
					t.Errorf("%s %s: label %s = %q, want %q", kind.Kind, child.Name, key, got, want)
				}
			}
			if !metav1.IsControlledBy(&child, stack) {
				t.Errorf("%s %s is not controlled by the stack", kind.Kind, child.Name)
			}
		}
	}
}

func TestReconcileSendsOneRequestForEachChildOfANewStack(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)
	if got, want := len(f.sent.writes), len(fullStackChildren)+2; got != want {
		t.Errorf("%d writes, want one for each of the %d children, the settings and the status: %v", got,
			len(fullStackChildren), f.sent.writes)
	}
	if got, want := len(f.sent.reads), 2; got != want {
		t.Errorf("%d reads, want the %d Secrets that the stack refers to: %v", got, want, f.sent.reads)
	}
}

func TestReconcileSendsNothingForAnUnchangedStack(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)
	finishRollout(t, stack.Namespace)
	f.reconcileStack(t, stack)
	f.sent.reset()
	for range 3 {
		f.reconcileStack(t, stack)
	}
	if f.sent.total() != 0 {
		t.Errorf("sent %v and read %v, want nothing", f.sent.writes, f.sent.reads)
	}
}

func TestReconcileWritesNothingAfterARestart(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)
	restarted := newFixture(t)
	restarted.reconcileStack(t, stack)
	if got := restarted.sent.writes; len(got) > 0 {
		t.Errorf("wrote %v after a restart, want nothing", got)
	}

	drifted := childOf(stack)
	refresh(t, drifted)
	drifted.Data = map[string]string{"theirs": "1"}
	if err := live.Update(t.Context(), drifted); err != nil {
		t.Fatal(err)
	}
	restarted = newFixture(t)
	restarted.reconcileStack(t, stack)
	if got, want := restarted.sent.writes, []string{"patch " + drifted.Name}; !slices.Equal(got, want) {
		t.Errorf("wrote %v after a restart, want %v", got, want)
	}
}

// versions are the resource versions of the children, by kind and name.
func versions(t *testing.T, stack *obsv1.ObservabilityStack) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, kind := range newFixture(t).Kinds.Served() {
		list, err := liveChildren(t.Context(), stack, kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, child := range list {
			out[kind.Kind+"/"+child.Name] = child.ResourceVersion
		}
	}
	return out
}

func TestReconcilePrunesTheObjectsOfRemovedParts(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)

	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) {
		spec.Metrics.Monitors = spec.Metrics.Monitors[:1]
		spec.Tasks, spec.Alerts = nil, nil
		spec.Dashboards.GrafanaOperator = nil
	})
	f.reconcileStack(t, stack)
	wantChildren(t, stack, []string{
		"ConfigMap/shop-dashboard-http-fastapi", "ConfigMap/shop-dashboard-overview", "ServiceMonitor/shop-api",
	})
	for _, part := range []string{obsv1.TasksReady, obsv1.AlertsReady} {
		if meta.FindStatusCondition(stack.Status.Conditions, part) != nil {
			t.Errorf("condition %s is there, although the part is not requested", part)
		}
	}

	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) {
		*spec = obsv1.ObservabilityStackSpec{Metrics: &obsv1.MetricsSpec{Labels: map[string]obsv1.LabelValue{"release": "x"}}}
	})
	f.reconcileStack(t, stack)
	wantChildren(t, stack, nil)
	wantCondition(t, stack, obsv1.Ready, metav1.ConditionTrue, obsv1.ReasonAvailable)
}

// What the children were made from is known after a restart, but for what changed since.
func TestValueReaderReadsNoSecretAfterARestart(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)
	restarted := newFixture(t)
	restarted.reconcileStack(t, stack)
	if got := restarted.sent.reads; len(got) != 0 {
		t.Errorf("reads = %v, want none: nothing has changed", got)
	}
	if err := live.Update(t.Context(),
		secret(stack.Namespace, "shop-redis", "url", "redis://:hunter3@redis:6379/0")); err != nil {
		t.Fatal(err)
	}
	settings := settingsIn(stack, stack.Namespace)
	if err := live.Delete(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
	again := newFixture(t)
	again.reconcileStack(t, stack)
	if want := []string{" shop-sentry", " shop-redis"}; !slices.Equal(again.sent.reads, want) {
		t.Errorf("reads = %v, want %v: one has changed, and of the other no settings hold the value",
			again.sent.reads, want)
	}
	if refresh(t, settings); string(settings.Data["SENTRY_DSN"]) != testDSN {
		t.Errorf("SENTRY_DSN = %q in the settings that were deleted, want them made anew", settings.Data["SENTRY_DSN"])
	}
}

// A broker's Secret that is made anew with the same value restarts no exporter, whatever obstack
// was doing meanwhile, and another image does not take a URL that was not looked at.
func TestReconcileKeepsTheExporterOfEqualSecrets(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)
	exporter := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "shop-tasks-main"}}
	refresh(t, exporter)
	first := exporter.Generation
	replace := func(data map[string]string) {
		url := secret(stack.Namespace, "shop-redis", "url", "")
		if err := live.Delete(t.Context(), url.DeepCopy()); err != nil {
			t.Fatal(err)
		}
		url.Data, url.StringData = nil, data
		create(t, url)
	}
	equal := map[string]string{"url": "redis://:hunter2@redis:6379/0\n"}
	for _, tc := range []struct {
		name         string
		restart, see bool // see: a pass before the Secret is replaced
		values       []map[string]string
	}{
		{"the same process", false, false, []map[string]string{equal}},
		{"while away", true, false, []map[string]string{equal}},
		{"right after a restart", true, true, []map[string]string{equal}},
		{"without the key for a while", true, false, []map[string]string{{}, equal}},
	} {
		if tc.restart {
			f = newFixture(t)
		}
		if tc.see {
			f.reconcileStack(t, stack)
		}
		for _, data := range tc.values {
			replace(data)
			f.reconcileStack(t, stack)
		}
		if refresh(t, exporter); exporter.Generation != first {
			t.Fatalf("%s: the exporter is of generation %d, want %d", tc.name, exporter.Generation, first)
		}
	}
	replace(map[string]string{"url": "redis://:hunter3@redis:6379/0"})
	newFixture(t).reconcileStack(t, stack)
	if refresh(t, exporter); exporter.Generation == first {
		t.Error("another password keeps the exporter")
	}
}

func TestReconcileChecksTheURLWhenTheImageChangesAfterARestart(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Tasks.Brokers[0].Image = "exporter.example/x:1" })
	url := secret(stack.Namespace, "shop-redis", "url", "redis://:a/b@redis:6379/0")
	if err := live.Update(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.TasksReady, metav1.ConditionFalse, obsv1.ReasonRollingOut)
	restarted := newFixture(t)
	restarted.reconcileStack(t, stack)
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Tasks.Brokers[0].Image = "" })
	restarted.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.TasksReady, metav1.ConditionFalse, obsv1.ReasonInvalidURL)
}

// TestApplyNamesAFieldThatTheClusterDoesNotKnow: its definitions may be older than those that
// obstack was built with.
func TestApplyNamesAFieldThatTheClusterDoesNotKnow(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	pass := f.Engine.Begin(t.Context(), stack, f.Kinds.Served())
	child := &unstructured.Unstructured{Object: map[string]any{
		"spec": map[string]any{"selector": map[string]any{}, "endpoints": []any{}, "fieldOfTomorrow": "lost"},
	}}
	child.SetGroupVersionKind(desired.ServiceMonitorKind)
	child.SetName("shop-api")
	child.SetNamespace(stack.Namespace)
	if err := pass.Apply(t.Context(), []client.Object{child}); err == nil || !strings.Contains(err.Error(),
		"fieldOfTomorrow") {
		t.Errorf("error = %v, want one that names the field", err)
	}
}
