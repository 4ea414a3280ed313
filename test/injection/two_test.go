// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// twoOperators has two of them work at the same time, because somebody installed obstack twice or
// without leader election: nothing is restarted twice, and in the end both have nothing to do.
func (c *cluster) twoOperators(t *testing.T) {
	second := c.run(t, "second", c.flagsBeside(t)...)
	if err := second.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	namespace, other := c.namespace(t), c.emptyNamespace(t)
	older := map[string]int{}
	for i := range 20 {
		name := fmt.Sprintf("api-%d", i)
		testenv.Create(t, c.api, deployment(other, name, namespace+"/shop", 1))
		older["Deployment/"+name] = 1
	}
	for name := range older {
		c.awaitEvent(t, other, name[len("Deployment/"):], obsv1.ReasonStackNotFound, "create it")
	}
	wantOneMore := func(what string) {
		t.Helper()
		for key := range older {
			older[key]++
		}
		if diff := cmp.Diff(older, c.revisions(t, other)); diff != "" {
			t.Errorf("templates after %s (-want +got):\n%s", what, diff)
		}
	}
	stack := c.stack(t, namespace, admitting(obsv1.InjectionNamespaces{From: obsv1.NamespacesFromAll}),
		func(stack *obsv1.ObservabilityStack) { stack.Spec.Injection.RequireAll = true })
	settled := func(dsn, summary string) {
		t.Helper()
		c.awaitSecret(t, stack, other, dsn)
		c.awaitWorkloads(t, stack, summary, 0)
		c.awaitReady(t, stack)
		c.awaitPeace(t, namespace, other, c.operator, second)
	}
	settled(dsn(1), "20/20")
	wantOneMore("the stack was made")

	c.rotate(t, namespace)
	settled(dsn(2), "20/20")
	wantOneMore("the rotation")

	for i := range 20 {
		testenv.Change(t, c.api, deployment(other, fmt.Sprintf("api-%d", i), "", 0), func(d *appsv1.Deployment) {
			delete(d.Annotations, obsv1.AnnotationStack)
		})
	}
	c.awaitPlain(t, other, "", 20)
	c.awaitPeace(t, namespace, other, c.operator, second)
	// A template that was there before is no new one.
	if diff := cmp.Diff(older, c.revisions(t, other)); diff != "" {
		t.Errorf("templates after the release (-want +got):\n%s", diff)
	}
}

// awaitPeace waits until operators have nothing to do and write nothing, which two that fight
// never do.
func (c *cluster) awaitPeace(t *testing.T, namespace, other string, ops ...*testenv.Operator) {
	t.Helper()
	testenv.Poll(t, func(ctx context.Context) string {
		for _, op := range ops {
			if samples, err := op.Metrics(ctx); err != nil || !samples.Idle() {
				return fmt.Sprintf("%s is busy: %v", op.Name, err)
			}
		}
		before := c.resourceVersions(t, namespace, other)
		time.Sleep(2 * time.Second) // There is nothing to wait for.
		return cmp.Diff(before, c.resourceVersions(t, namespace, other))
	})
}

// resourceVersions of what operators write in namespaces, but for Pods and events.
func (c *cluster) resourceVersions(t *testing.T, namespaces ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, namespace := range namespaces {
		stacks, secrets, deployments := &obsv1.ObservabilityStackList{}, &corev1.SecretList{}, &appsv1.DeploymentList{}
		for _, list := range []client.ObjectList{stacks, secrets, deployments} {
			if err := c.api.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range stacks.Items {
			all["stack "+stacks.Items[i].Name] = stacks.Items[i].ResourceVersion
		}
		for i := range secrets.Items {
			all["Secret "+namespace+"/"+secrets.Items[i].Name] = secrets.Items[i].ResourceVersion
		}
		for i := range deployments.Items {
			all["Deployment "+deployments.Items[i].Name] = deployments.Items[i].ResourceVersion
		}
	}
	return all
}
