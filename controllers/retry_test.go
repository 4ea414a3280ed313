// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"maps"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// retryBackoff is how long the first retry keeps the second one waiting.
const retryBackoff = time.Minute

// A Pod that missed the webhook has its workload patched, once, then again only after a while.
func TestRolloutRetriesAMissedInjection(t *testing.T) {
	f := newInjecting(t)
	ns := namespace(t)
	stack := settingsStack(t, ns)
	f.reconcileStack(t, stack)
	d := annotatedDeployment(ns, "api", "shop")
	create(t, d)
	settle(t, d)
	missed := stampedPod(t, d, stack)

	attempt := func() string {
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
	settle(t, d)
	if got := attempt(); got != "1" {
		t.Errorf("attempt = %q right after the rollout, want the second only after %s", got, retryBackoff)
	}
	if got := f.reconcileStack(t, stack).RequeueAfter; got < time.Second || got > 2*retryBackoff {
		t.Errorf("looks again after %s, want about %s", got, retryBackoff)
	}
	f.clock = f.clock.Add(retryBackoff)
	if got := attempt(); got != "2" {
		t.Errorf("attempt = %q after %s, want 2", got, retryBackoff)
	}
	settle(t, d)
	f.clock = f.clock.Add(retryBackoff)
	if got := attempt(); got != "2" {
		t.Errorf("attempt = %q after another %s, want 2, because the wait doubles", got, retryBackoff)
	}
}

// settle writes what the controller manager would after a rollout.
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

// stampedPod makes a Pod of a Deployment that the webhook did not see.
func stampedPod(t *testing.T, d *appsv1.Deployment, stack *obsv1.ObservabilityStack) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: d.Namespace, Name: d.Name + "-5f7c-x", Labels: map[string]string{"pod-template-hash": "5f7c"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: d.Name + "-5f7c", UID: "5f7c", Controller: new(true),
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
