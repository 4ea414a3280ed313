// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// rollouts is what a watch on the Deployments of a namespace has seen.
type rollouts struct {
	// most is how many rolled at the same time, at most.
	most int
	// stamped is the resource version at which each configuration first was on a template.
	stamped map[string]uint64
	done    chan struct{}
	stop    func()
}

// watchRollouts looks at every change of the namespace's Deployments until end.
func (c *cluster) watchRollouts(t *testing.T, namespace string) *rollouts {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w, err := c.api.Watch(ctx, &appsv1.DeploymentList{}, client.InNamespace(namespace))
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	seen := &rollouts{stamped: map[string]uint64{}, done: make(chan struct{}), stop: cancel}
	go func() {
		defer close(seen.done)
		busy := map[string]bool{}
		for event := range w.ResultChan() {
			d, ok := event.Object.(*appsv1.Deployment)
			if !ok {
				if ctx.Err() == nil {
					t.Errorf("the watch ended: %v", event.Object)
				}
				return
			}
			delete(busy, d.Name)
			if !complete(d) {
				busy[d.Name] = true
			}
			seen.most = max(seen.most, len(busy))
			hash := d.Spec.Template.Annotations[obsv1.StampConfigHash]
			if _, ok := seen.stamped[hash]; !ok {
				seen.stamped[hash] = version(t, d)
			}
		}
	}()
	return seen
}

func (r *rollouts) end() {
	r.stop()
	<-r.done
}

// complete reports whether all Pods are of the newest template and available.
func complete(d *appsv1.Deployment) bool {
	status := &d.Status
	return status.ObservedGeneration >= d.Generation && status.UpdatedReplicas == *d.Spec.Replicas &&
		status.Replicas == status.UpdatedReplicas && status.AvailableReplicas == status.UpdatedReplicas
}

// awaitComplete waits until a Deployment has rolled out.
func (c *cluster) awaitComplete(t *testing.T, namespace, name string) {
	t.Helper()
	testenv.Poll(t, func(ctx context.Context) string {
		d := &appsv1.Deployment{}
		if err := c.api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, d); err != nil {
			return err.Error()
		}
		if !complete(d) {
			return fmt.Sprintf("Deployment %s of %s has not rolled out: %+v", name, namespace, d.Status)
		}
		return ""
	})
}

// version orders the changes of all objects.
func version(t *testing.T, obj client.Object) uint64 {
	t.Helper()
	number, err := strconv.ParseUint(obj.GetResourceVersion(), 10, 64)
	if err != nil {
		t.Errorf("resource version of %s: %v", obj.GetName(), err)
	}
	return number
}

func (c *cluster) rotation(t *testing.T) {
	namespace, other := c.namespace(t), c.emptyNamespace(t)
	stack := c.stack(t, namespace, admitting(obsv1.InjectionNamespaces{From: obsv1.NamespacesFromAll}),
		func(stack *obsv1.ObservabilityStack) {
			stack.Spec.Injection.Rollout = &obsv1.RolloutSpec{MaxConcurrent: 2}
			stack.Spec.Injection.RequireAll = true // Ready waits for the other namespace too.
		})
	var all []*appsv1.Deployment
	for i := range 6 {
		d := deployment(other, fmt.Sprintf("api-%d", i), namespace+"/shop", 2)
		d.Spec.MinReadySeconds = 1 // So that a rollout takes longer than obstack needs to start another.
		testenv.Create(t, c.api, d)
		all = append(all, d)
	}
	c.awaitWorkloads(t, stack, "6/6", 0)
	for _, d := range all {
		c.awaitComplete(t, other, d.Name)
	}
	c.awaitReady(t, stack)
	before, generations := stack.Status.ConfigHash, c.generations(t, other)

	seen := c.watchRollouts(t, other)
	c.rotate(t, namespace)
	c.awaitCondition(t, stack, obsv1.Ready, obsv1.ReasonRollingOut)
	c.awaitReady(t, stack)
	seen.end()

	if stack.Status.ConfigHash == before {
		t.Error("the configuration's hash is the old one")
	}
	if seen.most != 2 {
		t.Errorf("%d Deployments rolled at the same time, want 2", seen.most)
	}
	for _, d := range all {
		c.awaitInjected(t, stack, other, d.Name, 2)
		c.wantGeneration(t, d, generations[other+"/"+d.Name]+1)
	}
	// Whoever is rolled for a configuration finds it in the Secret.
	for _, in := range []string{namespace, other} {
		secret := c.awaitSecret(t, stack, in, dsn(2))
		if first := seen.stamped[stack.Status.ConfigHash]; version(t, secret) > first {
			t.Errorf("Secret of %s changed at %s, after the first rollout at %d", in, secret.ResourceVersion, first)
		}
	}
}

func (c *cluster) manualPolicy(t *testing.T) {
	namespace := c.namespace(t)
	older := deployment(namespace, "older", "shop", 1)
	testenv.Create(t, c.api, older)
	c.awaitEvent(t, namespace, "older", obsv1.ReasonStackNotFound, "create it")
	stack := c.stackNotReady(t, namespace, rolling(obsv1.RolloutSpec{Policy: obsv1.RolloutManual}))
	c.awaitCondition(t, stack, obsv1.InjectionReady, obsv1.ReasonRolloutRequired)
	c.awaitKnown(t, stack)
	newer := deployment(namespace, "newer", "shop", 2)
	testenv.Create(t, c.api, newer)
	c.awaitInjected(t, stack, namespace, "newer", 2)
	c.awaitWorkloads(t, stack, "1/2", 0)
	c.restart(t, older)
	c.awaitWorkloads(t, stack, "2/2", 0)
	c.awaitReady(t, stack)
	old := stack.Status.ConfigHash

	c.rotate(t, namespace)
	c.awaitWorkloads(t, stack, "0/2", 0)
	c.awaitCondition(t, stack, obsv1.Ready, obsv1.ReasonRolloutRequired)
	if stack.Status.ConfigHash == old {
		t.Error("the configuration's hash is the old one")
	}
	c.awaitSecret(t, stack, namespace, dsn(2))
	c.wantGeneration(t, older, 2)
	c.wantGeneration(t, newer, 1)
	c.awaitPods(t, namespace, "newer", 2, func(pod *corev1.Pod) string {
		if got := pod.Annotations[obsv1.MarkInjected]; got != old {
			return "has the mark " + got + ", though nobody rolled it"
		}
		return ""
	})

	c.restart(t, newer)
	c.awaitInjected(t, stack, namespace, "newer", 2)
	c.awaitWorkloads(t, stack, "1/2", 0)
	c.restart(t, older)
	c.awaitReady(t, stack)
	c.awaitWorkloads(t, stack, "2/2", 0)
	// The owners' restarts are all that changed anything.
	c.wantGeneration(t, older, 3)
	c.wantGeneration(t, newer, 2)
}

// rollbackBringsTheTemplate of an earlier release, with the settings of now, in one rollout.
func (c *cluster) rollbackBringsTheTemplate(t *testing.T) {
	namespace := c.namespace(t)
	stack, d := c.stack(t, namespace), deployment(namespace, "api", "shop", 1)
	testenv.Create(t, c.api, d)
	c.awaitInjected(t, stack, namespace, "api", 1)
	before := d.Spec.Template.Spec.Containers[0].Image
	testenv.Change(t, c.api, d, func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Image = "example.com/shop:1.5.0"
	})
	c.awaitComplete(t, namespace, "api")
	c.rotate(t, namespace)
	c.awaitSecret(t, stack, namespace, dsn(2))
	c.awaitWorkloads(t, stack, "1/1", 0)
	c.awaitReady(t, stack)
	c.awaitKnown(t, stack)
	c.wantGeneration(t, d, 3)

	c.kubectl(t, "", "rollout", "undo", "deployment/api", "--to-revision=1", "--namespace", namespace)
	c.awaitComplete(t, namespace, "api")
	c.awaitReady(t, stack)
	c.awaitInjected(t, stack, namespace, "api", 1)
	c.awaitWorkloads(t, stack, "1/1", 0)
	c.wantGeneration(t, d, 4)
	template := templateOf(t, d)
	if got := template.Spec.Containers[0].Image; got != before {
		t.Errorf("the image is %s, want %s as before", got, before)
	}
	if got := template.Labels[obsv1.StampVersion]; got != stack.Status.ConfigHash {
		t.Errorf("the template names the settings %s, want %s", got, stack.Status.ConfigHash)
	}
}

// restart a Deployment as its owner does. It waits for the next second, because kubectl notes no
// more of the time and refuses a second restart within it.
func (c *cluster) restart(t *testing.T, d *appsv1.Deployment) {
	t.Helper()
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
	c.kubectl(t, "", "rollout", "restart", "deployment/"+d.Name, "--namespace", d.Namespace)
}
