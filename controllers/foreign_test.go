// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"maps"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// podFrom makes a Pod as the controller of a template does.
func podFrom(t *testing.T, namespace, name string, template corev1.PodTemplateSpec,
	owner metav1.OwnerReference) *corev1.Pod {
	t.Helper()
	owner.Controller = new(true)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, Labels: maps.Clone(template.Labels),
			Annotations: maps.Clone(template.Annotations), OwnerReferences: []metav1.OwnerReference{owner},
		},
		Spec: *template.Spec.DeepCopy(),
	}
	create(t, pod)
	if pod.Annotations[obsv1.MarkInjected] == "" {
		t.Fatalf("Pod %s is not injected: %v", name, pod.Annotations)
	}
	return pod
}

// podOf makes a Pod of a Deployment.
func podOf(t *testing.T, d *appsv1.Deployment, name string) *corev1.Pod {
	t.Helper()
	refresh(t, d)
	template := d.Spec.Template
	template.Labels = maps.Clone(template.Labels)
	template.Labels["pod-template-hash"] = "5f7c"
	return podFrom(t, d.Namespace, name, template, metav1.OwnerReference{
		APIVersion: "apps/v1", Kind: "ReplicaSet", Name: d.Name + "-5f7c", UID: "5f7c",
	})
}

// A Pod of a controller that obstack does not know, in another namespace that the stack admits,
// brings the settings there and counts, also where a kind of Kubernetes has the same name.
func TestReconcileCopiesTheSettingsForPodsOfOtherControllers(t *testing.T) {
	for _, kind := range []string{"CloneSet", "StatefulSet"} {
		t.Run(kind, func(t *testing.T) {
			f, stack := newInjecting(t), settingsStack(t, namespace(t), admitAll)
			f.reconcileStack(t, stack)
			other := namespace(t)
			template := annotatedDeployment(other, "games", stack.Namespace+"/shop").Spec.Template
			template.Annotations = map[string]string{obsv1.AnnotationStack: stack.Namespace + "/shop"}
			podFrom(t, other, "games-x1", template, metav1.OwnerReference{
				APIVersion: "apps.kruise.io/v1beta1", Kind: kind, Name: "games", UID: "c1",
			})
			f.reconcileStack(t, stack)
			if !exists(t, settingsIn(stack, other)) {
				t.Error("the namespace of the Pod has no settings")
			}
			want := obsv1.WorkloadCounts{Annotated: 1, Injected: 1}
			if got := stack.Status.Workloads; got.WorkloadCounts != want {
				t.Errorf("workloads = %+v, want %+v", got, want)
			}
		})
	}
}

// A Pod by which kubectl obstack verify tries a stack is injected, and is none of its workloads.
func TestReconcileDoesNotCountPodsThatTheStackControls(t *testing.T) {
	f, stack := newInjecting(t), settingsStack(t, namespace(t), admitAll)
	f.reconcileStack(t, stack)
	template := annotatedDeployment(stack.Namespace, "api", "shop").Spec.Template
	template.Annotations = map[string]string{obsv1.AnnotationStack: "shop"}
	podFrom(t, stack.Namespace, "shop-verify-x1", template, metav1.OwnerReference{
		APIVersion: obsv1.GroupVersion.String(), Kind: "ObservabilityStack", Name: "shop", UID: stack.UID,
	})
	f.reconcileStack(t, stack)
	if got := stack.Status.Workloads; got != nil && got.Annotated != 0 {
		t.Errorf("workloads = %+v, want none", got)
	}
}

// While there are no settings for a new namespace, nothing is restarted there, however long that
// takes: no restart would bring any.
func TestRolloutRestartsNothingWhileTheDSNIsBad(t *testing.T) {
	f, ns := newInjecting(t), namespace(t)
	create(t, secret(ns, "shop-sentry", "dsn", testDSN))
	stack := settingsStack(t, ns, admitAll, withDSN)
	f.reconcileStack(t, stack)
	if err := live.Update(t.Context(), secret(ns, "shop-sentry", "dsn", "not a DSN")); err != nil {
		t.Fatal(err)
	}
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Environment = "staging" })
	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.SentryReady, metav1.ConditionFalse, obsv1.ReasonInvalidDSN)
	other := namespace(t)
	d := annotatedDeployment(other, "api", ns+"/shop")
	create(t, d)
	podOf(t, d, "api-5f7c-x")
	settle(t, d)
	before := d.Generation
	for range 60 {
		f.reconcileStack(t, stack)
		f.clock = f.clock.Add(5 * time.Minute)
	}
	if refresh(t, d); d.Generation != before {
		t.Errorf("generation %d after five hours, want %d: no restart", d.Generation, before)
	}
}

// runs reports of a Pod that its containers started, as a kubelet does; that they still wait if the
// time is zero.
func runs(t *testing.T, pod *corev1.Pod, started time.Time) {
	t.Helper()
	state := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}
	if !started.IsZero() {
		state = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(started)}}
	}
	pod.Status.ContainerStatuses = nil
	for _, c := range pod.Spec.Containers {
		status := corev1.ContainerStatus{Name: c.Name, State: state}
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, status)
	}
	if err := live.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
}

// late makes a Pod of a Deployment, and then, when a quota has room for them, its settings.
func (f *injecting) late(t *testing.T) (*obsv1.ObservabilityStack, *appsv1.Deployment, *corev1.Pod) {
	t.Helper()
	stack, full := settingsStack(t, namespace(t), admitAll), namespace(t)
	f.reconcileStack(t, stack)
	f.fail = quota(full)
	d := annotatedDeployment(full, "api", stack.Namespace+"/shop")
	create(t, d)
	pod := podOf(t, d, "api-5f7c-a")
	settle(t, d)
	f.wantAttempt(t, stack, d, "")
	time.Sleep(1100 * time.Millisecond) // The API server's times are in seconds.
	f.fail = nil
	f.clock = f.clock.Add(time.Minute)
	f.reconcileStack(t, stack)
	return stack, d, pod
}

// wantAttempt checks how often an injection was retried by two more passes, of which the second
// sees what the first one wrote.
func (f *injecting) wantAttempt(t *testing.T, stack *obsv1.ObservabilityStack, d *appsv1.Deployment, want string) {
	t.Helper()
	for range 2 {
		f.clock = f.clock.Add(time.Minute)
		f.reconcileStack(t, stack)
	}
	if refresh(t, d); d.Spec.Template.Annotations[obsv1.StampAttempt] != want {
		t.Errorf("attempt %q, want %q", d.Spec.Template.Annotations[obsv1.StampAttempt], want)
	}
}

// A Pod that started before its namespace had the settings has none, whatever its mark says. Its
// workload is restarted once they are there; that of one whose settings were deleted and restored
// is not.
func TestRolloutRetriesForPodsThatAreOlderThanTheirSettings(t *testing.T) {
	f := newInjecting(t)
	stack, d, pod := f.late(t)
	runs(t, pod, pod.CreationTimestamp.Time)
	f.wantAttempt(t, stack, d, "1")
	remove(t, pod)
	pod = podOf(t, d, "api-5f7c-b")
	runs(t, pod, pod.CreationTimestamp.Time)
	settle(t, d)
	f.wantAttempt(t, stack, d, "1")
	time.Sleep(1100 * time.Millisecond)
	remove(t, settingsIn(stack, d.Namespace))
	f.wantAttempt(t, stack, d, "1")
	if !exists(t, settingsIn(stack, d.Namespace)) {
		t.Error("the settings are not restored")
	}
	f.clock = f.clock.Add(100 * time.Hour)
	f.wantAttempt(t, stack, d, "1")
}

// A Pod waits for a node or an image while its settings come: its containers have them, and a
// restart would bring nothing.
func TestRolloutRestartsNothingForContainersThatStartedLater(t *testing.T) {
	f := newInjecting(t)
	stack, d, pod := f.late(t)
	runs(t, pod, time.Time{})
	f.wantAttempt(t, stack, d, "")
	if again := f.reconcileStack(t, stack).RequeueAfter; again == 0 || again > 2*time.Minute {
		t.Errorf("looked at again after %s, want a minute: no event says when a container starts", again)
	}
	runs(t, pod, time.Now().Add(time.Second))
	f.wantAttempt(t, stack, d, "")
	if got := stack.Status.Workloads.Injected; got != 1 {
		t.Errorf("%d workloads are injected, want 1", got)
	}
	if again := f.reconcileStack(t, stack).RequeueAfter; again != 0 {
		t.Errorf("looked at again after %s, want never: nothing changes any more", again)
	}
	f.sent.reset()
	f.reconcileStack(t, stack)
	if f.sent.total() > 0 {
		t.Errorf("read %v, want what was found kept", f.sent.reads)
	}
	f = newInjecting(t) // A restart.
	f.wantAttempt(t, stack, d, "")
}

// Pods of a namespace that are not listed are left alone, and so is nothing else, until they are.
func TestRolloutRestartsNothingWhereStartsAreNotKnown(t *testing.T) {
	f := newInjecting(t)
	stack, d, pod := f.late(t)
	runs(t, pod, pod.CreationTimestamp.Time)
	own := annotatedDeployment(stack.Namespace, "own", "shop")
	createUnstamped(t, own)
	f.refuseLists(d.Namespace)
	f.wantAttempt(t, stack, d, "")
	wantStamp(t, own, stack.Namespace+"/shop", stack.Status.ConfigHash)
	if again := f.reconcileStack(t, stack).RequeueAfter; again == 0 || again > 2*time.Minute {
		t.Errorf("looked at again after %s, want a minute", again)
	}
	f.injector.Live = f.Settings.Live
	f.wantAttempt(t, stack, d, "1")
}

// Settings that are there again, whoever brought them back and whatever this process knows of
// them, restart nothing: the containers that run have them.
func TestRolloutRestartsNothingForSettingsThatAreRestored(t *testing.T) {
	for name, restore := range map[string]func(t *testing.T, version *corev1.Secret){
		"by an operator that restarted": func(*testing.T, *corev1.Secret) {},
		"by somebody, without annotations": func(t *testing.T, version *corev1.Secret) {
			version.ObjectMeta = metav1.ObjectMeta{Namespace: version.Namespace, Name: version.Name}
			create(t, version)
		},
	} {
		for _, restarted := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, restarted %t", name, restarted), func(t *testing.T) {
				f, stack := newInjecting(t), settingsStack(t, namespace(t), admitAll)
				other := namespace(t)
				var all []*appsv1.Deployment
				for _, in := range []string{stack.Namespace, other} {
					d := annotatedDeployment(in, "api", stack.Namespace+"/shop")
					create(t, d)
					all = append(all, d)
				}
				f.reconcileStack(t, stack)
				f.reconcileStack(t, stack)
				for _, d := range all {
					podOf(t, d, "api-5f7c-a")
					settle(t, d)
				}
				time.Sleep(2100 * time.Millisecond) // The API server's times are in seconds.
				for _, in := range []string{stack.Namespace, other} {
					version := settingsIn(stack, in)
					refresh(t, version)
					remove(t, version)
					restore(t, version)
				}
				if restarted {
					f = newInjecting(t)
				}
				for range 3 {
					f.reconcileStack(t, stack)
					f.clock = f.clock.Add(2 * time.Hour)
				}
				for _, d := range all {
					if !exists(t, settingsIn(stack, d.Namespace)) {
						t.Error("the settings are not restored")
					}
					if refresh(t, d); d.Spec.Template.Annotations[obsv1.StampAttempt] != "" {
						t.Errorf("attempt %q in %s, want none", d.Spec.Template.Annotations[obsv1.StampAttempt], d.Namespace)
					}
				}
			})
		}
	}
}
