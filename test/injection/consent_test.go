// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

func (c *cluster) refusal(t *testing.T) {
	namespace, other := c.namespace(t), c.emptyNamespace(t)
	stack := c.stack(t, namespace)
	testenv.Create(t, c.api, deployment(other, "api", namespace+"/shop", 1))
	testenv.Create(t, c.api, pod(other, "pod", namespace+"/shop"))
	c.awaitEvent(t, other, "api", obsv1.ReasonNamespaceNotAdmitted, "spec.injection.namespaces")
	c.awaitWorkloads(t, stack, "0/0", 1)
	// A refusal is somebody else's mistake, not the stack's.
	c.awaitReady(t, stack)
	c.awaitPlain(t, other, "api", 1)
	c.awaitPlain(t, other, "pod", 1)
	c.wantAbsent(t, settings(stack, other))
	c.wantGeneration(t, deployment(other, "api", "", 1), 1)
}

// forgery writes by hand what obstack would write if the stack admitted the namespace.
func (c *cluster) forgery(t *testing.T) {
	namespace, other := c.namespace(t), c.emptyNamespace(t)
	stack := c.stack(t, namespace)
	labels := map[string]string{obsv1.StampStack: "shop", obsv1.StampNamespace: namespace}
	marks := map[string]string{obsv1.StampConfigHash: stack.Status.ConfigHash, obsv1.MarkInjected: stack.Status.ConfigHash}
	forge := func(meta *metav1.ObjectMeta) {
		if meta.Annotations == nil {
			meta.Annotations = map[string]string{}
		}
		maps.Copy(meta.Labels, labels)
		maps.Copy(meta.Annotations, marks)
	}
	stamped := deployment(other, "stamped", "", 1)
	forge(&stamped.Spec.Template.ObjectMeta)
	both := deployment(other, "both", namespace+"/shop", 1)
	forge(&both.Spec.Template.ObjectMeta)
	annotated := deployment(other, "annotated", "", 1)
	annotated.Spec.Template.Annotations = map[string]string{obsv1.AnnotationStack: namespace + "/shop"}
	lone := pod(other, "lone", "")
	forge(&lone.ObjectMeta)
	for _, obj := range []client.Object{stamped, both, annotated, lone} {
		testenv.Create(t, c.api, obj)
	}
	if c.webhooks != nil { // Policies know stamps alone, and name what is not there.
		for _, d := range []*appsv1.Deployment{stamped, both, annotated} {
			c.awaitPlain(t, other, d.Name, 1) // Released, if the webhook did not refuse it.
		}
		if pods := c.awaitPods(t, other, "lone", 1, hasSettings); len(pods) != 1 {
			t.Errorf("%d Pods, want 1", len(pods))
		}
	}
	// Those who are refused are counted, and make the stack no less ready.
	c.awaitWorkloads(t, stack, "0/0", 2)
	c.awaitReady(t, stack)
	c.wantAbsent(t, settings(stack, other))
}

func (c *cluster) admission(t *testing.T) {
	namespace, other, third := c.namespace(t), c.emptyNamespace(t), c.emptyNamespace(t)
	stack := c.stack(t, namespace, admitting(obsv1.InjectionNamespaces{
		From: obsv1.NamespacesFromSelector, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"shop": "yes"}},
	}))
	all := workloads(other, namespace+"/shop")
	for obj := range all {
		testenv.Create(t, c.api, obj)
	}
	testenv.Create(t, c.api, deployment(third, "api", namespace+"/shop", 1))
	c.awaitWorkloads(t, stack, "0/0", 5)

	admit := func(labels map[string]string) {
		t.Helper()
		testenv.Change(t, c.api, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: other}}, func(ns *corev1.Namespace) {
			delete(ns.Labels, "shop")
			maps.Copy(ns.Labels, labels)
		})
	}
	admit(map[string]string{"shop": "yes"})
	for obj, n := range all {
		if obj.GetName() != "cronjob" {
			c.awaitInjected(t, stack, other, obj.GetName(), n)
		}
	}
	c.awaitWorkloads(t, stack, "4/4", 1)
	c.awaitSecret(t, stack, other, dsn(1))
	c.wantAbsent(t, settings(stack, third))

	// Revoking consent restarts nothing, and from then on new Pods get nothing.
	before := c.generations(t, other)
	admit(nil)
	c.awaitWorkloads(t, stack, "0/0", 5)
	c.awaitEvent(t, other, "deployment", obsv1.ReasonNamespaceNotAdmitted, namespace+"/shop")
	if diff := cmp.Diff(before, c.generations(t, other)); diff != "" {
		t.Errorf("generations after the namespace was revoked (-want +got):\n%s", diff)
	}
	if c.webhooks != nil { // By policies they do until the copies are gone.
		c.restart(t, deployment(other, "deployment", "", 0))
		c.awaitPlain(t, other, "deployment", 2)
	}
}

// copies of the settings follow the workloads, whatever is done to them by hand.
func (c *cluster) copies(t *testing.T) {
	namespace, other := c.namespace(t), c.emptyNamespace(t)
	stack := c.stack(t, namespace, admitting(obsv1.InjectionNamespaces{From: obsv1.NamespacesFromAll}))
	first, last := deployment(other, "first", namespace+"/shop", 1), deployment(other, "last", namespace+"/shop", 1)
	testenv.Create(t, c.api, first)
	testenv.Create(t, c.api, last)
	c.awaitWorkloads(t, stack, "2/2", 0)
	copied := c.awaitSecret(t, stack, other, dsn(1))
	// It may have been rolled once, if its Pod was faster than the copy.
	before := c.generation(t, first)

	for what, edit := range map[string]func(*corev1.Secret){
		"no content":      func(s *corev1.Secret) { delete(s.Annotations, obsv1.AnnotationContent) },
		"no labels":       func(s *corev1.Secret) { s.Labels = nil },
		"another's label": func(s *corev1.Secret) { s.Labels[obsv1.LabelManagedBy] = "somebody" },
	} {
		testenv.Change(t, c.api, copied, edit)
		testenv.Poll(t, func(ctx context.Context) string {
			got := settings(stack, other)
			if err := c.api.Get(ctx, client.ObjectKeyFromObject(got), got); err != nil {
				return err.Error()
			}
			if string(got.Data["SENTRY_DSN"]) != dsn(1) || got.Annotations[obsv1.AnnotationContent] == "" ||
				got.Labels[obsv1.LabelManagedBy] != obsv1.ManagedBy || got.Labels[obsv1.LabelStack] != "shop" {
				return fmt.Sprintf("a copy with %s is not repaired: %v %q", what, got.Labels, got.Data)
			}
			return ""
		})
	}
	testenv.Delete(t, c.api, copied)
	again := c.awaitSecret(t, stack, other, dsn(1))
	// Nothing of this is the workloads' business.
	c.awaitWorkloads(t, stack, "2/2", 0)
	c.wantGeneration(t, first, before)

	c.rotate(t, namespace)
	rotated := c.awaitSecret(t, stack, other, dsn(2))
	c.awaitWorkloads(t, stack, "2/2", 0)
	// Nothing names the old version any more, and by and by nothing names the new one.
	c.awaitUnused(t, again)
	for _, d := range []*appsv1.Deployment{first, last} {
		if testenv.Delete(t, c.api, d); d == first {
			c.awaitWorkloads(t, stack, "1/1", 0)
		}
	}
	c.awaitUnused(t, rotated)
	c.awaitWorkloads(t, stack, "0/0", 0)
}
