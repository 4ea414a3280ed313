// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// settingsIn names the version of a stack's settings that its status shows, in a namespace.
func settingsIn(stack *obsv1.ObservabilityStack, namespace string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: obsv1.SettingsName(stack.Namespace, stack.Name, stack.Status.ConfigHash),
	}}
}

func exists(t *testing.T, obj client.Object) bool {
	t.Helper()
	err := live.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)
	if client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	return err == nil
}

func remove(t *testing.T, obj client.Object) {
	t.Helper()
	if err := live.Delete(t.Context(), obj); err != nil {
		t.Fatalf("delete %s: %v", obj.GetName(), err)
	}
}

func TestKeeperMakesAnImmutableVersionInEveryNamespace(t *testing.T) {
	f := newInjecting(t)
	home, elsewhere := namespace(t), namespace(t)
	stack := settingsStack(t, home, admitAll)
	create(t, annotatedDeployment(elsewhere, "api", home+"/shop"))
	f.reconcileStack(t, stack)
	for _, in := range []string{home, elsewhere} {
		version := settingsIn(stack, in)
		refresh(t, version)
		if got := string(version.Data["ENVIRONMENT"]); got != "production" {
			t.Errorf("the version says %q", got)
		}
		if len(version.OwnerReferences) > 0 {
			t.Error("the version has an owner, with which it goes from under running Pods")
		}
		version.Data["ENVIRONMENT"] = []byte("forged")
		if err := live.Update(t.Context(), version); !apierrors.IsInvalid(err) {
			t.Errorf("a change of the settings: %v, want it refused", err)
		}
	}
	f.sent.reset()
	f.reconcileStack(t, stack)
	if f.sent.total() > 0 {
		t.Errorf("sent %v and read %v for unchanged versions, want nothing", f.sent.writes, f.sent.reads)
	}
}

// Who may write Secrets in any namespace can make one there that looks like the version that a
// stack needs next, under a name of their choice.
func TestSettingsTakeNoNameFromOtherNamespaces(t *testing.T) {
	f := newInjecting(t)
	home, elsewhere := namespace(t), namespace(t)
	next := func(spec *obsv1.ObservabilityStackSpec) { spec.Environment = "staging" }
	twin := settingsStack(t, namespace(t), next)
	f.reconcileStack(t, twin)
	known := settingsIn(twin, twin.Namespace)
	refresh(t, known)
	stack := settingsStack(t, home, admitAll)
	f.reconcileStack(t, stack)
	current := settingsIn(stack, home)
	refresh(t, current)
	for _, hash := range []string{stack.Status.ConfigHash, strings.Repeat("f", 32)} {
		forged := &corev1.Secret{Immutable: new(true)}
		forged.Namespace, forged.Name = elsewhere, obsv1.SettingsName(home, stack.Name, hash)
		forged.Labels, forged.Annotations = maps.Clone(current.Labels), known.Annotations
		forged.Labels[obsv1.StampVersion] = hash
		create(t, forged)
	}
	change(t, stack, next)
	f.reconcileStack(t, stack)
	if got := stack.Status.ConfigHash; got != twin.Status.ConfigHash {
		t.Errorf("the settings are the version %s, want %s, which no other namespace chose", got, twin.Status.ConfigHash)
	}
	uid := current.UID
	if refresh(t, current); current.UID != uid {
		t.Error("the version that was in use holds something else now")
	}
}

// A finalizer keeps what is in the way for as long as its owner likes.
func TestKeeperNamesWhatStaysInItsWay(t *testing.T) {
	f := newInjecting(t)
	home, elsewhere := namespace(t), namespace(t)
	stack := settingsStack(t, home, admitAll)
	f.reconcileStack(t, stack)
	forged := settingsIn(stack, elsewhere)
	version := settingsIn(stack, home)
	refresh(t, version)
	forged.Labels, forged.Finalizers, forged.Immutable = version.Labels, []string{"example.com/stay"}, new(true)
	create(t, forged)
	t.Cleanup(func() {
		forged.Finalizers = nil
		if err := live.Update(context.WithoutCancel(t.Context()), forged); err != nil {
			t.Error(err)
		}
	})
	create(t, annotatedDeployment(elsewhere, "api", home+"/shop"))
	for range 2 {
		result, err := f.Reconcile(t.Context(), stack)
		if err != nil || result.RequeueAfter == 0 {
			t.Errorf("looked at again after %s, %v, want after a while and no error", result.RequeueAfter, err)
		}
	}
	refresh(t, forged)
}

// Who may write Secrets in a namespace may keep a copy there from being gone. It is read for as
// long as it stays, and made anew when it goes; nothing restarts for either.
func TestKeeperOutlivesAFinalizerOnACopy(t *testing.T) {
	f := newInjecting(t)
	stack, d := f.elsewhere(t)
	version := settingsIn(stack, d.Namespace)
	refresh(t, version)
	version.Finalizers = []string{"example.com/stay"}
	if err := live.Update(t.Context(), version); err != nil {
		t.Fatal(err)
	}
	podOf(t, d, "api-5f7c-x")
	settle(t, d)
	before := d.Generation
	remove(t, version)
	for range 3 {
		f.reconcileStack(t, stack)
		f.collect(t, version)
		f.clock = f.clock.Add(time.Hour)
	}
	wantCondition(t, stack, obsv1.SettingsReady, metav1.ConditionTrue, obsv1.ReasonAvailable)
	later := annotatedDeployment(d.Namespace, "later", stack.Namespace+"/shop")
	create(t, later)
	wantStamp(t, later, stack.Namespace+"/shop", stack.Status.ConfigHash)
	refresh(t, version)
	uid := version.UID
	version.Finalizers = nil
	if err := live.Update(t.Context(), version); err != nil {
		t.Fatal(err)
	}
	if exists(t, version) {
		t.Fatal("the copy is there without its finalizer")
	}
	for range 3 {
		f.reconcileStack(t, stack)
		f.clock = f.clock.Add(time.Hour)
	}
	if !exists(t, version) || version.UID == uid {
		t.Error("the copy that went is not made anew")
	}
	wantGeneration(t, d, before)
}

// The first Job or Pod of a Namespace would race its settings.
func TestKeeperIsBeforeTheFirstPodOfANamespaceThatNamesTheStack(t *testing.T) {
	f := newInjecting(t)
	home, empty, refused := namespace(t), namespace(t), namespace(t)
	for _, name := range []string{empty, refused} {
		label(t, name, map[string]string{obsv1.LabelUseStack: "shop", obsv1.LabelUseNamespace: home})
	}
	label(t, empty, map[string]string{"team": "shop"})
	stack := settingsStack(t, home, admitTeam)
	f.reconcileStack(t, stack)
	if !exists(t, settingsIn(stack, empty)) {
		t.Error("a namespace that names the stack has no settings")
	}
	if exists(t, settingsIn(stack, refused)) {
		t.Error("one that the stack does not admit has them")
	}
}

func TestKeeperRestoresVersions(t *testing.T) {
	for name, harm := range map[string]func(*testing.T, *corev1.Secret){
		"deleted": func(t *testing.T, version *corev1.Secret) { remove(t, version) },
		"without labels": func(t *testing.T, version *corev1.Secret) {
			version.Labels, version.Annotations = nil, nil
			if err := live.Update(t.Context(), version); err != nil {
				t.Fatal(err)
			}
		},
		"replaced": func(t *testing.T, version *corev1.Secret) {
			remove(t, version)
			forged := &corev1.Secret{Data: map[string][]byte{"ENVIRONMENT": []byte("forged")}}
			forged.Namespace, forged.Name = version.Namespace, version.Name
			forged.Labels, forged.Annotations = version.Labels, version.Annotations
			create(t, forged)
		},
		"replaced by other content": func(t *testing.T, version *corev1.Secret) {
			remove(t, version)
			forged := &corev1.Secret{Immutable: new(true)}
			forged.Namespace, forged.Name, forged.Labels = version.Namespace, version.Name, version.Labels
			create(t, forged)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newInjecting(t)
			home, elsewhere := namespace(t), namespace(t)
			stack := settingsStack(t, home, admitAll)
			create(t, annotatedDeployment(elsewhere, "api", home+"/shop"))
			f.reconcileStack(t, stack)
			for _, in := range []string{home, elsewhere} {
				version := settingsIn(stack, in)
				refresh(t, version)
				want := version.DeepCopy()
				harm(t, version)
				f.reconcileStack(t, stack)
				refresh(t, version)
				delete(version.Annotations, obsv1.AnnotationRestored)
				got, immutable := string(version.Data["ENVIRONMENT"]), version.Immutable
				if got != "production" || immutable == nil || !*immutable {
					t.Errorf("the version says %q, immutable %v", got, immutable)
				}
				if !maps.Equal(version.Labels, want.Labels) || !maps.Equal(version.Annotations, want.Annotations) {
					t.Errorf("labels %v and annotations %v are not restored", version.Labels, version.Annotations)
				}
			}
		})
	}
}

// A Secret of the version's name that is somebody else's, or a quota, is the trouble of that
// namespace.
func TestKeeperStopsNoOtherNamespace(t *testing.T) {
	for reason, spoil := range map[string]func(t *testing.T, f *injecting, version *corev1.Secret){
		obsv1.ReasonNameConflict: func(t *testing.T, _ *injecting, version *corev1.Secret) { create(t, version) },
		obsv1.ReasonRejected: func(_ *testing.T, f *injecting, version *corev1.Secret) {
			f.fail = quota(version.Namespace)
		},
	} {
		t.Run(reason, func(t *testing.T) {
			f := newInjecting(t)
			home, bad, good := namespace(t), namespace(t), namespace(t)
			stack := settingsStack(t, home, admitAll)
			f.reconcileStack(t, stack)
			own := annotatedDeployment(home, "api", "shop")
			stuck := annotatedDeployment(bad, "api", home+"/shop")
			fine := annotatedDeployment(good, "api", home+"/shop")
			change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Environment = "staging" })
			probe := newInjecting(t) // What the next version is called.
			probe.reconcileStack(t, stack)
			spoil(t, f, settingsIn(stack, bad))
			createUnstamped(t, own, stuck, fine)
			result := f.reconcileStack(t, stack)
			wantStamp(t, own, home+"/shop", stack.Status.ConfigHash)
			wantStamp(t, fine, home+"/shop", stack.Status.ConfigHash)
			wantStamp(t, stuck, "", "")
			wantCondition(t, stack, obsv1.SettingsReady, metav1.ConditionTrue, obsv1.ReasonAvailable)
			named := func(n obsv1.NamespaceWorkloads) bool { return n.Name == bad && n.Reason == reason }
			if !slices.ContainsFunc(stack.Status.Workloads.Namespaces, named) {
				t.Errorf("status = %+v, want the reason %s for %s", stack.Status.Workloads, reason, bad)
			}
			if events := strings.Join(f.events(), "\n"); strings.Count(events, "InjectionFailed its settings") != 1 {
				t.Errorf("events %q, want one for the owner of the workload", events)
			}
			if result.RequeueAfter == 0 {
				t.Error("no other pass, want one that tries again")
			}
			f.sent.reset()
			f.reconcileStack(t, stack)
			if events := f.events(); len(f.sent.writes)+len(events) > 0 {
				t.Errorf("wrote %v and recorded %q right after a refusal, want nothing", f.sent.writes, events)
			}
			change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Injection.RequireAll = true })
			f.reconcileStack(t, stack)
			wantCondition(t, stack, obsv1.InjectionReady, metav1.ConditionFalse, reason)
			theirs := settingsIn(stack, bad)
			if exists(t, theirs) && len(theirs.Labels) > 0 {
				t.Errorf("somebody's Secret was changed: %v", theirs.Labels)
			}
			if exists(t, theirs) {
				remove(t, theirs)
			}
			f.fail = nil
			f.clock = f.clock.Add(time.Minute)
			f.reconcileStack(t, stack)
			wantStamp(t, stuck, home+"/shop", stack.Status.ConfigHash)
		})
	}
}

// createUnstamped makes Deployments as if the webhook, which would stamp them at once, were away.
func createUnstamped(t *testing.T, deployments ...*appsv1.Deployment) {
	t.Helper()
	for _, d := range deployments {
		annotations := d.Annotations
		d.Annotations = nil
		create(t, d)
		d.Annotations = annotations
		if err := live.Update(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKeeperQuotesNoNamespaceToOthers: what the stack's own namespace refuses is its owner's to
// know, and others could change nothing about it.
func TestKeeperQuotesNoNamespaceToOthers(t *testing.T) {
	f := newInjecting(t)
	home, other := namespace(t), namespace(t)
	stack := settingsStack(t, home, admitAll)
	f.fail = quota(home)
	createUnstamped(t, annotatedDeployment(other, "api", home+"/shop"))
	f.reconcileStack(t, stack)
	if events := strings.Join(f.events(), "\n"); strings.Contains(events, "its settings") {
		t.Errorf("the owner of another namespace's workload reads %s", events)
	}
}

// TestKeeperExplainsEveryVersionOnce that a namespace does not take.
func TestKeeperExplainsEveryVersionOnce(t *testing.T) {
	f := newInjecting(t)
	stack, d := f.elsewhere(t)
	f.fail = quota(d.Namespace)
	f.events()
	for _, environment := range []string{"staging", "qa"} {
		change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Environment = environment })
		for range 2 {
			f.clock = f.clock.Add(time.Hour)
			f.reconcileStack(t, stack)
		}
		if events := f.events(); len(events) != 1 {
			t.Errorf("%s: events %q, want one", environment, events)
		}
	}
}

// TestKeeperSaysNothingOfANamespaceThatEnds while its copy is written: nobody could correct that.
func TestKeeperSaysNothingOfANamespaceThatEnds(t *testing.T) {
	f := newInjecting(t)
	stack, d := f.elsewhere(t)
	f.events()
	ended := false
	f.fail = func(verb string, obj client.Object) error {
		if verb == "create" && obj.GetNamespace() == d.Namespace && !ended {
			ended = true
			remove(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: d.Namespace}})
		}
		return nil
	}
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Environment = "staging" })
	f.reconcileStack(t, stack)
	if events := f.events(); !ended || len(events) > 0 {
		t.Errorf("ended %t, events %q, want none", ended, events)
	}
}

// The stack has new settings, which are not in that namespace: there, the last ones are better than
// none.
func TestWorkloadWebhookStampsNoVersionThatIsNotThere(t *testing.T) {
	f := newInjecting(t)
	stack, d := f.elsewhere(t)
	named, before := stack.Namespace+"/shop", stack.Status.ConfigHash
	f.fail = quota(d.Namespace)
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Environment = "staging" })
	f.reconcileStack(t, stack)
	if stack.Status.ConfigHash == before {
		t.Fatal("no new version")
	}
	deploy := func(image string) {
		t.Helper()
		refresh(t, d)
		d.Spec.Template.Spec.Containers[0].Image = image
		if err := live.Update(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	deploy("shop:1.5")
	wantStamp(t, d, named, before)
	f.fail = nil
	f.clock = f.clock.Add(time.Minute)
	f.reconcileStack(t, stack)
	wantStamp(t, d, named, stack.Status.ConfigHash)
}

func TestSettingsKeepTheirNameWhenTheStackIsMadeAgain(t *testing.T) {
	f := newInjecting(t)
	home := namespace(t)
	stack := settingsStack(t, home, withDSN)
	dsn := secret(home, "shop-sentry", "dsn", testDSN)
	create(t, dsn)
	f.reconcileStack(t, stack)
	hash := stack.Status.ConfigHash
	remove(t, stack)
	remove(t, dsn)
	create(t, secret(home, "shop-sentry", "dsn", testDSN)) // Another UID, and so another revision.
	again := settingsStack(t, home, withDSN)
	f = newInjecting(t)
	f.reconcileStack(t, again)
	if got := again.Status.ConfigHash; got != hash {
		t.Errorf("hash = %s, want %s as before: the content is the same", got, hash)
	}
	made := func(write string) bool { return strings.HasPrefix(write, "create obstack.") }
	if slices.ContainsFunc(f.sent.writes, made) {
		t.Errorf("wrote %v, want no new version", f.sent.writes)
	}
}

func withDSN(spec *obsv1.ObservabilityStackSpec) {
	spec.Sentry = &obsv1.SentrySpec{DSNFrom: &obsv1.SecretKeySource{
		SecretKeyRef: obsv1.SecretKeySelector{Name: "shop-sentry", Key: "dsn"},
	}}
}

// collect has the collector look at a version, and returns when it will do so again.
func (f *injecting) collect(t *testing.T, version *corev1.Secret) time.Duration {
	t.Helper()
	result, err := f.collector.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(version)})
	if err != nil {
		t.Fatalf("Reconcile %s: %v", version.Name, err)
	}
	return result.RequeueAfter
}

// wantCollected checks that a version goes within an hour, over a restart of the operator, and not
// before.
func (f *injecting) wantCollected(t *testing.T, stack *obsv1.ObservabilityStack, version *corev1.Secret) {
	t.Helper()
	if after := f.collect(t, version); after < unused || after > unused+time.Minute {
		t.Errorf("looked at again after %s, want an hour", after)
	}
	f.clock = f.clock.Add(unused / 2)
	restarted := newInjecting(t) // in mid-grace
	restarted.clock = f.clock
	f.collector.Keeper = restarted.Settings
	f.collect(t, version)
	if exists(t, stack) {
		restarted.reconcileStack(t, stack)
	}
	if f.collect(t, version); !exists(t, version) {
		t.Fatal("the version is gone before its time")
	}
	restarted.clock = f.clock.Add(unused/2 + time.Minute)
	if f.collect(t, version); exists(t, version) {
		t.Error("the version is still there after an hour without a use")
	}
}

const unused = time.Hour

func TestCollectorDeletesAVersionAnHourAfterItsLastUse(t *testing.T) {
	f := newInjecting(t)
	home := namespace(t)
	stack := settingsStack(t, home)
	d := annotatedDeployment(home, "api", "shop")
	create(t, d)
	f.reconcileStack(t, stack)
	old := settingsIn(stack, home)
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Environment = "staging" })
	f.reconcileStack(t, stack)
	current := settingsIn(stack, home)
	if old.Name == current.Name {
		t.Fatal("no new version")
	}
	if after := f.collect(t, current); after != 0 {
		t.Errorf("the version that the stack wants is looked at again after %s", after)
	}
	f.wantCollected(t, stack, old)
	if !exists(t, current) {
		t.Error("the version that the stack wants is gone")
	}
}

func TestCollectorTakesNothingFromWorkloadsOfADeletedStack(t *testing.T) {
	f := newInjecting(t)
	stack, d := f.elsewhere(t)
	remove(t, stack)
	f.Settings.Forget(client.ObjectKeyFromObject(stack))
	version := settingsIn(stack, d.Namespace)
	f.clock = f.clock.Add(24 * time.Hour)
	if after := f.collect(t, version); after != 0 || !exists(t, version) {
		t.Fatalf("the version that a template names is looked at again after %s", after)
	}
	remove(t, d)
	f.wantCollected(t, stack, version)
}

// stamped is what a stamp puts on a template and on all that is made from it.
func stamped(stack *obsv1.ObservabilityStack, app string) map[string]string {
	return map[string]string{
		"app": app, obsv1.StampStack: stack.Name, obsv1.StampNamespace: stack.Namespace,
		obsv1.StampVersion: stack.Status.ConfigHash,
	}
}

func TestCollectorKeepsWhatMayBringPodsBack(t *testing.T) {
	template := func(labels map[string]string) corev1.PodTemplateSpec {
		return corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "api", Image: "shop:1.4.2"}}},
		}
	}
	replicaSet := func(replicas int32) func(*testing.T, *obsv1.ObservabilityStack) {
		return func(t *testing.T, stack *obsv1.ObservabilityStack) {
			labels := stamped(stack, "api")
			create(t, &appsv1.ReplicaSet{
				ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "api-1", Labels: labels},
				Spec: appsv1.ReplicaSetSpec{
					Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template(labels),
				},
			})
		}
	}
	revision := func(current, update string) func(*testing.T, *obsv1.ObservabilityStack) {
		return func(t *testing.T, stack *obsv1.ObservabilityStack) {
			labels := map[string]string{"app": "db"}
			set := &appsv1.StatefulSet{
				ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "db"},
				Spec: appsv1.StatefulSetSpec{
					Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template(labels), ServiceName: "db",
				},
			}
			create(t, set)
			set.Status.CurrentRevision, set.Status.UpdateRevision = current, update
			if err := live.Status().Update(t.Context(), set); err != nil {
				t.Fatal(err)
			}
			owner := metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))
			create(t, &appsv1.ControllerRevision{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: stack.Namespace, Name: "db-1", Labels: stamped(stack, "db"),
					OwnerReferences: []metav1.OwnerReference{*owner},
				},
				Revision: 1, Data: runtime.RawExtension{Raw: []byte("{}")},
			})
		}
	}
	for name, tc := range map[string]struct {
		make func(*testing.T, *obsv1.ObservabilityStack)
		kept bool
	}{
		"a ReplicaSet with replicas":       {replicaSet(1), true},
		"a ReplicaSet that is scaled down": {replicaSet(0), false},
		"the revision below a partition":   {revision("db-1", "db-2"), true},
		"the revision above a partition":   {revision("db-0", "db-1"), true},
		"an old revision of a StatefulSet": {revision("db-2", "db-2"), false},
		"a live Pod": {func(t *testing.T, stack *obsv1.ObservabilityStack) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "p", Labels: stamped(stack, "p")}}
			pod.Annotations = map[string]string{obsv1.StampConfigHash: stack.Status.ConfigHash}
			pod.Spec.Containers = []corev1.Container{{Name: "p", Image: "shop:1.4.2"}}
			create(t, pod)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newInjecting(t)
			stack := settingsStack(t, namespace(t))
			f.reconcileStack(t, stack)
			old, version := stack.DeepCopy(), settingsIn(stack, stack.Namespace)
			change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Environment = "staging" })
			f.reconcileStack(t, stack)
			tc.make(t, old)
			f.collect(t, version)
			f.clock = f.clock.Add(unused + time.Minute)
			f.collect(t, version)
			if exists(t, version) != tc.kept {
				t.Errorf("the version is there: %v, want %v", !tc.kept, tc.kept)
			}
		})
	}
}

func TestCollectorTakesBackADeletionForAWorkload(t *testing.T) {
	f := newInjecting(t)
	stack := settingsStack(t, namespace(t))
	f.reconcileStack(t, stack)
	old := settingsIn(stack, stack.Namespace)
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Environment = "staging" })
	f.reconcileStack(t, stack)
	f.collect(t, old)
	if refresh(t, old); old.Annotations[obsv1.AnnotationUnusedSince] == "" {
		t.Fatal("the version is not marked")
	}
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Environment = "production" })
	f.reconcileStack(t, stack)
	if got := settingsIn(stack, stack.Namespace).Name; got != old.Name {
		t.Errorf("settings that are as before are called %s, want %s", got, old.Name)
	}
	if refresh(t, old); old.Annotations[obsv1.AnnotationUnusedSince] != "" {
		t.Error("the version is wanted again and still to be deleted")
	}
}

func admitTeam(spec *obsv1.ObservabilityStackSpec) {
	spec.Injection = &obsv1.InjectionSpec{Namespaces: &obsv1.InjectionNamespaces{
		From: obsv1.NamespacesFromSelector, Selector: metav1.SetAsLabelSelector(map[string]string{"team": "shop"}),
	}}
}

func label(t *testing.T, namespace string, labels map[string]string) {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	refresh(t, ns)
	before := ns.DeepCopy()
	delete(ns.Labels, "team")
	maps.Copy(ns.Labels, labels)
	if err := live.Patch(t.Context(), ns, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

func TestCollectorDeletesRevokedVersions(t *testing.T) {
	f := newInjecting(t)
	home, elsewhere := namespace(t), namespace(t)
	label(t, elsewhere, map[string]string{"team": "shop"})
	stack := settingsStack(t, home, admitTeam)
	f.reconcileStack(t, stack)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: elsewhere, Name: "alone", Annotations: map[string]string{obsv1.AnnotationStack: home + "/shop"},
	}}
	pod.Spec.Containers = []corev1.Container{{Name: "p", Image: "shop:1.4.2"}}
	create(t, pod)
	f.reconcileStack(t, stack)
	version := settingsIn(stack, elsewhere)
	refresh(t, version)

	label(t, elsewhere, nil)
	f.reconcileStack(t, stack)
	if after := f.collect(t, version); after == 0 || !exists(t, version) {
		t.Fatalf("a revoked version under a running Pod is looked at again after %s, want an hour", after)
	}
	label(t, elsewhere, map[string]string{"team": "shop"})
	f.reconcileStack(t, stack)
	f.collect(t, version)
	if refresh(t, version); version.Annotations[obsv1.AnnotationRevokedSince] != "" {
		t.Error("the version is admitted again and still to be deleted")
	}
	label(t, elsewhere, nil)
	f.reconcileStack(t, stack)
	f.collect(t, version)
	restarted := newInjecting(t) // in mid-grace
	restarted.clock = f.clock.Add(time.Hour + time.Minute)
	f.collector.Keeper = restarted.Settings
	if f.collect(t, version); exists(t, version) {
		t.Error("a revoked version is there after the grace, though nothing but a Pod names it")
	}
}

func TestCollectorDeletesARevokedVersionWithItsLastPod(t *testing.T) {
	f := newInjecting(t)
	stack, d := f.elsewhere(t)
	version := settingsIn(stack, d.Namespace)
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) {
		spec.Injection.Namespaces.From = obsv1.NamespacesFromSame
	})
	f.reconcileStack(t, stack)
	if f.collect(t, version); exists(t, version) {
		t.Error("a revoked version that no Pod names is there, want it gone although a template names it")
	}
	own := settingsIn(stack, stack.Namespace)
	if f.collect(t, own); !exists(t, own) {
		t.Error("the stack's own version is gone")
	}
}

func TestCollectorHoldsAllWhileTheSelectorIsNotValid(t *testing.T) {
	f := newInjecting(t)
	home, elsewhere := namespace(t), namespace(t)
	label(t, elsewhere, map[string]string{"team": "shop"})
	stack := settingsStack(t, home, admitTeam)
	f.reconcileStack(t, stack)
	create(t, annotatedDeployment(elsewhere, "api", home+"/shop"))
	f.reconcileStack(t, stack)
	version := settingsIn(stack, elsewhere)
	refresh(t, version)
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) {
		spec.Injection.Namespaces.Selector = &metav1.LabelSelector{
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "in", Values: []string{"shop"}}},
		}
	})
	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.InjectionReady, metav1.ConditionFalse, obsv1.ReasonInvalidSelector)
	f.clock = f.clock.Add(24 * time.Hour)
	if after := f.collect(t, version); after != 0 || !exists(t, version) {
		t.Errorf("a version is looked at again after %s, want it left alone", after)
	}
}

func TestSuspendMakesNoVersionAndDeletesNone(t *testing.T) {
	f := newInjecting(t)
	stack := settingsStack(t, namespace(t))
	f.reconcileStack(t, stack)
	old := settingsIn(stack, stack.Namespace)
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Suspend, spec.Environment = true, "staging" })
	f.reconcileStack(t, stack)
	message := wantCondition(t, stack, obsv1.SettingsReady, metav1.ConditionFalse, obsv1.ReasonDrifted)
	if !strings.Contains(message, "create Secret "+stack.Namespace+"/obstack."+stack.Namespace+".shop.") {
		t.Errorf("message = %q, want the version that it would make", message)
	}
	if settingsIn(stack, stack.Namespace).Name != old.Name {
		t.Errorf("the hash is %s, of a version that is not there", stack.Status.ConfigHash)
	}
	f.clock = f.clock.Add(24 * time.Hour)
	if f.collect(t, old); !exists(t, old) || old.Annotations[obsv1.AnnotationUnusedSince] != "" {
		t.Error("a version of a suspended stack was touched")
	}
}

func TestCollectorLeavesTheVersionsOfOtherOperators(t *testing.T) {
	f := newInjecting(t)
	stack := settingsStack(t, namespace(t))
	f.reconcileStack(t, stack)
	remove(t, stack)
	f.Settings.Forget(client.ObjectKeyFromObject(stack))
	f.injector.Reader.Watched = func(string) bool { return false }
	version := settingsIn(stack, stack.Namespace)
	if f.collect(t, version); !exists(t, version) || version.Annotations[obsv1.AnnotationUnusedSince] != "" {
		t.Error("a version of a stack that this operator does not watch was touched")
	}
}
