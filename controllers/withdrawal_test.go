// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// crashing makes a Pod with the stamp of a Deployment; a container was restarted three times.
func crashing(t *testing.T, f *injecting, d *appsv1.Deployment, stack *obsv1.ObservabilityStack) *corev1.Pod {
	t.Helper()
	refresh(t, d)
	pod := stampedPod(t, d, stack)
	pod.Labels[obsv1.StampPython] = d.Spec.Template.Labels[obsv1.StampPython]
	pod.Annotations[obsv1.MarkInjected] = stack.Status.ConfigHash
	if err := live.Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	pod.Status.Conditions = []corev1.PodCondition{{
		Type: corev1.PodInitialized, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(f.clock),
	}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "api", RestartCount: 3, Image: "shop:1.4.2",
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: 3, Reason: "Error", Message: "the password is hunter2", FinishedAt: metav1.NewTime(f.clock.Add(time.Minute)),
		}},
	}}
	if err := live.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	return pod
}

// notAvailable has a Deployment roll out, with that many old Pods.
func notAvailable(t *testing.T, d *appsv1.Deployment, old int32) {
	t.Helper()
	refresh(t, d)
	d.Status = appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, Replicas: 1 + old, UpdatedReplicas: 1, AvailableReplicas: old, ReadyReplicas: old,
	}
	if err := live.Status().Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

// TestRolloutWithdrawsTheBundleForPython from a workload that breaks with it, keeps the rest, and
// does not try again until an image changes, whoever restarts the operator meanwhile. It does so
// also where the owner is to restart workloads.
func TestRolloutWithdrawsTheBundleForPython(t *testing.T) {
	f, ns := newInjecting(t), namespace(t)
	stack := settingsStack(t, ns, withPython)
	f.reconcileStack(t, stack)
	d, other := annotatedDeployment(ns, "api", "shop"), annotatedDeployment(ns, "other", "shop")
	create(t, d)
	create(t, other)
	bundle := func(d *appsv1.Deployment) string {
		t.Helper()
		f.reconcileStack(t, stack)
		refresh(t, d)
		return d.Spec.Template.Labels[obsv1.StampPython]
	}
	had := bundle(d)
	if had == "" {
		t.Fatal("the workload has no bundle")
	}
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) {
		spec.Injection = &obsv1.InjectionSpec{Rollout: &obsv1.RolloutSpec{Policy: obsv1.RolloutManual}}
	})
	notAvailable(t, d, 1)
	pod := crashing(t, f, d, stack)
	f.events()
	if got := f.reconcileStack(t, stack).RequeueAfter; got == 0 || got > 30*time.Second {
		t.Errorf("looks again after %s, and no event comes when a container is restarted", got)
	}
	f.clock = f.clock.Add(time.Minute)
	if got := bundle(d); got != "" {
		t.Fatalf("the workload has still the bundle %s", got)
	}
	wantStamp(t, d, ns+"/shop", stack.Status.ConfigHash)
	if got := bundle(other); got != had {
		t.Errorf("another workload has the bundle %q, want %s", got, had)
	}
	annotation := d.Annotations[obsv1.AnnotationPythonWithdrawn]
	if !strings.Contains(annotation, `"exitCode":3`) || !strings.Contains(annotation, had) {
		t.Errorf("the workload keeps %s", annotation)
	}
	events := strings.Join(f.events(), "\n")
	message := wantCondition(t, stack, obsv1.PythonReady, metav1.ConditionFalse, obsv1.ReasonPythonWithdrawn)
	for _, text := range []string{events, message} {
		if !strings.Contains(text, "a container exited again and again, exit code 3") {
			t.Errorf("%q does not say why", text)
		}
	}
	if strings.Contains(events+message+annotation, "hunter2") {
		t.Errorf("a container's text is repeated: %s\n%s\n%s", events, message, annotation)
	}
	if err := live.Delete(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	settle(t, d)
	f = newInjecting(t) // A restart.
	if got := bundle(d); got != "" {
		t.Errorf("it is tried again with %s, and nothing changed", got)
	}
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Injection = nil })
	d.Spec.Template.Spec.Containers[0].Image = "shop:1.4.3"
	if err := live.Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	settle(t, d)
	if got := bundle(d); got != had {
		t.Errorf("with another image the bundle is %q, want %s", got, had)
	}
	if _, kept := d.Annotations[obsv1.AnnotationPythonWithdrawn]; kept {
		t.Error("what the workload has again is still called withdrawn")
	}
}

// TestRolloutOfASuspendedStackWithdrawsNothing, because it changes nothing.
func TestRolloutOfASuspendedStackWithdrawsNothing(t *testing.T) {
	f, ns := newInjecting(t), namespace(t)
	stack := settingsStack(t, ns, withPython)
	f.reconcileStack(t, stack)
	d := annotatedDeployment(ns, "api", "shop")
	create(t, d)
	f.reconcileStack(t, stack)
	notAvailable(t, d, 0)
	crashing(t, f, d, stack)
	f.clock = f.clock.Add(time.Minute)
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Suspend = true })
	f.reconcileStack(t, stack)
	refresh(t, d)
	if d.Spec.Template.Labels[obsv1.StampPython] == "" || d.Annotations[obsv1.AnnotationPythonWithdrawn] != "" {
		t.Errorf("the workload was changed: %v", d.Annotations)
	}
}
