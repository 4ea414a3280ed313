// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/python"
)

func withPython(spec *obsv1.ObservabilityStackSpec) { spec.Python = &obsv1.PythonSpec{} }

func bundleIn(namespace string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: obsv1.PythonName(python.Current()),
	}}
}

// wantBundle checks which bundle a template names.
func wantBundle(t *testing.T, d *appsv1.Deployment, want string) {
	t.Helper()
	refresh(t, d)
	if got := d.Spec.Template.Labels[obsv1.StampPython]; got != want {
		t.Errorf("%s/%s names the bundle %q, want %q", d.Namespace, d.Name, got, want)
	}
}

// Consent to a DSN is none to code.
func TestPassBringsTheBundleWhereItIsAccepted(t *testing.T) {
	f := newInjecting(t)
	home, accepting, refusing := namespace(t), namespace(t), namespace(t)
	accept(t, accepting, "env, python")
	accept(t, refusing, "env")
	stack := settingsStack(t, home, admitAll, withPython)
	deployments := map[string]*appsv1.Deployment{}
	for _, in := range []string{home, accepting, refusing} {
		deployments[in] = annotatedDeployment(in, "api", home+"/shop")
		create(t, deployments[in])
	}
	f.reconcileStack(t, stack)
	for _, in := range []string{home, accepting} {
		bundle := bundleIn(in)
		refresh(t, bundle)
		if !maps.Equal(bundle.Data, python.Get(python.Current())) || len(bundle.OwnerReferences) > 0 {
			t.Errorf("the bundle in %s has %d modules and the owners %v", in, len(bundle.Data), bundle.OwnerReferences)
		}
		bundle.Data["sitecustomize.py"] = "import evil"
		if err := live.Update(t.Context(), bundle); !apierrors.IsInvalid(err) {
			t.Errorf("a change of the bundle: %v, want it refused", err)
		}
		wantBundle(t, deployments[in], python.Current())
	}
	if exists(t, bundleIn(refusing)) {
		t.Error("code was copied to a namespace that does not accept it")
	}
	wantBundle(t, deployments[refusing], "")
	refresh(t, stack)
	if stack.Status.Python == nil || stack.Status.Python.Bundle != python.Current() {
		t.Errorf("status.python = %+v, want the bundle", stack.Status.Python)
	}
	f.sent.reset()
	f.reconcileStack(t, stack)
	if f.sent.total() > 0 {
		t.Errorf("sent %v and read %v for unchanged bundles, want nothing", f.sent.writes, f.sent.reads)
	}

	// Consent is taken back.
	accept(t, accepting, "env")
	f.reconcileStack(t, stack)
	wantBundle(t, deployments[accepting], "")
	wantBundle(t, deployments[home], python.Current())
}

// A label brings no bundle: what serves metrics where it is not accepted is not the stack's, and
// what says nothing there is missed by nobody.
func TestPassBelievesNoLabelWhereTheBundleIsNotAccepted(t *testing.T) {
	f := newInjecting(t)
	home, accepting, refusing := namespace(t), namespace(t), namespace(t)
	accept(t, accepting, "python")
	stack := settingsStack(t, home, admitAll, withPython)
	for _, in := range []string{home, accepting, refusing} {
		d := annotatedDeployment(in, "api", home+"/shop")
		create(t, d)
		f.reconcileStack(t, stack)
		refresh(t, d)
		d.Spec.Template.Labels[obsv1.StampPython] = python.Current()
		if err := live.Update(t.Context(), d, client.FieldOwner(obsv1.FieldManager)); err != nil {
			t.Fatal(err)
		}
		settle(t, d)
	}
	want := slices.Sorted(slices.Values([]string{home, accepting}))
	monitor := &monitoringv1.PodMonitor{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: "shop-python"}}
	refresh(t, monitor)
	if got := monitor.Spec.NamespaceSelector.MatchNames; !slices.Equal(got, want) {
		t.Errorf("the namespaces %v are scraped, want %v", got, want)
	}
	found, err := f.injector.Reader.Python(t.Context(), stack)
	var mounted []string
	for _, w := range found {
		mounted = append(mounted, w.Namespace+"/"+w.Name)
	}
	slices.Sort(mounted)
	if err != nil || !slices.Equal(mounted, []string{want[0] + "/api", want[1] + "/api"}) {
		t.Errorf("the bundle is mounted in %v, %v, want the workloads of %v", mounted, err, want)
	}
}

// Who may write ConfigMaps must not choose what the Pods of others run.
func TestKeeperRestoresTheBundleAndSaysSo(t *testing.T) {
	for name, tc := range map[string]struct {
		restart bool
		forge   func(*corev1.ConfigMap)
	}{
		"deleted":                    {},
		"altered":                    {forge: func(c *corev1.ConfigMap) { c.Data["sitecustomize.py"] = "import evil" }},
		"altered before a restart":   {forge: func(c *corev1.ConfigMap) { c.Data["evil.py"] = "" }, restart: true},
		"altered, no more immutable": {forge: func(c *corev1.ConfigMap) { c.Immutable = nil }},
		"altered in bytes": {forge: func(c *corev1.ConfigMap) {
			c.BinaryData = map[string][]byte{"evil.so": {1}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newInjecting(t)
			stack := settingsStack(t, namespace(t), withPython)
			f.reconcileStack(t, stack)
			bundle := bundleIn(stack.Namespace)
			refresh(t, bundle)
			remove(t, bundle)
			if tc.forge != nil {
				forged := bundleIn(stack.Namespace)
				forged.Labels, forged.Annotations = bundle.Labels, bundle.Annotations
				forged.Data, forged.Immutable = bundle.Data, new(true)
				tc.forge(forged)
				create(t, forged)
			}
			if tc.restart {
				f = newInjecting(t)
			}
			f.events()
			f.reconcileStack(t, stack)
			refresh(t, bundle)
			if !maps.Equal(bundle.Data, python.Get(python.Current())) || len(bundle.BinaryData) > 0 || bundle.Immutable == nil {
				t.Errorf("the bundle has %d modules, want those of before", len(bundle.Data))
			}
			said := slices.ContainsFunc(f.events(), func(event string) bool {
				return strings.Contains(event, obsv1.ReasonPythonBundleRestored) && strings.Contains(event, bundle.Name)
			})
			if !said {
				t.Error("no event says so")
			}
		})
	}
}

// What somebody else made is never overwritten, and nothing new runs it.
func TestPassMountsNoBundleOfSomebodyElse(t *testing.T) {
	f := newInjecting(t)
	home := namespace(t)
	foreign := bundleIn(home)
	foreign.Data = map[string]string{"sitecustomize.py": "import evil"}
	create(t, foreign)
	stack, d := settingsStack(t, home, withPython), annotatedDeployment(home, "api", "shop")
	create(t, d)
	f.reconcileStack(t, stack)
	wantStamp(t, d, home+"/shop", stack.Status.ConfigHash)
	wantBundle(t, d, "")
	refresh(t, stack)
	ready := meta.FindStatusCondition(stack.Status.Conditions, obsv1.SettingsReady)
	if ready == nil || ready.Reason != obsv1.ReasonNameConflict || !strings.Contains(ready.Message, foreign.Name) {
		t.Errorf("SettingsReady is %+v, want it to name the ConfigMap", ready)
	}
	if refresh(t, foreign); foreign.Data["sitecustomize.py"] != "import evil" {
		t.Error("somebody else's ConfigMap was overwritten")
	}
	remove(t, foreign)
	f.clock = f.clock.Add(time.Minute)
	f.reconcileStack(t, stack)
	wantBundle(t, d, python.Current())
}

// Nor does what is made or changed meanwhile, which webhooks and policies stamp by the status.
func TestPassOffersNoBundleInPlaceOfWhichIsSomebodyElses(t *testing.T) {
	f := newInjecting(t)
	stack := settingsStack(t, namespace(t), withPython)
	f.reconcileStack(t, stack)
	d := annotatedDeployment(stack.Namespace, "api", "shop")
	create(t, d)
	f.reconcileStack(t, stack)
	remove(t, bundleIn(stack.Namespace))
	foreign := bundleIn(stack.Namespace)
	foreign.Data = map[string]string{"sitecustomize.py": "import evil"}
	create(t, foreign)
	f.reconcileStack(t, stack)
	refresh(t, stack)
	if stack.Status.Python != nil {
		t.Errorf("the status offers the bundle %+v, which is somebody else's", stack.Status.Python)
	}
	wantBundle(t, d, python.Current()) // To take it off would replace its Pods.
	remove(t, foreign)
	f.clock = f.clock.Add(time.Minute)
	f.reconcileStack(t, stack)
	refresh(t, stack)
	if stack.Status.Python == nil || stack.Status.Python.Bundle != python.Current() {
		t.Errorf("the status offers %+v, want the bundle that is there again", stack.Status.Python)
	}
}

// A bundle that the operator does not carry could not be restored.
func TestPassReplacesABundleThatIsNotCarried(t *testing.T) {
	f := newInjecting(t)
	stack := settingsStack(t, namespace(t), withPython)
	f.reconcileStack(t, stack)
	d := annotatedDeployment(stack.Namespace, "api", "shop")
	create(t, d)
	f.reconcileStack(t, stack)
	refresh(t, d)
	d.Spec.Template.Labels[obsv1.StampPython] = olderBundle
	if err := live.Update(t.Context(), d, client.FieldOwner(obsv1.FieldManager)); err != nil {
		t.Fatal(err)
	}
	f.reconcileStack(t, stack)
	wantBundle(t, d, python.Current())
}

// collectBundle has the collector look at a bundle, and returns when it will do so again.
func (f *injecting) collectBundle(t *testing.T, bundle *corev1.ConfigMap) time.Duration {
	t.Helper()
	result, err := f.collector.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(bundle)})
	if err != nil {
		t.Fatalf("Reconcile %s: %v", bundle.Name, err)
	}
	return result.RequeueAfter
}

// Two stacks of a namespace share a bundle, which stays while one of them, a template or a Pod
// needs it.
func TestCollectorDeletesABundleThatNothingNames(t *testing.T) {
	f := newInjecting(t)
	stack := settingsStack(t, namespace(t), withPython)
	other := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "other"}}
	other.Spec.Python = &obsv1.PythonSpec{}
	create(t, other)
	d := annotatedDeployment(stack.Namespace, "api", "shop")
	create(t, d)
	f.reconcileStack(t, stack)
	f.reconcileStack(t, other)
	bundle := bundleIn(stack.Namespace)
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Python, spec.Environment = nil, "staging" })
	kept := func(why string) {
		t.Helper()
		f.clock = f.clock.Add(2 * unused)
		if f.collectBundle(t, bundle); !exists(t, bundle) || bundle.Annotations[obsv1.AnnotationUnusedSince] != "" {
			t.Fatalf("the bundle is gone or about to be, though %s", why)
		}
	}
	kept("a template names it")
	f.reconcileStack(t, stack)
	wantBundle(t, d, "")
	kept("another stack wants it")
	change(t, other, func(spec *obsv1.ObservabilityStackSpec) { spec.Python, spec.Environment = nil, "staging" })
	f.reconcileStack(t, other)
	pod := podOf(t, d, "api-1")
	pod.Labels[obsv1.StampPython] = python.Current()
	if err := live.Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	kept("a Pod runs it")
	if err := live.Delete(t.Context(), pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	if after := f.collectBundle(t, bundle); after < unused || after > unused+time.Minute {
		t.Errorf("looked at again after %s, want an hour", after)
	}
	f.clock = f.clock.Add(unused + time.Minute)
	if f.collectBundle(t, bundle); exists(t, bundle) {
		t.Error("the bundle is still there after an hour without a use")
	}
}
