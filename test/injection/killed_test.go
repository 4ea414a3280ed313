// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

const (
	killedWorkloads = 200
	kills           = 20
	// earlyKills are the first kills, which come at any moment of an operator's start.
	earlyKills = 4
	// seed of the moments of the kills.
	seed = 20261126
)

// operatorsKilled kills one operator after the other while a new DSN is rolled out, and compares
// what is left at the end with workloads that nobody disturbed. Another replica, which never
// leads, serves the webhooks all the time.
func (c *cluster) operatorsKilled(t *testing.T) {
	fast := rolling(obsv1.RolloutSpec{MaxConcurrent: 20})
	calm, namespace := c.namespace(t), c.namespace(t)
	undisturbed, stack := c.stack(t, calm, fast), c.stack(t, namespace, fast)
	testenv.Create(t, c.api, deployment(calm, "api-0", "shop", 1))
	for i := range killedWorkloads {
		testenv.Create(t, c.api, deployment(namespace, fmt.Sprintf("api-%d", i), "shop", 1))
	}
	c.awaitWorkloads(t, stack, "200/200", 0)
	c.awaitReady(t, stack)
	c.rotate(t, calm)
	c.awaitSecret(t, undisturbed, calm, dsn(2))
	c.awaitReady(t, undisturbed)
	want := c.outcomes(t, undisturbed)["api-0"]

	if err := c.operator.Stop(); err != nil {
		t.Fatal(err)
	}
	standby := c.standby(t)
	old := stack.Status.ConfigHash
	c.rotate(t, namespace)
	c.kill(t, namespace, old)
	if n := c.stamped(t, namespace, old); n == killedWorkloads {
		t.Error("the last kill came after the rotation, want it before")
	}
	last := c.victim(t, "last")
	c.awaitSecret(t, stack, namespace, dsn(2))
	c.awaitWorkloads(t, stack, "200/200", 0)
	c.awaitReady(t, stack)
	c.awaitInjected(t, stack, namespace, "", killedWorkloads)
	for name, got := range c.outcomes(t, stack) {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("Deployment %s (-undisturbed +disturbed):\n%s", name, diff)
		}
	}
	for key, n := range c.revisions(t, namespace) {
		if n != 2 {
			t.Errorf("%s has had %d templates, want 2", key, n)
		}
	}
	if diff := cmp.Diff(c.versions(t, undisturbed), c.versions(t, stack)); diff != "" {
		t.Errorf("versions of the settings (-undisturbed +disturbed):\n%s", diff)
	}
	// Not before: a Pod that is made while nobody serves the webhooks needs a retry.
	for _, op := range []*testenv.Operator{last, standby} {
		if err := op.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	c.startOperator(t)
}

// victim starts an operator that leads at once, and whose webhooks nobody calls.
func (c *cluster) victim(t *testing.T, name string) *testenv.Operator {
	t.Helper()
	return c.run(t, name, c.flagsBeside(t)...)
}

// kill operators, most of them in the middle of the rotation: each after some more workloads
// have been given the new settings.
func (c *cluster) kill(t *testing.T, namespace, old string) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, seed))
	for round := range kills {
		victim := c.victim(t, "victim")
		if round < earlyKills {
			time.Sleep(time.Duration(random.Int64N(int64(time.Second))))
		} else {
			share := killedWorkloads / (kills - earlyKills)
			enough := min(killedWorkloads-1, (round-earlyKills)*share+1+random.IntN(share))
			testenv.Poll(t, func(context.Context) string {
				if n := c.stamped(t, namespace, old); n < enough {
					return fmt.Sprintf("%d workloads have the new settings, want %d", n, enough)
				}
				return ""
			})
		}
		if err := victim.Kill(); err != nil {
			t.Fatal(err)
		}
	}
}

// standby starts a replica that waits for a lease which nobody gives up.
func (c *cluster) standby(t *testing.T) *testenv.Operator {
	t.Helper()
	namespace, now := c.emptyNamespace(t), metav1.NowMicro()
	testenv.Create(t, c.api, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "obstack.obstack.dev"},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new("somebody"), LeaseDurationSeconds: new(int32(3600)), AcquireTime: &now, RenewTime: &now,
		},
	})
	flags := append(c.flags(), "--leader-elect", "--leader-election-namespace="+namespace)
	standby := c.run(t, "standby", flags...)
	if err := standby.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.webhooks != nil {
		c.awaitWebhooks(t, namespace, true)
	}
	return standby
}

// run starts another operator, which is stopped when the test ends.
func (c *cluster) run(t *testing.T, name string, flags ...string) *testenv.Operator {
	t.Helper()
	op, err := testenv.StartOperator(c.ControlPlane, c.binary, name, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := op.Stop(); err != nil {
			t.Error(err)
		}
	})
	return op
}

// stamped counts the Deployments of a namespace with other settings than the old ones.
func (c *cluster) stamped(t *testing.T, namespace, old string) (n int) {
	t.Helper()
	list := &appsv1.DeploymentList{}
	if err := c.api.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		if list.Items[i].Spec.Template.Labels[obsv1.StampVersion] != old {
			n++
		}
	}
	return n
}

// outcomes are the annotations and templates of the Deployments that a stack has in its namespace,
// without what differs between any two.
func (c *cluster) outcomes(t *testing.T, stack *obsv1.ObservabilityStack) map[string]string {
	t.Helper()
	list, all := &appsv1.DeploymentList{}, map[string]string{}
	if err := c.api.List(t.Context(), list, client.InNamespace(stack.Namespace)); err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		d := &list.Items[i]
		var record map[string]any
		if err := json.Unmarshal([]byte(d.Annotations[obsv1.AnnotationRecord]), &record); err != nil {
			t.Fatalf("record of %s: %v", d.Name, err)
		}
		delete(record, "at")
		delete(d.Annotations, obsv1.AnnotationRecord)
		content, err := json.MarshalIndent([]any{record, d.Annotations, d.Spec.Template}, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		names := []string{stack.Status.ConfigHash, "HASH", stack.Namespace, "NAMESPACE", `"` + d.Name + `"`, "NAME"}
		all[d.Name] = strings.NewReplacer(names...).Replace(string(content))
	}
	return all
}

// versions are the DSNs in the versions of a stack's settings, and whether each is the current one.
func (c *cluster) versions(t *testing.T, stack *obsv1.ObservabilityStack) map[string]bool {
	t.Helper()
	list, all := &corev1.SecretList{}, map[string]bool{}
	err := c.api.List(t.Context(), list, client.InNamespace(stack.Namespace), client.HasLabels{obsv1.StampVersion})
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range list.Items {
		dsn := string(version.Data["SENTRY_DSN"])
		if _, twice := all[dsn]; twice {
			t.Errorf("two versions have the DSN %s", dsn)
		}
		all[dsn] = version.Labels[obsv1.StampVersion] == stack.Status.ConfigHash
	}
	return all
}

// revisions counts the templates that the workloads of a namespace have had, of which each has
// a ReplicaSet or a ControllerRevision.
func (c *cluster) revisions(t *testing.T, namespace string) map[string]int {
	t.Helper()
	sets, revisions, all := &appsv1.ReplicaSetList{}, &appsv1.ControllerRevisionList{}, map[string]int{}
	for _, list := range []client.ObjectList{sets, revisions} {
		if err := c.api.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
	}
	count := func(obj client.Object) {
		if owner := metav1.GetControllerOf(obj); owner != nil {
			all[owner.Kind+"/"+owner.Name]++
		}
	}
	for i := range sets.Items {
		count(&sets.Items[i])
	}
	for i := range revisions.Items {
		count(&revisions.Items[i])
	}
	return all
}
