// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"maps"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// stampable are objects of the kinds that are stamped, but for a Deployment, and their templates.
func stampable(namespace string) map[client.Object]*corev1.PodTemplateSpec {
	d := annotatedDeployment(namespace, "kind", "shop")
	meta := metav1.ObjectMeta{Namespace: namespace, Name: d.Name, Annotations: d.Annotations}
	set := &appsv1.StatefulSet{ObjectMeta: *meta.DeepCopy()}
	set.Spec.Selector, set.Spec.Template = d.Spec.Selector, *d.Spec.Template.DeepCopy()
	daemon := &appsv1.DaemonSet{ObjectMeta: *meta.DeepCopy()}
	daemon.Spec.Selector, daemon.Spec.Template = d.Spec.Selector, *d.Spec.Template.DeepCopy()
	job := &batchv1.Job{ObjectMeta: *meta.DeepCopy()}
	job.Spec.Template = *d.Spec.Template.DeepCopy()
	job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	cron := &batchv1.CronJob{ObjectMeta: *meta.DeepCopy()}
	cron.Spec.Schedule, cron.Spec.JobTemplate.Spec.Template = "@daily", *job.Spec.Template.DeepCopy()
	return map[client.Object]*corev1.PodTemplateSpec{
		set: &set.Spec.Template, daemon: &daemon.Spec.Template, job: &job.Spec.Template,
		cron: &cron.Spec.JobTemplate.Spec.Template,
	}
}

// What one engine finds in a kind, the others find there too.
func TestEveryEngineStampsEveryKind(t *testing.T) {
	namespaces := engineNamespaces(t, nil)
	awaitPolicies(t, namespaces["policy"])
	for _, engine := range engines {
		namespace := namespaces[engine]
		setStack(t, namespace, "", version)
		for obj, template := range stampable(namespace) {
			gvk, err := live.GroupVersionKindFor(obj)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(engine+"/"+gvk.Kind, func(t *testing.T) {
				want := policy.Stamp{Stack: client.ObjectKey{Namespace: namespace, Name: "shop"}, ConfigHash: version}
				own := maps.Clone(template.Labels)
				create(t, obj)
				if got, _ := policy.StampOf(template.Labels, template.Annotations); got != want {
					t.Fatalf("stamp = %+v, want %+v", got, want)
				}
				if gvk.Kind == policy.KindJob {
					return // Its template cannot be changed.
				}
				// An owner that writes it as a whole, while its stack is gone.
				template.Labels, template.Annotations = own, nil
				obj.SetAnnotations(keys(obsv1.AnnotationStack, "none"))
				if err := live.Update(t.Context(), obj); err != nil {
					t.Fatal(err)
				}
				if got, _ := policy.StampOf(template.Labels, template.Annotations); got != want {
					t.Errorf("stamp after it was dropped = %+v, want %+v", got, want)
				}
			})
		}
	}
}
