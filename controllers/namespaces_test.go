// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// clonedPod is one that a CloneSet made, with the stamp that its template has.
func clonedPod(namespace, name, hash string, stack *obsv1.ObservabilityStack) *corev1.Pod {
	stamp := policy.Stamp{Stack: client.ObjectKeyFromObject(stack), ConfigHash: hash}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, Labels: stamp.Labels(), Annotations: stamp.Annotations(),
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps.kruise.io/v1alpha1", Kind: "CloneSet", Name: "worker", UID: "1", Controller: new(true),
			}},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "worker", Image: "shop:1.4.2"}}},
	}
}

// Pods of controllers that obstack does not know are counted by their controller, and their
// namespace has the settings that they name.
func TestObserveCountsPodsOfOtherControllers(t *testing.T) {
	f, other := newInjecting(t), namespace(t)
	stack := settingsStack(t, namespace(t), admitAll)
	f.reconcileStack(t, stack)
	for _, name := range []string{"worker-1", "worker-2"} {
		create(t, clonedPod(other, name, stack.Status.ConfigHash, stack))
	}
	f.reconcileStack(t, stack)
	got := stack.Status.Workloads
	if got == nil || got.Annotated != 1 || len(got.Namespaces) != 1 || got.Namespaces[0].Name != other {
		t.Errorf("workloads = %+v, want the CloneSet of %s", got, other)
	}
	refresh(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: other, Name: obsv1.SettingsName(stack.Namespace, stack.Name, stack.Status.ConfigHash),
	}})
}

// What other tenants do with their workloads is theirs: a paused Deployment that runs no stamped
// Pod, one that nobody rolls out, Pods that keep what they have.
func TestReadySpeaksForTheOwnNamespace(t *testing.T) {
	f, other := newInjecting(t), namespace(t)
	stack := settingsStack(t, namespace(t), admitAll)
	f.reconcileStack(t, stack)
	paused := annotatedDeployment(other, "paused", stack.Namespace+"/shop")
	paused.Spec.Paused = true
	create(t, paused)
	settle(t, paused)
	create(t, clonedPod(other, "worker-1", "0123456789abcdef", stack))
	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.Ready, metav1.ConditionTrue, obsv1.ReasonAvailable)
	got := stack.Status.Workloads
	if got.Summary != "0/2" || len(got.Namespaces) != 1 || got.Namespaces[0].Reason != obsv1.ReasonRolloutRequired {
		t.Errorf("workloads = %+v, want the two of %s pending", got, other)
	}

	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Injection.RequireAll = true })
	f.reconcileStack(t, stack)
	wantCondition(t, stack, obsv1.Ready, metav1.ConditionFalse, obsv1.ReasonRolloutRequired)
}
