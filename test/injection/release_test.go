// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

func (c *cluster) annotationRemoved(t *testing.T) {
	namespace := c.namespace(t)
	stack := c.stack(t, namespace)
	all := workloads(namespace, "shop")
	for obj := range all {
		testenv.Create(t, c.api, obj)
	}
	c.awaitWorkloads(t, stack, "4/4", 0)
	for obj := range all {
		testenv.Change(t, c.api, obj, func(obj client.Object) { obj.SetAnnotations(nil) })
	}
	for obj, n := range all {
		if obj.GetName() != "cronjob" { // Its Job may run on with what it started with.
			c.awaitPlain(t, namespace, obj.GetName(), n)
		}
	}
	c.awaitWorkloads(t, stack, "0/0", 0)
	for obj := range all {
		c.awaitReleased(t, obj)
	}
	// The settings themselves are the stack's, and stay with it.
	c.awaitSecret(t, stack, namespace, dsn(1))
}

// awaitReleased waits until nothing of a stamp is left on a workload's template.
func (c *cluster) awaitReleased(t *testing.T, obj client.Object) {
	t.Helper()
	testenv.Poll(t, func(ctx context.Context) string {
		if err := c.api.Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
			return err.Error()
		}
		meta := templateOf(t, obj).ObjectMeta
		for _, keys := range []map[string]string{meta.Labels, meta.Annotations} {
			for key := range keys {
				if key != "app" {
					return fmt.Sprintf("the template of %s has %s", obj.GetName(), key)
				}
			}
		}
		return ""
	})
}

// stackDeleted deletes a stack and makes it again: neither is a reason to restart anything.
func (c *cluster) stackDeleted(t *testing.T) {
	namespace, other := c.namespace(t), c.emptyNamespace(t)
	all := admitting(obsv1.InjectionNamespaces{From: obsv1.NamespacesFromAll})
	stack := c.stack(t, namespace, all)
	for obj := range workloads(other, namespace+"/shop") {
		testenv.Create(t, c.api, obj)
	}
	c.awaitWorkloads(t, stack, "4/4", 0)
	before := c.generations(t, other)
	testenv.Delete(t, c.api, stack)
	c.awaitGone(t, stack)
	c.awaitEvent(t, other, "deployment", obsv1.ReasonStackNotFound, "create it")
	c.awaitInjected(t, stack, other, "deployment", 2)

	stack = c.stack(t, namespace, all)
	c.awaitWorkloads(t, stack, "4/4", 0)
	c.awaitInjected(t, stack, other, "deployment", 2)
	if diff := cmp.Diff(before, c.generations(t, other)); diff != "" {
		t.Errorf("generations after the stack was deleted and made again (-want +got):\n%s", diff)
	}

	// The owner's next change of the template takes the stamp of one that is gone off; by policies it
	// stays.
	testenv.Delete(t, c.api, stack)
	c.awaitGone(t, stack)
	c.restart(t, deployment(other, "deployment", "", 0))
	if c.webhooks == nil {
		c.awaitComplete(t, other, "deployment")
		c.awaitInjected(t, stack, other, "deployment", 2)
		return
	}
	c.awaitPlain(t, other, "deployment", 2)
}

// annotationsRemoved releases 200 workloads, half of them in another namespace, none of them twice.
func (c *cluster) annotationsRemoved(t *testing.T) {
	namespace, other := c.namespace(t), c.emptyNamespace(t)
	stack := c.stack(t, namespace, admitting(obsv1.InjectionNamespaces{From: obsv1.NamespacesFromAll}))
	const half, running = 100, 20 // The rest have no Pods, which would only take the machine's time.
	for i := range half {
		for _, in := range []string{namespace, other} {
			testenv.Create(t, c.api,
				deployment(in, fmt.Sprintf("api-%d", i), namespace+"/shop", int32(max(0, min(1, running-i)))))
		}
	}
	c.awaitWorkloads(t, stack, "200/200", 0)
	before := c.generations(t, namespace, other)
	for _, in := range []string{namespace, other} {
		for i := range half {
			testenv.Change(t, c.api, deployment(in, fmt.Sprintf("api-%d", i), "", 0), func(d *appsv1.Deployment) {
				d.Annotations = nil
			})
		}
	}
	for _, in := range []string{namespace, other} {
		c.awaitPlain(t, in, "", running)
		for i := range half {
			c.awaitReleased(t, deployment(in, fmt.Sprintf("api-%d", i), "", 0))
		}
	}
	for name, after := range c.generations(t, namespace, other) {
		if after != before[name]+2 { // A Deployment's annotations count as well.
			t.Errorf("%s went from generation %d to %d, want two changes", name, before[name], after)
		}
	}
}

// generations of the Deployments of namespaces, by NAMESPACE/NAME.
func (c *cluster) generations(t *testing.T, namespaces ...string) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	for _, namespace := range namespaces {
		list := &appsv1.DeploymentList{}
		if err := c.api.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			all[namespace+"/"+list.Items[i].Name] = list.Items[i].Generation
		}
	}
	return all
}

func (c *cluster) namespaceDeleted(t *testing.T) {
	namespace, first, second := c.namespace(t), c.emptyNamespace(t), c.emptyNamespace(t)
	stack := c.stack(t, namespace, admitting(obsv1.InjectionNamespaces{From: obsv1.NamespacesFromAll}))
	for _, in := range []string{first, second} {
		// What keeps a namespace from being gone at once gives obstack time to do harm.
		held := deployment(in, "held", namespace+"/shop", 1)
		held.Finalizers = []string{"example.com/held"}
		testenv.Create(t, c.api, held)
		testenv.Create(t, c.api, deployment(in, "api", namespace+"/shop", 1))
	}
	c.awaitWorkloads(t, stack, "4/4", 0)

	// One with workloads.
	testenv.Delete(t, c.api, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: first}})
	c.awaitWorkloads(t, stack, "2/2", 0)
	c.awaitGone(t, settings(stack, first))
	c.rotate(t, namespace)
	c.awaitSecret(t, stack, second, dsn(2))
	c.awaitReady(t, stack)
	c.awaitWorkloads(t, stack, "2/2", 0)
	c.wantAbsent(t, settings(stack, first))
	testenv.Change(t, c.api, deployment(first, "held", "", 1), func(d *appsv1.Deployment) { d.Finalizers = nil })
	c.awaitGone(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: first}})

	// And the stack's own.
	testenv.Delete(t, c.api, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	c.awaitGone(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	c.awaitEvent(t, second, "api", obsv1.ReasonStackNotFound, "create it")
	c.awaitInjected(t, stack, second, "api", 1)
	testenv.Change(t, c.api, deployment(second, "held", "", 1), func(d *appsv1.Deployment) { d.Finalizers = nil })
}

// namespacesDeletedInMidCopy deletes namespaces while the settings are written to them: some at
// their first copy, some at a rotation. Those that stay are served, and each once.
func (c *cluster) namespacesDeletedInMidCopy(t *testing.T) {
	namespace := c.namespace(t)
	stack := c.stack(t, namespace, admitting(obsv1.InjectionNamespaces{From: obsv1.NamespacesFromAll}),
		func(stack *obsv1.ObservabilityStack) { stack.Spec.Injection.RequireAll = true })
	var stay, leave []string
	remove := func(in string) {
		testenv.Delete(t, c.api, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: in}})
		leave = append(leave, in)
	}
	for i := range 16 {
		in := c.emptyNamespace(t)
		d := deployment(in, "api", namespace+"/shop", 1)
		if i%4 == 0 { // It keeps the namespace from being gone at once.
			d.Finalizers = []string{"example.com/held"}
		}
		testenv.Create(t, c.api, d)
		if i%2 == 0 {
			remove(in)
		} else {
			stay = append(stay, in)
		}
	}
	c.awaitWorkloads(t, stack, "8/8", 0)
	c.awaitReady(t, stack)
	c.rotate(t, namespace)
	for _, in := range stay[4:] {
		remove(in)
	}
	stay = stay[:4]
	c.awaitSecret(t, stack, namespace, dsn(2))
	c.awaitWorkloads(t, stack, "4/4", 0)
	c.awaitReady(t, stack)
	for _, in := range stay {
		c.awaitSecret(t, stack, in, dsn(2))
		c.awaitInjected(t, stack, in, "api", 1)
	}
	for _, in := range leave {
		c.awaitGone(t, settings(stack, in))
	}
}
