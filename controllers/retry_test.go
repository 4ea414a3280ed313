// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// A Pod that missed the webhook has its workload patched, three times, each after a longer while.
// What was tried already is in the workload itself, so a restarted operator does not begin anew.
func TestRolloutRetriesAMissedInjection(t *testing.T) {
	f := newInjecting(t)
	ns := namespace(t)
	stack := settingsStack(t, ns)
	f.reconcileStack(t, stack)
	d := annotatedDeployment(ns, "api", "shop")
	create(t, d)
	settle(t, d)
	missed := stampedPod(t, d, "5f7c", stack)

	attempt := func() string {
		clock := f.clock
		f = newInjecting(t) // A restart.
		f.clock = clock
		f.reconcileStack(t, stack)
		refresh(t, d)
		return d.Spec.Template.Annotations[obsv1.StampAttempt]
	}
	if got := attempt(); got != "1" {
		t.Fatalf("attempt = %q, want the workload patched for the Pod %s", got, missed.Name)
	}
	if got := attempt(); got != "1" {
		t.Errorf("attempt = %q while it rolls out, want 1", got)
	}
	for i, wait := range []time.Duration{10 * time.Minute, time.Hour} {
		settle(t, d)
		if got, want := attempt(), fmt.Sprint(i+1); got != want {
			t.Errorf("attempt = %q right after the rollout, want %s for %s", got, want, wait)
		}
		if got := f.reconcileStack(t, stack).RequeueAfter; got < wait/2 || got > 2*wait {
			t.Errorf("looks again after %s, want about %s", got, wait)
		}
		f.clock = f.clock.Add(wait)
		if got, want := attempt(), fmt.Sprint(i+2); got != want {
			t.Errorf("attempt = %q after %s, want %s", got, wait, want)
		}
	}
	settle(t, d)
	f.clock = f.clock.Add(100 * time.Hour)
	if got := attempt(); got != "3" {
		t.Errorf("attempt = %q after three retries, want no other", got)
	}
	wantCondition(t, stack, obsv1.InjectionReady, metav1.ConditionFalse, obsv1.ReasonInjectionBlocked)
	if events := strings.Join(f.events(), "\n"); !strings.Contains(events, obsv1.ReasonInjectionBlocked) {
		t.Errorf("events %q, want one about what blocks the injection", events)
	}
	f.reconcileStack(t, stack)
	if events := f.events(); len(events) > 0 {
		t.Errorf("events %q, want none a second time", events)
	}
}

func settle(t *testing.T, d *appsv1.Deployment) {
	t.Helper()
	refresh(t, d)
	d.Status = appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1, ReadyReplicas: 1,
	}
	if err := live.Status().Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

// stampedPod makes a Pod of a Deployment, of the template with that hash, that no webhook saw.
func stampedPod(t *testing.T, d *appsv1.Deployment, hash string, stack *obsv1.ObservabilityStack) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: d.Namespace, Name: d.Name + "-" + hash + "-x", Labels: map[string]string{"pod-template-hash": hash},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: d.Name + "-" + hash, UID: types.UID(hash), Controller: new(true),
			}},
		},
		Spec: d.Spec.Template.Spec,
	}
	create(t, pod)
	stamp := policy.Stamp{Stack: client.ObjectKeyFromObject(stack), ConfigHash: stack.Status.ConfigHash}
	maps.Copy(pod.Labels, stamp.Labels())
	pod.Annotations = stamp.Annotations()
	if err := live.Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	return pod
}
