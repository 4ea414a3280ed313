// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

func TestReconcileGoesOnAfterAPartThatFails(t *testing.T) {
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

func TestReconcileGoesOnWithoutAKindThatCannotBeListed(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.Engine.Live = interceptor.NewClient(live, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if list.GetObjectKind().GroupVersionKind().Kind == "PrometheusRuleList" {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "prometheusrules"}, "", errors.New("not yours"))
			}
			return c.List(ctx, list, opts...)
		},
	})
	result := f.reconcileStack(t, stack)
	message := wantCondition(t, stack, obsv1.AlertsReady, metav1.ConditionFalse, obsv1.ReasonRejected)
	if !strings.Contains(message, "PrometheusRule") || result.RequeueAfter < time.Minute {
		t.Errorf("message %q, again after %s: want the kind, and a minute or more", message, result.RequeueAfter)
	}
	wantCondition(t, stack, obsv1.MetricsReady, metav1.ConditionTrue, obsv1.ReasonAvailable)
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Alerts, spec.Tasks = nil, nil })
	if result := f.reconcileStack(t, stack); result.RequeueAfter < time.Minute {
		t.Errorf("again after %s, want a minute or more: some rule may be wanted no more", result.RequeueAfter)
	}
	wantCondition(t, stack, obsv1.Ready, metav1.ConditionTrue, obsv1.ReasonAvailable)
}

func TestReconcileGoesOnWithoutASecretThatCannotBeRead(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.Values.Live = interceptor.NewClient(live, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object,
			opts ...client.GetOption) error {
			if key.Name == "shop-redis" {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, key.Name, errors.New("not yours"))
			}
			return c.Get(ctx, key, obj, opts...)
		},
	})
	if _, err := f.Reconcile(t.Context(), stack.DeepCopy()); err == nil || !strings.Contains(err.Error(), "not yours") {
		t.Errorf("error = %v, want that of the Secret, so that it is tried again", err)
	}
	refresh(t, stack)
	wantCondition(t, stack, obsv1.TasksReady, metav1.ConditionFalse, obsv1.ReasonSecretUnreadable)
	wantCondition(t, stack, obsv1.SentryReady, metav1.ConditionTrue, obsv1.ReasonAvailable)
	wantCondition(t, stack, obsv1.MetricsReady, metav1.ConditionTrue, obsv1.ReasonAvailable)
}

func TestReportOfARefusalNamesTheObject(t *testing.T) {
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

func TestReconcileOfASuspendedStackListsWhatItWouldChange(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	f.reconcileStack(t, stack)
	finishRollout(t, stack.Namespace)
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Suspend = true })
	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.Ready, metav1.ConditionTrue, obsv1.ReasonSuspended)

	if err := live.Delete(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "shop-dashboard-overview"},
	}); err != nil {
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
	for _, want := range []string{
		"update ServiceMonitor shop-api", "create ConfigMap shop-dashboard-overview", "delete PrometheusRule shop-alerts",
	} {
		if !strings.Contains(message, want) {
			t.Errorf("message %q does not say %q", message, want)
		}
	}
	if strings.Contains(message, "shop-worker") {
		t.Errorf("message %q names a child that does not differ", message)
	}

	// After a restart nothing is stored, and the pass must find out by itself what differs.
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

func TestReportRecordsConditionsThatChange(t *testing.T) {
	f, stack := newFixture(t), fullStack(t)
	recorded := func() []string {
		var events []string
		for len(f.recorded.Events) > 0 {
			events = append(events, <-f.recorded.Events)
		}
		return events
	}
	f.reconcileStack(t, stack)
	if got := recorded(); len(got) != 0 {
		t.Errorf("events of a stack that is being made = %v, want none", got)
	}
	finishRollout(t, stack.Namespace)
	f.reconcileStack(t, stack)
	if got := recorded(); len(got) != 2 { // TasksReady and Ready
		t.Errorf("events of a stack that became ready = %v, want two", got)
	}
	f.reconcileStack(t, stack)
	if got := recorded(); len(got) != 0 {
		t.Errorf("events of a pass that changed nothing = %v, want none", got)
	}
	if err := live.Delete(t.Context(), secret(stack.Namespace, "shop-sentry", "dsn", "")); err != nil {
		t.Fatal(err)
	}
	f.reconcileStack(t, stack)
	if got := recorded(); len(got) != 3 || !strings.HasPrefix(got[0], "Warning SecretNotFound") {
		t.Errorf("events of a Secret that is gone = %v, want those of SentryReady, SettingsReady and Ready", got)
	}
}

// A pass that sees the status from before the last write must not take it for the one there is.
func TestReportComparesWithTheStatusThatIsThere(t *testing.T) {
	f := newFixture(t)
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: namespace(t), Name: "shop"}}
	stack.Spec.Environment = "production"
	stack.Spec.Sentry = &obsv1.SentrySpec{
		DSNFrom: &obsv1.SecretKeySource{SecretKeyRef: obsv1.SecretKeySelector{Name: "dsn", Key: "dsn"}},
	}
	create(t, stack)
	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.SentryReady, metav1.ConditionFalse, obsv1.ReasonSecretNotFound)
	cached := stack.DeepCopy()
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "dsn"},
		StringData: map[string]string{"dsn": "https://0123abcd@sentry.shop.example/1"},
	}
	create(t, secret)
	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.SentryReady, metav1.ConditionTrue, obsv1.ReasonAvailable)

	if err := live.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	result, err := f.Reconcile(t.Context(), cached)
	if err != nil || result.RequeueAfter == 0 || result.RequeueAfter > 30*time.Second {
		t.Errorf("a pass on an old stack: again after %s (%v), want soon", result.RequeueAfter, err)
	}
	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.SentryReady, metav1.ConditionFalse, obsv1.ReasonSecretNotFound)
}

// An event of more than 1,024 bytes is refused by the API server, and nobody would see it.
func TestReportCutsEvents(t *testing.T) {
	f := newFixture(t)
	stack := fullStack(t)
	f.fail = func(_ string, obj client.Object) error {
		if obj.GetName() == "shop-api" {
			return apierrors.NewInvalid(desired.ServiceMonitorKind.GroupKind(), "shop-api", field.ErrorList{
				field.Invalid(field.NewPath("spec"), strings.Repeat("ü", 2000), "is too long"),
			})
		}
		return nil
	}
	f.reconcileStack(t, stack)
	events := 0
	for len(f.recorded.Events) > 0 {
		event := <-f.recorded.Events
		_, note, _ := strings.Cut(strings.TrimPrefix(event, "Warning "), " ")
		if events++; len(note) > 1024 || !utf8.ValidString(note) {
			t.Errorf("the event %.40s... has a note of %d bytes, want at most 1024, and whole letters", event, len(note))
		}
	}
	if events == 0 {
		t.Error("no event was recorded")
	}
}
