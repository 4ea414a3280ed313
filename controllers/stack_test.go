// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

const testDSN = "https://f00dfeed@o1.ingest.sentry.example/42"

// fullStack asks for every part. Its Secrets are made too.
func fullStack(t *testing.T) *obsv1.ObservabilityStack {
	t.Helper()
	ns := namespace(t)
	create(t, secret(ns, "shop-sentry", "dsn", testDSN))
	create(t, secret(ns, "shop-redis", "url", "redis://:hunter2@redis:6379/0"))
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
			}}},
			Dashboards: &obsv1.DashboardsSpec{
				Folder:          "Shop",
				GrafanaOperator: &obsv1.GrafanaOperatorSpec{InstanceSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "grafana"}}},
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
	"ConfigMap/shop-dashboard-overview",
	"Deployment/shop-tasks-main",
	"GrafanaDashboard/shop-dashboard-overview",
	"PrometheusRule/shop-alerts",
	"Secret/obstack.NAMESPACE.shop",
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
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string][]byte{key: []byte(value)}}
}

// finishRollout stands in for the controllers that make the exporter available.
func finishRollout(t *testing.T, namespace string) {
	t.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop-tasks-main"}}
	refresh(t, d)
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}
	if err := live.Status().Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func TestAStackBecomesItsChildrenAndThenReady(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)
	wantChildren(t, stack, fullStackChildren)
	wantCondition(t, stack, obsv1.TasksReady, metav1.ConditionFalse, obsv1.ReasonRollingOut)
	wantCondition(t, stack, obsv1.Ready, metav1.ConditionFalse, obsv1.ReasonRollingOut)

	finishRollout(t, stack.Namespace)
	f.reconcileStack(t, stack)
	for _, part := range []string{obsv1.MetricsReady, obsv1.TasksReady, obsv1.DashboardsReady, obsv1.AlertsReady, obsv1.SentryReady, obsv1.Ready} {
		wantCondition(t, stack, part, metav1.ConditionTrue, obsv1.ReasonAvailable)
	}
	if want := "2 monitors, 1 broker, 1 dashboard, 5 alerts, sentry, logging"; stack.Status.Covered != want {
		t.Errorf("covered = %q, want %q", stack.Status.Covered, want)
	}
	if stack.Status.ObservedGeneration != stack.Generation {
		t.Errorf("observedGeneration = %d, want %d", stack.Status.ObservedGeneration, stack.Generation)
	}
}

func TestEveryChildCarriesLabelsAndOwner(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
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

func TestANewStackSendsOneRequestForEachChild(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)
	if got, want := len(f.sent.writes), len(fullStackChildren)+1; got != want {
		t.Errorf("%d writes, want one for each of the %d children and the status: %v", got, len(fullStackChildren), f.sent.writes)
	}
	if got, want := len(f.sent.reads), 2; got != want {
		t.Errorf("%d reads, want the %d Secrets that the stack refers to: %v", got, want, f.sent.reads)
	}
}

func TestANameThatIsTakenInTheLastMomentIsLeftAlone(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "shop-dashboard-overview"}, Data: map[string]string{"theirs": "1"}}
	f.fail = func(_ string, obj client.Object) error {
		if obj.GetName() == foreign.Name && foreign.UID == "" {
			return live.Create(t.Context(), foreign)
		}
		return nil
	}
	f.reconcileStack(t, stack)
	got := foreign.DeepCopy()
	refresh(t, got)
	if diff := cmp.Diff(foreign, got); diff != "" {
		t.Errorf("the foreign ConfigMap changed (-before +after):\n%s", diff)
	}
	wantCondition(t, stack, obsv1.DashboardsReady, metav1.ConditionFalse, obsv1.ReasonNameConflict)
}

func TestAnUnchangedStackSendsNoRequest(t *testing.T) {
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

func TestARestartAppliesEachChildOnceAndChangesNothing(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)
	before := versions(t, stack)
	restarted := newFixture(t)
	restarted.reconcileStack(t, stack)
	if got, want := len(restarted.sent.writes), len(fullStackChildren); got != want {
		t.Errorf("%d writes after a restart, want one for each of the %d children: %v", got, want, restarted.sent.writes)
	}
	if diff := cmp.Diff(before, versions(t, stack)); diff != "" {
		t.Errorf("resource versions changed (-before +after):\n%s", diff)
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

func TestRemovingPartsPrunesTheirObjects(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)

	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) {
		spec.Metrics.Monitors = spec.Metrics.Monitors[:1]
		spec.Tasks, spec.Alerts = nil, nil
		spec.Dashboards.GrafanaOperator = nil
	})
	f.reconcileStack(t, stack)
	wantChildren(t, stack, []string{"ConfigMap/shop-dashboard-overview", "Secret/obstack.NAMESPACE.shop", "ServiceMonitor/shop-api"})
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

func TestAChildThatTheCacheDoesNotShowYetIsPruned(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	// The cache is behind: it never shows the PrometheusRule.
	f.Engine.Children = func(ctx context.Context, owner client.Object, kind schema.GroupVersionKind) ([]metav1.PartialObjectMetadata, error) {
		if kind == desired.PrometheusRuleKind {
			return nil, nil
		}
		return liveChildren(ctx, owner, kind)
	}
	f.reconcileStack(t, stack)
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Alerts = nil })
	f.reconcileStack(t, stack)
	if got := children(t, stack); slices.Contains(got, "PrometheusRule/shop-alerts") {
		t.Errorf("children = %v, want no PrometheusRule", got)
	}
}

func TestDriftIsRepairedAndForeignFieldsAreKept(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)
	key := client.ObjectKey{Namespace: stack.Namespace, Name: "shop-api"}
	edited := &monitoringv1.ServiceMonitor{}
	if err := live.Get(t.Context(), key, edited); err != nil {
		t.Fatal(err)
	}
	edited.Spec.Endpoints[0].Path = "/elsewhere"
	edited.Labels["release"] = "other"
	edited.Labels["foreign"] = "kept"
	edited.Spec.TargetLimit = new(int64(7))
	if err := live.Update(t.Context(), edited, client.FieldOwner("somebody")); err != nil {
		t.Fatal(err)
	}
	dashboard := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "shop-dashboard-overview"}}
	if err := live.Delete(t.Context(), dashboard); err != nil {
		t.Fatal(err)
	}
	f.sent.reset()
	f.reconcileStack(t, stack)

	got := &monitoringv1.ServiceMonitor{}
	if err := live.Get(t.Context(), key, got); err != nil {
		t.Fatal(err)
	}
	if got.Spec.Endpoints[0].Path != "/metrics" || got.Labels["release"] != "prometheus" {
		t.Errorf("path %q, release %q: want what the spec says", got.Spec.Endpoints[0].Path, got.Labels["release"])
	}
	if got.Labels["foreign"] != "kept" || got.Spec.TargetLimit == nil {
		t.Error("fields that obstack does not set are gone, want them kept")
	}
	refresh(t, dashboard)
	if want := 2; len(f.sent.writes) != want {
		t.Errorf("writes = %v, want only the %d children that drifted", f.sent.writes, want)
	}
}

func TestALabelTakenFromAChildIsPutBack(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)
	child := &monitoringv1.ServiceMonitor{ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "shop-api"}}
	refresh(t, child)
	before := child.DeepCopy()
	// Without this label the child is not even in the operator's cache.
	delete(child.Labels, obsv1.LabelManagedBy)
	if err := live.Patch(t.Context(), child, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	f.reconcileStack(t, stack)
	refresh(t, child)
	if child.Labels[obsv1.LabelManagedBy] != obsv1.ManagedBy {
		t.Error("the label is still missing")
	}
	wantCondition(t, stack, obsv1.MetricsReady, metav1.ConditionTrue, obsv1.ReasonAvailable)
}

func TestAForeignObjectWithAChildsNameIsNeverTouched(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "shop-dashboard-overview"}, Data: map[string]string{"theirs": "1"}}
	create(t, foreign)
	result := f.reconcileStack(t, stack)
	got := foreign.DeepCopy()
	refresh(t, got)
	if diff := cmp.Diff(foreign, got); diff != "" {
		t.Errorf("the foreign ConfigMap changed (-before +after):\n%s", diff)
	}
	message := wantCondition(t, stack, obsv1.DashboardsReady, metav1.ConditionFalse, obsv1.ReasonNameConflict)
	if !strings.Contains(message, "ConfigMap shop-dashboard-overview") {
		t.Errorf("message %q does not name the object", message)
	}
	wantCondition(t, stack, obsv1.MetricsReady, metav1.ConditionTrue, obsv1.ReasonAvailable)
	if result.RequeueAfter == 0 {
		t.Error("the deletion of the foreign object has no watch, so the stack must be looked at again")
	}

	if err := live.Delete(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.DashboardsReady, metav1.ConditionTrue, obsv1.ReasonAvailable)
}

func TestOneFailingPartStopsNeitherTheOthersNorTheirPruning(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)
	f.fail = func(_ string, obj client.Object) error {
		if obj.GetName() == "shop-alerts" {
			return apierrors.NewInternalError(errors.New("dial tcp 10.0.0.1:41234: refused"))
		}
		return nil
	}
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) {
		spec.Metrics.Monitors = spec.Metrics.Monitors[:1]
		spec.Alerts.Labels["team"] = "other"
	})
	if _, err := f.Reconcile(t.Context(), stack.DeepCopy()); err == nil {
		t.Error("Reconcile succeeded, want an error so that it is tried again")
	}
	refresh(t, stack)
	message := wantCondition(t, stack, obsv1.AlertsReady, metav1.ConditionFalse, obsv1.ReasonApplyFailed)
	if strings.Contains(message, "41234") {
		t.Errorf("message %q varies with the port", message)
	}
	wantCondition(t, stack, obsv1.MetricsReady, metav1.ConditionTrue, obsv1.ReasonAvailable)
	wantCondition(t, stack, obsv1.Ready, metav1.ConditionFalse, obsv1.ReasonApplyFailed)
	want := append([]string{}, fullStackChildren[:len(fullStackChildren)-1]...) // without ServiceMonitor/shop-worker
	wantChildren(t, stack, want)
}

func TestWhatTheAPIServerRefusesIsACondition(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.fail = func(_ string, obj client.Object) error {
		if obj.GetName() == "shop-api" {
			return apierrors.NewInvalid(desired.ServiceMonitorKind.GroupKind(), "shop-api", nil)
		}
		return nil
	}
	result := f.reconcileStack(t, stack)
	message := wantCondition(t, stack, obsv1.MetricsReady, metav1.ConditionFalse, obsv1.ReasonRejected)
	if !strings.Contains(message, "shop-api") || result.RequeueAfter == 0 {
		t.Errorf("message %q, again after %s: want the object's name, and another look", message, result.RequeueAfter)
	}
}

func TestSuspendChangesNothingAndListsWhatItWould(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)
	finishRollout(t, stack.Namespace)
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Suspend = true })
	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.Ready, metav1.ConditionTrue, obsv1.ReasonSuspended)

	if err := live.Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "shop-dashboard-overview"}}); err != nil {
		t.Fatal(err)
	}
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) {
		spec.Metrics.Monitors[0].Path = "/new"
		spec.Alerts = nil
	})
	before := versions(t, stack)
	f.reconcileStack(t, stack)
	if diff := cmp.Diff(before, versions(t, stack)); diff != "" {
		t.Errorf("a suspended stack changed its children (-before +after):\n%s", diff)
	}
	message := wantCondition(t, stack, obsv1.Ready, metav1.ConditionFalse, obsv1.ReasonDrifted)
	for _, want := range []string{"update ServiceMonitor shop-api", "create ConfigMap shop-dashboard-overview", "delete PrometheusRule shop-alerts"} {
		if !strings.Contains(message, want) {
			t.Errorf("message %q does not say %q", message, want)
		}
	}
	if strings.Contains(message, "shop-worker") {
		t.Errorf("message %q names a child that does not differ", message)
	}

	// A restart remembers nothing and must find out by itself what differs.
	restarted := newFixture(t)
	restarted.reconcileStack(t, stack)
	if got := wantCondition(t, stack, obsv1.Ready, metav1.ConditionFalse, obsv1.ReasonDrifted); got != message {
		t.Errorf("after a restart the message is %q, want %q", got, message)
	}

	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Suspend = false })
	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.MetricsReady, metav1.ConditionTrue, obsv1.ReasonAvailable)
	if got := children(t, stack); len(got) != len(fullStackChildren)-1 {
		t.Errorf("children = %v, want all but the PrometheusRule", got)
	}
}

func TestAChildWhoseChangeIsRefusedIsReplacedIfThatHelps(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)
	// The selector of a Deployment is immutable: one from another version stands in the way.
	stale := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "shop-tasks-main"}}
	refresh(t, stale)
	if err := live.Delete(t.Context(), stale.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	stale.ResourceVersion, stale.UID = "", ""
	stale.Spec.Selector.MatchLabels["version"], stale.Spec.Template.Labels["version"] = "old", "old"
	create(t, stale)
	f.reconcileStack(t, stack)
	refresh(t, stale)
	if _, old := stale.Spec.Selector.MatchLabels["version"]; old {
		t.Errorf("selector = %v, want the Deployment replaced", stale.Spec.Selector.MatchLabels)
	}

	// An object that would be refused anyway must not cost the one that is there.
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) {
		spec.Tasks.Brokers[0].Tolerations = []corev1.Toleration{{Key: "dedicated", Operator: "Sometimes"}}
	})
	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.TasksReady, metav1.ConditionFalse, obsv1.ReasonRejected)
	survivor := stale.DeepCopy()
	refresh(t, survivor)
	if survivor.UID != stale.UID {
		t.Error("the Deployment was replaced, although the new one is refused as well")
	}
}

func TestEventsTellOfConditionsThatChange(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	told := func() []string {
		var events []string
		for len(f.told.Events) > 0 {
			events = append(events, <-f.told.Events)
		}
		return events
	}
	f.reconcileStack(t, stack)
	if got := told(); len(got) != 0 {
		t.Errorf("events of a stack that is being made = %v, want none", got)
	}
	finishRollout(t, stack.Namespace)
	f.reconcileStack(t, stack)
	if got := told(); len(got) != 2 { // TasksReady and Ready
		t.Errorf("events of a stack that became ready = %v, want two", got)
	}
	f.reconcileStack(t, stack)
	if got := told(); len(got) != 0 {
		t.Errorf("events of a pass that changed nothing = %v, want none", got)
	}
	if err := live.Delete(t.Context(), secret(stack.Namespace, "shop-sentry", "dsn", "")); err != nil {
		t.Fatal(err)
	}
	f.reconcileStack(t, stack)
	if got := told(); len(got) != 2 || !strings.HasPrefix(got[0], "Warning SecretNotFound") {
		t.Errorf("events of a Secret that is gone = %v, want two warnings", got)
	}
}

func TestAStackDeletedWhileBeingReconciledIsNoError(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.fail = func(_ string, obj client.Object) error {
		if obj.GetName() != "shop-api" {
			return nil
		}
		err := live.Delete(t.Context(), stack.DeepCopy())
		return client.IgnoreNotFound(err)
	}
	if _, err := f.Reconcile(t.Context(), stack.DeepCopy()); err != nil {
		t.Errorf("Reconcile: %v, want no error", err)
	}
	// What was written after the deletion has an owner that is gone: the garbage collector's business.
	for _, kind := range f.Kinds.Served() {
		list, err := liveChildren(t.Context(), stack, kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, child := range list {
			if owner := metav1.GetControllerOf(&child); owner == nil || owner.UID != stack.UID {
				t.Errorf("%s %s has no owner, so nothing will collect it", kind.Kind, child.Name)
			}
		}
	}
	deleting := stack.DeepCopy()
	deleting.DeletionTimestamp = new(metav1.Now())
	f.sent.reset()
	if _, err := f.Reconcile(t.Context(), deleting); err != nil || f.sent.total() != 0 {
		t.Errorf("a stack that is being deleted: %v, requests %v, want none", err, f.sent.writes)
	}
}

func TestAStaleStackIsReadAgain(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	stale := stack.DeepCopy()
	f.reconcileStack(t, stack)
	f.told.Events = make(chan string, 100)
	result, err := f.Reconcile(t.Context(), stale)
	if err != nil || result.RequeueAfter == 0 {
		t.Errorf("pass on a stale stack: %v, again after %s, want no error and another look", err, result.RequeueAfter)
	}
	if len(f.told.Events) != 0 {
		t.Error("a pass on a stale stack repeated its events")
	}
}

func TestUnknownFieldsOfGrafanaDashboardsAreWhatGrafanaOperatorReads(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)
	got := &unstructured.Unstructured{}
	got.SetGroupVersionKind(desired.GrafanaDashboardKind)
	if err := live.Get(t.Context(), client.ObjectKey{Namespace: stack.Namespace, Name: "shop-dashboard-overview"}, got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"instanceSelector": map[string]any{"matchLabels": map[string]any{"app": "grafana"}},
		"configMapRef":     map[string]any{"name": "shop-dashboard-overview", "key": fmt.Sprintf("%s-shop-overview.json", stack.Namespace)},
		"folder":           "Shop",
	}
	if diff := cmp.Diff(want, got.Object["spec"]); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}
