// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// newStack is small and has every part, so that one stack takes several writes.
// It asks for what childrenOf lists.
func newStack(namespace, name string) *obsv1.ObservabilityStack {
	return &obsv1.ObservabilityStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: obsv1.ObservabilityStackSpec{
			Environment: "production",
			Metrics: &obsv1.MetricsSpec{
				Monitors: []obsv1.Monitor{monitor("api")},
				Labels:   map[string]obsv1.LabelValue{"release": "prometheus"},
			},
			Tasks: &obsv1.TasksSpec{Brokers: []obsv1.Broker{{
				Name:    "main",
				URLFrom: &obsv1.SecretKeySource{SecretKeyRef: obsv1.SecretKeySelector{Name: brokerSecret, Key: "url"}},
			}}},
			Dashboards: &obsv1.DashboardsSpec{Folder: "Shop"},
			Alerts:     &obsv1.AlertsSpec{},
		},
	}
}

func monitor(name string) obsv1.Monitor {
	return obsv1.Monitor{Name: name, Selector: metav1.LabelSelector{MatchLabels: shopLabels}}
}

// brokerSecret is in each namespace.
const brokerSecret = "redis"

// childrenOf a stack, as its spec asks.
func childrenOf(stack *obsv1.ObservabilityStack) []string {
	name := stack.Name
	children := []string{
		"Secret/" + obsv1.SettingsName(stack.Namespace, name, stack.Status.ConfigHash),
		"ConfigMap/" + name + "-dashboard-overview",
		"ConfigMap/" + name + "-dashboard-http-fastapi", "ConfigMap/" + name + "-dashboard-tasks",
		"Secret/obstack." + name + "-tasks-main", "Deployment/" + name + "-tasks-main",
		"Service/" + name + "-tasks-main", "ServiceMonitor/" + name + "-tasks-main",
	}
	for _, m := range stack.Spec.Metrics.Monitors {
		children = append(children, "ServiceMonitor/"+name+"-"+m.Name)
	}
	if stack.Spec.Alerts != nil {
		children = append(children, "PrometheusRule/"+name+"-alerts")
	}
	return children
}

// shopService is in each namespace, and all monitors select it by shopLabels.
const shopService = "shop"

var shopLabels = map[string]string{"app": "shop"}

// namespace makes a namespace with the Secret that the stacks refer to, and the Service.
func (p *plane) namespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "faults-"}}
	testenv.Create(t, p.api, ns)
	testenv.Create(t, p.api, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: brokerSecret},
		Data:       map[string][]byte{"url": []byte("redis://:hunter2@redis:6379/0")},
	})
	testenv.Create(t, p.api, testenv.Service(ns.Name, shopService, shopLabels, "http"))
	// Another test's operator must find none of this one's stacks.
	t.Cleanup(func() { p.wipe(t, ns.Name) })
	return ns.Name
}

// change edits a stack's spec.
func (p *plane) change(ctx context.Context, stack *obsv1.ObservabilityStack,
	edit func(*obsv1.ObservabilityStackSpec)) error {
	before := stack.DeepCopy()
	edit(&stack.Spec)
	return p.api.Patch(ctx, stack, client.MergeFrom(before))
}

// converged waits until the operator has nothing left to do for the stacks of a
// namespace: Deployments are still rolling out, as there is no node to run them.
func (p *plane) converged(t *testing.T, op *testenv.Operator, namespace string) {
	t.Helper()
	testenv.Poll(t, func(ctx context.Context) string {
		if behind := p.behind(ctx, namespace); behind != "" {
			return behind
		}
		return busy(ctx, op)
	})
}

// behind names what the status of the namespace's stacks lacks.
func (p *plane) behind(ctx context.Context, namespace string) string {
	stacks := &obsv1.ObservabilityStackList{}
	if err := p.api.List(ctx, stacks, client.InNamespace(namespace)); err != nil {
		return err.Error()
	}
	var n int
	var first string
	for _, stack := range stacks.Items {
		condition := meta.FindStatusCondition(stack.Status.Conditions, obsv1.Ready)
		if condition == nil ||
			condition.ObservedGeneration != stack.Generation || condition.Reason != obsv1.ReasonRollingOut {
			if n++; n == 1 {
				first = fmt.Sprintf("%s is at generation %d, its condition is %+v", stack.Name, stack.Generation, condition)
			}
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d stacks have not converged; the first: %s", n, len(stacks.Items), first)
}

// busy says what an operator is still doing.
func busy(ctx context.Context, op *testenv.Operator) string {
	samples, err := op.Metrics(ctx)
	if err != nil {
		return err.Error()
	}
	if samples.Passes() == 0 || !samples.Idle() {
		return fmt.Sprintf("the operator is busy after %.0f passes", samples.Passes())
	}
	return ""
}
