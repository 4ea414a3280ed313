// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// rewritten is a Deployment as its owner writes it, who knows nothing of stamps.
func rewritten(t *testing.T, owned *appsv1.Deployment, stamp *policy.Stamp) {
	t.Helper()
	d := owned.DeepCopy()
	d.ResourceVersion = ""
	if stamp != nil {
		d.Spec.Template.Annotations = stamp.Annotations()
		d.Spec.Template.Labels = stamp.Labels()
		d.Spec.Template.Labels["app"] = d.Name
	}
	if err := live.Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func wantGeneration(t *testing.T, obj client.Object, want int64) {
	t.Helper()
	refresh(t, obj)
	if got := obj.GetGeneration(); got != want {
		t.Errorf("generation of %s = %d, want %d", obj.GetName(), got, want)
	}
}

// A controller that writes whole templates, or a tool that brings yesterday's stamp from Git,
// restarted its Pods each time.
func TestWorkloadWebhookKeepsTheStampThatAnOwnerDrops(t *testing.T) {
	f := newInjecting(t)
	ns := labelledNamespace(t, map[string]string{obsv1.LabelUseStack: "shop"})
	stack := settingsStack(t, ns)
	f.reconcileStack(t, stack)
	owned := annotatedDeployment(ns, "rabbit", "")
	owned.Annotations = nil
	d := owned.DeepCopy()
	create(t, d)
	wantStamp(t, d, ns+"/shop", stack.Status.ConfigHash)
	old := &policy.Stamp{Stack: client.ObjectKeyFromObject(stack), ConfigHash: "old"}
	for range 10 {
		rewritten(t, owned, nil)
		rewritten(t, owned, old)
	}
	wantStamp(t, d, ns+"/shop", stack.Status.ConfigHash)
	wantGeneration(t, d, 1)

	if err := live.Delete(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
	rewritten(t, owned, nil)
	wantStamp(t, d, ns+"/shop", stack.Status.ConfigHash)
	wantGeneration(t, d, 1)
}

// What is released keeps its stamp until its owner changes the template for a reason of his own.
func TestWorkloadWebhookTakesAStampOffWithTheOwnersChange(t *testing.T) {
	f := newInjecting(t)
	ns := namespace(t)
	stack := settingsStack(t, ns)
	f.reconcileStack(t, stack)
	d := annotatedDeployment(ns, "api", "shop")
	create(t, d)
	first := stack.Status.ConfigHash
	wantStamp(t, d, ns+"/shop", first)
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) { spec.Environment = "staging" })
	f.reconcileStack(t, stack)

	// A rollback brings the owner's template of then, with the settings of now.
	before := d.DeepCopy()
	before.Spec.Template.Spec.Containers[0].Image, before.ResourceVersion = "shop:1.4.1", ""
	if err := live.Update(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	wantStamp(t, d, ns+"/shop", stack.Status.ConfigHash)
	if stack.Status.ConfigHash == first {
		t.Error("another environment has the same hash")
	}

	if err := live.Delete(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
	refresh(t, d)
	d.Spec.Replicas = new(int32(3))
	if err := live.Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	wantStamp(t, d, ns+"/shop", stack.Status.ConfigHash)
	d.Spec.Template.Spec.Containers[0].Image = "shop:1.5.0"
	if err := live.Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	wantStamp(t, d, "", "")
}

// A selector that is mistyped says nothing, so a deployment in the meantime costs no settings.
func TestWorkloadWebhookHoldsWhileTheSelectorIsNotValid(t *testing.T) {
	f := newInjecting(t)
	stack, d := f.elsewhere(t)
	change(t, stack, func(spec *obsv1.ObservabilityStackSpec) {
		spec.Injection.Namespaces = &obsv1.InjectionNamespaces{
			From: obsv1.NamespacesFromSelector, Selector: &metav1.LabelSelector{
				MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "in", Values: []string{"shop"}}},
			},
		}
	})
	refresh(t, d)
	d.Spec.Template.Spec.Containers[0].Image = "shop:1.5.0"
	if err := live.Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	wantStamp(t, d, stack.Namespace+"/shop", stack.Status.ConfigHash)
}

// The operator stamps neither, and with the policy Manual nothing else.
func TestWebhooksCoverJobsAndPodsOfALabelledNamespace(t *testing.T) {
	f := newInjecting(t)
	ns := namespace(t)
	elsewhere := labelledNamespace(t, map[string]string{obsv1.LabelUseStack: "shop", obsv1.LabelUseNamespace: ns})
	stack := settingsStack(t, ns, admitAll)
	f.reconcileStack(t, stack)
	template := annotatedDeployment(elsewhere, "job", "").Spec.Template
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: elsewhere, Name: "job"}, Spec: batchv1.JobSpec{Template: template},
	}
	create(t, job)
	if stamp, _ := policy.StampOf(job.Spec.Template.Labels, nil); stamp.ConfigHash != stack.Status.ConfigHash {
		t.Errorf("stamp of the Job = %+v, want that of %s", stamp, stack.Status.ConfigHash)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: elsewhere, Name: "pod"}, Spec: template.Spec}
	create(t, pod)
	if len(pod.Spec.Containers[0].EnvFrom) != 1 || pod.Labels[obsv1.StampVersion] != stack.Status.ConfigHash {
		t.Errorf("Pod has labels %v and envFrom %+v, want the settings", pod.Labels, pod.Spec.Containers[0].EnvFrom)
	}
}

// A Namespace's label is known when a workload is made, so that there is one rollout, the owner's:
// none comes later, and with the policy Manual nothing else would inject.
func TestEveryEngineStampsInALabelledNamespaceAtOnce(t *testing.T) {
	for _, engine := range engines {
		for _, rollouts := range []obsv1.RolloutPolicy{obsv1.RolloutManual, obsv1.RolloutAutomatic} {
			t.Run(engine+"/"+string(rollouts), func(t *testing.T) {
				f := newInjecting(t)
				ns := labelledNamespace(t, map[string]string{obsv1.LabelUseStack: "shop", labelEngine: engine})
				stack := settingsStack(t, ns, func(spec *obsv1.ObservabilityStackSpec) {
					spec.Injection = &obsv1.InjectionSpec{Rollout: &obsv1.RolloutSpec{Policy: rollouts}}
				})
				f.reconcileStack(t, stack)
				awaitPolicies(t, ns)
				d := annotatedDeployment(ns, "api", "")
				d.Annotations = nil
				create(t, d)
				wantStamp(t, d, ns+"/shop", stack.Status.ConfigHash)
				pod := &corev1.Pod{ObjectMeta: d.Spec.Template.ObjectMeta, Spec: d.Spec.Template.Spec}
				pod.Namespace, pod.Name = ns, "api"
				create(t, pod)
				if len(pod.Spec.Containers[0].EnvFrom) != 1 || pod.Annotations[obsv1.MarkInjected] != stack.Status.ConfigHash {
					t.Errorf("its Pod has %v and envFrom %+v, want the settings", pod.Annotations, pod.Spec.Containers[0].EnvFrom)
				}
				for range 3 {
					f.reconcileStack(t, stack)
					f.reconcileWorkload(t, d)
				}
				wantGeneration(t, d, 1)
			})
		}
	}
}

// labelledNamespace is made with its labels: the API server learns of later ones a little later.
func labelledNamespace(t *testing.T, labels map[string]string) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-", Labels: labels}}
	create(t, ns)
	return ns.Name
}
