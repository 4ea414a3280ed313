// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/settings"
)

// injecting is a fixture with injection, a clock that stands still, and the
// reconcilers of single workloads and of versions.
type injecting struct {
	*fixture
	injector  *injection.Injector
	workloads *injection.WorkloadReconciler
	collector *settings.Collector
	clock     time.Time
}

func newInjecting(t *testing.T) *injecting {
	t.Helper()
	config := rest.CopyConfig(restConfig)
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	workloads, err := client.New(config, client.Options{Scheme: policy.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	f := &injecting{fixture: newFixture(t), clock: time.Now()}
	reader := &injection.Reader{
		Main: indexed{live}, Workloads: indexed{workloads}, Watched: func(string) bool { return true },
	}
	f.injector = &injection.Injector{
		Client: f.Client, Live: f.Settings.Live, Reader: reader, Events: f.recorded, Now: func() time.Time { return f.clock },
		// What other tests left on the API server rolls out for ever.
		MaxConcurrentRollouts: 10_000,
		Engine:                &injection.Engine{Webhooks: true, Now: time.Now},
	}
	f.Injection = f.injector
	f.workloads = &injection.WorkloadReconciler{Injector: f.injector}
	f.Settings.Now = func() time.Time { return f.clock }
	f.collector = &settings.Collector{Keeper: f.Settings, Uses: injection.Uses{Reader: reader}}
	return f
}

// settings make a stack with something to inject.
func settingsStack(t *testing.T, namespace string,
	edits ...func(*obsv1.ObservabilityStackSpec)) *obsv1.ObservabilityStack {
	t.Helper()
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop"}}
	stack.Spec.Environment = "production"
	for _, edit := range edits {
		edit(&stack.Spec)
	}
	create(t, stack)
	return stack
}

func admitAll(spec *obsv1.ObservabilityStackSpec) {
	spec.Injection = &obsv1.InjectionSpec{Namespaces: &obsv1.InjectionNamespaces{From: obsv1.NamespacesFromAll}}
}

func annotatedDeployment(namespace, name, stack string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, Annotations: map[string]string{obsv1.AnnotationStack: stack},
		},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "api", Image: "shop:1.4.2"}}},
			},
		},
	}
}

// quota refuses every object that is made in a namespace.
func quota(namespace string) func(verb string, obj client.Object) error {
	return func(verb string, obj client.Object) error {
		if verb == "create" && obj.GetNamespace() == namespace {
			return apierrors.NewForbidden(corev1.Resource("secrets"), obj.GetName(), errors.New("exceeded quota"))
		}
		return nil
	}
}

// elsewhere makes a stack that admits all, and a Deployment of another namespace with its stamp.
func (f *injecting) elsewhere(t *testing.T) (*obsv1.ObservabilityStack, *appsv1.Deployment) {
	t.Helper()
	stack := settingsStack(t, namespace(t), admitAll)
	f.reconcileStack(t, stack)
	d := annotatedDeployment(namespace(t), "api", stack.Namespace+"/shop")
	create(t, d)
	f.reconcileStack(t, stack)
	wantStamp(t, d, stack.Namespace+"/shop", stack.Status.ConfigHash)
	return stack, d
}

// wantStamp checks which stack's stamp the template has; none if it is empty.
func wantStamp(t *testing.T, d *appsv1.Deployment, stack, hash string) {
	t.Helper()
	refresh(t, d)
	stamp, ok := policy.StampOf(d.Spec.Template.Labels, d.Spec.Template.Annotations)
	if ok != (stack != "") || ok && (stamp.Stack.String() != stack || stamp.ConfigHash != hash) {
		t.Errorf("stamp of %s = %+v, want that of %q with %s", d.Name, stamp, stack, hash)
	}
}

// reconcileWorkload runs one pass over a Deployment.
func (f *injecting) reconcileWorkload(t *testing.T, d *appsv1.Deployment) {
	t.Helper()
	req := policy.Key{Kind: policy.KindDeployment, NamespacedName: client.ObjectKeyFromObject(d)}
	if _, err := f.workloads.Reconcile(t.Context(), req); err != nil {
		t.Fatalf("Reconcile %v: %v", req, err)
	}
}

// events that were recorded since the last call.
func (f *injecting) events() []string {
	var all []string
	for len(f.recorded.Events) > 0 {
		all = append(all, <-f.recorded.Events)
	}
	return all
}

func TestRolloutStampsAWorkloadOnce(t *testing.T) {
	f := newInjecting(t)
	ns := namespace(t)
	d := annotatedDeployment(ns, "api", "shop")
	d.Spec.Replicas = new(int32(0)) // there is no controller manager to make Pods
	create(t, d)
	stack := settingsStack(t, ns)
	f.reconcileStack(t, stack)
	wantStamp(t, d, ns+"/shop", stack.Status.ConfigHash)
	wantCondition(t, stack, obsv1.InjectionReady, metav1.ConditionFalse, obsv1.ReasonRollingOut)

	f.reconcileStack(t, stack)
	want := &obsv1.WorkloadsStatus{WorkloadCounts: obsv1.WorkloadCounts{Annotated: 1, Injected: 1}, Summary: "1/1"}
	if diff := cmp.Diff(want, stack.Status.Workloads); diff != "" {
		t.Errorf("workloads (-want +got):\n%s", diff)
	}
	wantCondition(t, stack, obsv1.InjectionReady, metav1.ConditionTrue, obsv1.ReasonAvailable)
	f.sent.reset()
	f.reconcileStack(t, stack)
	if f.sent.total() > 0 {
		t.Errorf("a pass over what is as it should be sends %+v", f.sent)
	}
}

// excludedNamespace is one that the webhooks leave out.
func excludedNamespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "obstack-system"}}
	if err := live.Create(t.Context(), ns); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	return ns.Name
}

func TestRolloutSkipsAWorkloadForWhichTheWebhookDoesNotRespond(t *testing.T) {
	f := newInjecting(t)
	excluded := excludedNamespace(t)
	stack := settingsStack(t, excluded)
	d := annotatedDeployment(excluded, "api", "shop")
	create(t, d)
	t.Cleanup(func() { _ = errors.Join(live.Delete(t.Context(), d), live.Delete(t.Context(), stack)) })
	result := f.reconcileStack(t, stack)
	wantStamp(t, d, "", "")
	message := wantCondition(t, stack, obsv1.InjectionReady, metav1.ConditionFalse, obsv1.ReasonWebhookUnavailable)
	if !strings.Contains(message, "Deployment obstack-system/api") {
		t.Errorf("message = %q, want the workload in it", message)
	}
	if soon := 15 * time.Second; result.RequeueAfter < soon || result.RequeueAfter > 2*soon {
		t.Errorf("looks again after %s, want %s and a little", result.RequeueAfter, soon)
	}
}

func TestRolloutNeverMakesADeletedWorkload(t *testing.T) {
	f := newInjecting(t)
	ns := namespace(t)
	stack := settingsStack(t, ns)
	f.reconcileStack(t, stack)
	gone, replaced := annotatedDeployment(ns, "gone", "shop"), annotatedDeployment(ns, "replaced", "shop")
	for _, d := range []*appsv1.Deployment{gone, replaced} {
		d.Annotations = nil // so that the webhook leaves it to the pass
		create(t, d)
		d.Annotations = map[string]string{obsv1.AnnotationStack: "shop"}
		if err := live.Update(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	state, err := f.injector.Observe(t.Context(), stack)
	if err != nil {
		t.Fatal(err)
	}
	plan := policy.NewPlan(stack, state, func(*policy.Candidate) string { return stack.Status.ConfigHash })
	if len(plan.Patches) != 2 {
		t.Fatalf("patches = %v, want two", plan.Patches)
	}
	for _, d := range []*appsv1.Deployment{gone, replaced} {
		if err := live.Delete(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	again := annotatedDeployment(ns, "replaced", "")
	again.Annotations = nil
	create(t, again)

	err = f.injector.Rollout(t.Context(), client.ObjectKeyFromObject(stack), &plan)
	if err != nil || len(plan.Failures) > 0 {
		t.Errorf("Rollout: %v, failures %v, want none: what is new has an event of its own", err, plan.Failures)
	}
	if err := live.Get(t.Context(), client.ObjectKeyFromObject(gone), gone); !apierrors.IsNotFound(err) {
		t.Errorf("a deleted workload: %v, want it not to be there", err)
	}
	wantStamp(t, again, "", "")
}

func TestWorkloadReconcilerRecordsARefusalOnce(t *testing.T) {
	f := newInjecting(t)
	stack := settingsStack(t, namespace(t))
	elsewhere := namespace(t)
	d := annotatedDeployment(elsewhere, "api", stack.Namespace+"/shop")
	create(t, d)
	f.reconcileWorkload(t, d)
	f.reconcileWorkload(t, d)
	if got := f.events(); len(got) != 1 || !strings.Contains(got[0], obsv1.ReasonNamespaceNotAdmitted) {
		t.Errorf("events = %q, want one about the namespace", got)
	}
	f.reconcileStack(t, stack)
	if got := stack.Status.Workloads; got == nil || got.Refused != 1 || got.Annotated != 0 {
		t.Errorf("workloads = %+v, want one refused", got)
	}
	// A foreign annotation must not make somebody's stack unready.
	wantCondition(t, stack, obsv1.Ready, metav1.ConditionTrue, obsv1.ReasonAvailable)
	change(t, stack, admitAll)
	f.reconcileWorkload(t, d)
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Injection = nil })
	f.events()
	f.reconcileWorkload(t, d)
	if got := f.events(); len(got) != 1 {
		t.Errorf("events = %q, want the refusal recorded again after it had been lifted", got)
	}
}

func TestRolloutOfASuspendedStackSaysWhatItWouldStamp(t *testing.T) {
	f := newInjecting(t)
	ns := namespace(t)
	d := annotatedDeployment(ns, "api", "shop")
	create(t, d)
	stack := settingsStack(t, ns, func(spec *obsv1.ObservabilityStackSpec) { spec.Suspend = true })
	f.reconcileStack(t, stack)
	wantStamp(t, d, "", "")
	message := wantCondition(t, stack, obsv1.InjectionReady, metav1.ConditionFalse, obsv1.ReasonDrifted)
	if !strings.Contains(message, "stamp Deployment "+ns+"/api") {
		t.Errorf("message = %q, want what it would stamp", message)
	}
}

// A DSN that cannot be used is one condition's to explain. Others wait for it only if they have
// nothing.
func TestReportExplainsABadDSNOnce(t *testing.T) {
	f := newInjecting(t)
	ns := namespace(t)
	create(t, secret(ns, "shop-sentry", "dsn", "not a DSN"))
	stack := settingsStack(t, ns, func(spec *obsv1.ObservabilityStackSpec) {
		spec.Sentry = &obsv1.SentrySpec{DSNFrom: from("shop-sentry", "dsn")}
	})
	explained := func(injection metav1.ConditionStatus, reason, inUse string) {
		t.Helper()
		f.reconcileStack(t, stack)
		message := wantCondition(t, stack, obsv1.SentryReady, metav1.ConditionFalse, obsv1.ReasonInvalidDSN)
		settings := wantCondition(t, stack, obsv1.SettingsReady, metav1.ConditionFalse, obsv1.ReasonWaitingForSentry)
		if !strings.HasSuffix(settings, "; until then "+inUse) {
			t.Errorf("SettingsReady says %q, want it to end with %q", settings, inUse)
		}
		wantCondition(t, stack, obsv1.InjectionReady, injection, reason)
		ready := wantCondition(t, stack, obsv1.Ready, metav1.ConditionFalse, obsv1.ReasonInvalidDSN)
		if want := obsv1.SentryReady + ": " + message; ready != want {
			t.Errorf("Ready says %q, want %q", ready, want)
		}
	}
	explained(metav1.ConditionFalse, obsv1.ReasonWaitingForSettings, "there are no settings")
	if err := live.Update(t.Context(), secret(ns, "shop-sentry", "dsn", testDSN)); err != nil {
		t.Fatal(err)
	}
	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.Ready, metav1.ConditionTrue, obsv1.ReasonAvailable)
	if err := live.Update(t.Context(), secret(ns, "shop-sentry", "dsn", "not a DSN")); err != nil {
		t.Fatal(err)
	}
	explained(metav1.ConditionTrue, obsv1.ReasonAvailable, "the last good settings stay in use")
}

// A restore, or a tool that makes Secrets anew, must not restart a fleet, even if obstack was away.
func TestReconcileKeepsTheHashOfEqualSettings(t *testing.T) {
	f := newInjecting(t)
	ns := namespace(t)
	create(t, secret(ns, "shop-sentry", "dsn", testDSN))
	stack := settingsStack(t, ns, func(spec *obsv1.ObservabilityStackSpec) {
		spec.Sentry = &obsv1.SentrySpec{DSNFrom: from("shop-sentry", "dsn")}
	})
	f.reconcileStack(t, stack)
	first := stack.Status.ConfigHash
	replace := func(value string) {
		if err := live.Delete(t.Context(), secret(ns, "shop-sentry", "dsn", "")); err != nil {
			t.Fatal(err)
		}
		create(t, secret(ns, "shop-sentry", "dsn", value))
	}
	for name, f := range map[string]*injecting{"the same process": f, "a restart": newInjecting(t)} {
		replace(testDSN + "\n")
		f.reconcileStack(t, stack)
		if got := stack.Status.ConfigHash; got != first {
			t.Errorf("%s: the hash of a Secret that was made anew is %s, want %s", name, got, first)
		}
	}
	replace("https://cafe@o1.ingest.sentry.example/42")
	f.reconcileStack(t, stack)
	if got := stack.Status.ConfigHash; got == first {
		t.Error("another DSN has the same hash")
	}
}
