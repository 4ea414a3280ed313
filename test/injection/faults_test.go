// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// awaitWebhooks waits until the API server reaches the webhooks, or until it does not.
func (c *cluster) awaitWebhooks(t *testing.T, namespace string, reached bool) {
	t.Helper()
	testenv.Poll(t, func(ctx context.Context) string {
		d := deployment(namespace, "probe", "", 1)
		d.Annotations = map[string]string{obsv1.Probe: "asked"}
		if err := c.api.Create(ctx, d, client.DryRunAll); err != nil {
			return err.Error()
		}
		if got := d.Annotations[obsv1.Probe] == obsv1.ProbeReached; got != reached {
			return fmt.Sprintf("that the API server reaches the webhooks is %t, want %t", got, reached)
		}
		return ""
	})
}

// started says why a Pod does not run.
func started(pod *corev1.Pod) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
			return ""
		}
	}
	return "is not ready, but " + string(pod.Status.Phase)
}

func (c *cluster) webhookDown(t *testing.T) {
	namespace := c.namespace(t)
	stack := c.stack(t, namespace)
	var known []*appsv1.Deployment
	for i := range 4 {
		d := deployment(namespace, fmt.Sprintf("known-%d", i), "shop", 0)
		testenv.Create(t, c.api, d)
		known = append(known, d)
	}
	c.awaitWorkloads(t, stack, "4/4", 0)

	if err := c.webhooks.Break(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // For the next test, if this one fails before it has restored them.
		if err := c.webhooks.Repair(context.Background()); err != nil {
			t.Error(err)
		}
	})
	c.awaitWebhooks(t, namespace, false)
	for _, d := range known {
		testenv.Change(t, c.api, d, func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(10)) })
	}
	unknown := deployment(namespace, "unknown", "shop", 10)
	testenv.Create(t, c.api, unknown)
	c.awaitPods(t, namespace, "", 50, started)
	c.awaitPods(t, namespace, "", 50, hasSettings)
	c.awaitWorkloads(t, stack, "0/5", 0)
	c.awaitCondition(t, stack, obsv1.InjectionReady, obsv1.ReasonWebhookUnavailable)
	// Rolling now would inject nothing.
	for _, d := range known {
		c.wantGeneration(t, d, 2)
	}
	c.wantGeneration(t, unknown, 1)

	if err := c.webhooks.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.awaitWebhooks(t, namespace, true)
	c.awaitInjected(t, stack, namespace, "", 50)
	c.awaitWorkloads(t, stack, "5/5", 0)
	c.awaitReady(t, stack)
	for _, d := range known {
		c.wantGeneration(t, d, 3) // Made, scaled, rolled once.
	}
	c.wantGeneration(t, unknown, 2)
}

// webhookDownInRotation changes the settings while nobody responds for the webhooks: until somebody
// does, nothing is rolled, and then everything once.
func (c *cluster) webhookDownInRotation(t *testing.T) {
	namespace := c.namespace(t)
	stack := c.stack(t, namespace)
	all := workloads(namespace, "shop")
	for obj := range all {
		testenv.Create(t, c.api, obj)
	}
	restarted := deployment(namespace, "restarted", "shop", 2)
	testenv.Create(t, c.api, restarted)
	c.awaitWorkloads(t, stack, "5/5", 0)
	c.awaitReady(t, stack)
	before := c.revisions(t, namespace)

	if err := c.webhooks.Break(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.webhooks.Repair(context.Background()); err != nil {
			t.Error(err)
		}
	})
	c.awaitWebhooks(t, namespace, false)
	c.rotate(t, namespace)
	c.awaitSecret(t, stack, namespace, dsn(2))
	c.awaitCondition(t, stack, obsv1.InjectionReady, obsv1.ReasonWebhookUnavailable)
	before["Deployment/restarted"]++
	c.restart(t, restarted)
	c.awaitComplete(t, namespace, "restarted")
	c.awaitPods(t, namespace, "restarted", 2, hasSettings)
	if diff := cmp.Diff(before, c.revisions(t, namespace)); diff != "" {
		t.Errorf("templates while the webhook is away (-want +got):\n%s", diff)
	}

	if err := c.webhooks.Repair(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.awaitWebhooks(t, namespace, true)
	c.awaitWorkloads(t, stack, "5/5", 0)
	c.awaitReady(t, stack)
	for key, got := range c.revisions(t, namespace) {
		if want := before[key] + 1; got != want {
			t.Errorf("%s has had %d templates, want %d", key, got, want)
		}
	}
}

// operatorDown rolls workloads while nobody reconciles and no webhook responds. Policies inject all
// the same.
func (c *cluster) operatorDown(t *testing.T) {
	namespace, other := c.namespace(t), c.namespace(t)
	stack, dropped := c.stack(t, namespace), c.stack(t, other,
		admitting(obsv1.InjectionNamespaces{From: obsv1.NamespacesFromAll}))
	idle, restarted, gone := deployment(namespace, "idle", "shop", 3), deployment(namespace, "restarted", "shop",
		3), deployment(namespace, "gone", "shop", 1)
	freed, orphan := deployment(namespace, "freed", "shop", 1), deployment(namespace, "orphan", other+"/shop", 1)
	for _, d := range []*appsv1.Deployment{idle, restarted, gone, freed, orphan} {
		testenv.Create(t, c.api, d)
	}
	c.awaitWorkloads(t, stack, "4/4", 0)
	c.awaitWorkloads(t, dropped, "1/1", 0)
	c.awaitSecret(t, dropped, namespace, dsn(1))
	before := c.generations(t, namespace)

	if err := c.operator.Stop(); err != nil {
		t.Fatal(err)
	}
	c.rotate(t, namespace)
	c.restart(t, restarted)
	fresh := deployment(namespace, "fresh", "shop", 3)
	testenv.Create(t, c.api, fresh)
	testenv.Change(t, c.api, freed, func(d *appsv1.Deployment) { d.Annotations = nil })
	testenv.Delete(t, c.api, gone)
	testenv.Delete(t, c.api, dropped)
	c.awaitComplete(t, namespace, "restarted")
	c.awaitComplete(t, namespace, "fresh")
	for _, name := range []string{"restarted", "fresh"} {
		c.awaitPods(t, namespace, name, 3, started)
		if c.webhooks == nil {
			c.awaitInjected(t, stack, namespace, name, 3)
		} else {
			c.awaitPods(t, namespace, name, 3, hasSettings)
		}
	}

	c.startOperator(t)
	c.awaitWorkloads(t, stack, "3/3", 0)
	for _, name := range []string{"idle", "restarted", "fresh"} {
		c.awaitInjected(t, stack, namespace, name, 3)
	}
	c.awaitSecret(t, stack, namespace, dsn(2))
	c.awaitReady(t, stack)
	c.awaitPlain(t, namespace, "freed", 1)
	c.awaitInjected(t, dropped, namespace, "orphan", 1) // Its stack is gone, and it keeps what it has.
	after := c.generations(t, namespace)
	for name, changes := range map[string]int64{
		"idle": 1, "restarted": 2, "freed": 2, "orphan": 0, // Of those, the owners made one each of the second and the third.
	} {
		name = namespace + "/" + name
		if got := after[name] - before[name]; got != changes {
			t.Errorf("%s was changed %d times, want %d", name, got, changes)
		}
	}
	if got := after[namespace+"/fresh"]; got != 2 {
		t.Errorf("generation of fresh = %d, want 2", got)
	}
}
