// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/metadata"
)

func TestApplyLeavesANameTakenInTheLastMoment(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	foreign := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "shop-dashboard-overview"},
		Data:       map[string]string{"theirs": "1"},
	}
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

// TestApplyOwnsOnlyWhatABuilderSets: fields that an encoder adds, such as an empty status, would
// become ours.
func TestApplyOwnsOnlyWhatABuilderSets(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)
	seen := 0
	for _, kind := range f.Kinds.Served() {
		list, err := liveChildren(t.Context(), stack, kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, child := range list {
			seen++
			for _, entry := range child.ManagedFields {
				for _, field := range []string{"f:status", "f:creationTimestamp", "f:resourceVersion"} {
					if entry.Manager == obsv1.FieldManager && strings.Contains(entry.FieldsV1.GetRawString(), strconv.Quote(field)) {
						t.Errorf("%s %s: %s is ours", kind.Kind, child.Name, field)
					}
				}
			}
		}
	}
	if want := len(children(t, stack)); seen != want {
		t.Errorf("looked at %d children of %d", seen, want)
	}
}

func TestPruneFindsAChildThatTheCacheDoesNotShowYet(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	// The cache is behind: it never shows the PrometheusRule.
	f.Engine.Children = func(ctx context.Context, owner client.Object,
		kind schema.GroupVersionKind) ([]metav1.PartialObjectMetadata, error) {
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

// Events of our own writes wake nobody, also those that come before the response.
func TestEngineExpectsItsOwnWrites(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	during := childOf(stack)
	f.fail = func(_ string, obj client.Object) error {
		if obj.GetName() != during.Name || obj.GetObjectKind().GroupVersionKind() != metadata.ConfigMap {
			return nil
		}
		if !f.Engine.Expected(during, metadata.ConfigMap.GroupKind()) {
			t.Error("an event before the response starts a pass, want it kept for this one")
		}
		return nil
	}
	during.ResourceVersion = "2"
	if again := f.reconcileStack(t, stack).RequeueAfter; again != 0 {
		t.Errorf("another pass after %s, want none: the event was older than the response", again)
	}
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Dashboards.Folder = "Other" })
	during.ResourceVersion = "9000000000"
	if again := f.reconcileStack(t, stack).RequeueAfter; again == 0 {
		t.Error("no other pass, want one: the event was newer than the response")
	}
	after := childOf(stack)
	refresh(t, after)
	if !f.Engine.Expected(after, metadata.ConfigMap.GroupKind()) {
		t.Error("an event of the operator's own write is not expected")
	}
	after.Labels["theirs"] = "1"
	if err := live.Update(t.Context(), after); err != nil {
		t.Fatal(err)
	}
	if f.Engine.Expected(after, metadata.ConfigMap.GroupKind()) {
		t.Error("an event of somebody else's write is expected")
	}
}

// childOf is a child of the stack, as far as it is known without reading it.
func childOf(stack *obsv1.ObservabilityStack) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: stack.Namespace, Name: "shop-dashboard-overview",
		OwnerReferences: []metav1.OwnerReference{
			*metav1.NewControllerRef(stack, obsv1.GroupVersion.WithKind("ObservabilityStack")),
		},
	}}
}

func TestApplyRepairsDriftAndKeepsForeignFields(t *testing.T) {
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
	dashboard := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "shop-dashboard-overview"},
	}
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

func TestApplyPutsBackALabelTakenFromAChild(t *testing.T) {
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

func TestApplyNeverTouchesAForeignObjectWithAChildsName(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	foreign := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "shop-dashboard-overview"},
		Data:       map[string]string{"theirs": "1"},
	}
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

func TestApplyReplacesAChildWhoseChangeIsRefusedIfThatHelps(t *testing.T) {
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

func TestReconcileOfAStackDeletedMeanwhileIsNoError(t *testing.T) {
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
	// What was written after the deletion has an owner that is gone: for the garbage collector.
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

func TestReportReadsAStaleStackAgain(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	stale := stack.DeepCopy()
	f.reconcileStack(t, stack)
	f.recorded.Events = make(chan string, 100)
	result, err := f.Reconcile(t.Context(), stale)
	if err != nil || result.RequeueAfter == 0 {
		t.Errorf("pass on a stale stack: %v, again after %s, want no error and another look", err, result.RequeueAfter)
	}
	if len(f.recorded.Events) != 0 {
		t.Error("a pass on a stale stack repeated its events")
	}
}

func TestApplyKeepsTheFieldsThatGrafanaOperatorReads(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)
	got := &unstructured.Unstructured{}
	got.SetGroupVersionKind(desired.GrafanaDashboardKind)
	if err := live.Get(t.Context(), client.ObjectKey{Namespace: stack.Namespace, Name: "shop-dashboard-overview"},
		got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"instanceSelector": map[string]any{"matchLabels": map[string]any{"app": "grafana"}},
		"configMapRef": map[string]any{
			"name": "shop-dashboard-overview", "key": fmt.Sprintf("%s-shop-overview.json", stack.Namespace),
		},
		"folder": "Shop",
	}
	if diff := cmp.Diff(want, got.Object["spec"]); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}
