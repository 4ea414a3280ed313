// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// stackRenamed deletes a stack and makes it under another name, as there is no other way to
// rename it: workloads are restarted when their owners name the new one, and once.
func (c *cluster) stackRenamed(t *testing.T) {
	namespace, other := c.namespace(t), c.emptyNamespace(t)
	all := admitting(obsv1.InjectionNamespaces{From: obsv1.NamespacesFromAll})
	stack := c.stack(t, namespace, all)
	for _, in := range []string{namespace, other} {
		for obj := range workloads(in, namespace+"/shop") {
			testenv.Create(t, c.api, obj)
		}
	}
	c.awaitWorkloads(t, stack, "8/8", 0)
	c.awaitReady(t, stack)
	before := map[string]map[string]int{namespace: c.revisions(t, namespace), other: c.revisions(t, other)}

	testenv.Delete(t, c.api, stack)
	c.awaitGone(t, stack)
	renamed := c.stack(t, namespace, all, named("store"))
	for in, want := range before {
		for _, name := range []string{"deployment", "statefulset", "daemonset", "cronjob"} {
			c.awaitEvent(t, in, name, obsv1.ReasonStackNotFound, "create it")
		}
		c.awaitInjected(t, stack, in, "deployment", 2) // They keep what they have.
		if diff := cmp.Diff(want, c.revisions(t, in)); diff != "" {
			t.Errorf("templates in %s after the stack was renamed (-want +got):\n%s", in, diff)
		}
	}
	c.awaitWorkloads(t, renamed, "0/0", 0)

	for in := range before {
		for obj := range workloads(in, "") {
			testenv.Change(t, c.api, obj, func(obj client.Object) {
				annotations := obj.GetAnnotations()
				annotations[obsv1.AnnotationStack] = namespace + "/store"
				obj.SetAnnotations(annotations)
			})
		}
	}
	c.awaitWorkloads(t, renamed, "8/8", 0)
	c.awaitReady(t, renamed)
	for in, had := range before {
		for _, name := range []string{"deployment", "statefulset", "daemonset"} {
			c.awaitInjected(t, renamed, in, name, 2)
		}
		for key, got := range c.revisions(t, in) {
			if want := had[key] + 1; got != want {
				t.Errorf("%s of %s has had %d templates, want %d", key, in, got, want)
			}
		}
	}
}
