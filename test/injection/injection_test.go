// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// TestInjection shares a control plane and an operator, because starting them takes seconds.
func TestInjection(t *testing.T) {
	c := start(t)
	c.operate(t, "operator")
	t.Run("a new workload needs no second rollout", c.newWorkload)
	t.Run("a workload older than its stack is rolled once", c.olderWorkload)
	t.Run("a rotated DSN reaches every Pod", c.rotation)
}

func (c *cluster) newWorkload(t *testing.T) {
	namespace := c.namespace(t, nil)
	stack := c.stack(t, namespace)
	d := deployment(namespace, "api", "shop", 2)
	c.create(t, d)
	c.awaitPods(t, stack, namespace, 2)
	c.awaitWorkloads(t, stack, "1/1", 0)
	if d.Generation != 1 {
		t.Errorf("generation %d, want 1", d.Generation)
	}
	c.wantGeneration(t, d, 1)
}

func (c *cluster) olderWorkload(t *testing.T) {
	namespace := c.namespace(t, nil)
	d := deployment(namespace, "api", "shop", 2)
	c.create(t, d)
	c.awaitEvent(t, namespace, "api", obsv1.ReasonStackNotFound, "create it")
	stack := c.stack(t, namespace)
	c.awaitPods(t, stack, namespace, 2)
	c.awaitWorkloads(t, stack, "1/1", 0)
	c.wantGeneration(t, d, 2)
}

func (c *cluster) rotation(t *testing.T) {
	namespace := c.namespace(t, nil)
	stack := c.stack(t, namespace, func(spec *obsv1.ObservabilityStackSpec) {
		spec.Injection = &obsv1.InjectionSpec{Rollout: &obsv1.RolloutSpec{MaxConcurrent: 1}}
	})
	for _, name := range []string{"api", "web", "worker"} {
		c.create(t, deployment(namespace, name, "shop", 1))
	}
	c.awaitWorkloads(t, stack, "3/3", 0)
	before := stack.Status.ConfigHash
	secret := &corev1.Secret{}
	secret.Namespace, secret.Name = namespace, "shop-sentry"
	change(t, c, secret, func(s *corev1.Secret) { s.Data["dsn"] = []byte(dsn(2)) })
	c.awaitCondition(t, stack, obsv1.Ready, obsv1.ReasonRollingOut)
	c.awaitReady(t, stack)
	if stack.Status.ConfigHash == before {
		t.Error("the configuration's hash is the old one")
	}
	c.awaitPods(t, stack, namespace, 3)
}
