// SPDX-License-Identifier: Apache-2.0

// Package injection tests injection where Pods are made from templates and
// rollouts finish: on a control plane with a controller manager, a scheduler and
// simulated nodes, with the operator as a process of its own.
package injection

import (
	"fmt"
	"os"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// nodes is how many there are, and so how many Pods a DaemonSet has.
const nodes = 2

// cluster is a control plane on which the operator runs.
type cluster struct {
	*testenv.ControlPlane
	api client.WithWatch
	// webhooks inject; nil where policies do.
	webhooks *testenv.Webhooks
	binary   string
	operator *testenv.Operator
}

func start(t *testing.T) *cluster {
	t.Helper()
	plane, api := testenv.Start(t, testenv.Options{Nodes: nodes, Kubectl: true, Log: os.Stderr})
	c := &cluster{ControlPlane: plane, api: api}
	var err error
	if c.binary, err = testenv.BuildOperator(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return c
}

// flags of an operator whose Pods are injected by whom the cluster has.
func (c *cluster) flags() []string {
	if c.webhooks == nil {
		return []string{"--injection-policy=pods"}
	}
	return c.webhooks.Flags()
}

// flagsBeside are those of one beside another operator, whose webhooks nobody calls.
func (c *cluster) flagsBeside(t *testing.T) []string {
	t.Helper()
	if c.webhooks == nil {
		return c.flags()
	}
	return append(c.flags(), "--webhook-bind-address="+testenv.FreeAddress(t))
}

// startOperator starts the operator and waits until it responds.
func (c *cluster) startOperator(t *testing.T) {
	t.Helper()
	var err error
	if c.operator, err = testenv.StartOperator(c.ControlPlane, c.binary, "operator", c.flags()...); err != nil {
		t.Fatal(err)
	}
	if err := c.operator.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// dsn of a project; the number is what they differ in.
func dsn(project int) string { return fmt.Sprintf("https://0123abcd@sentry.shop.example/%d", project) }

// namespace makes a namespace with the Secret of a DSN.
func (c *cluster) namespace(t *testing.T) string {
	t.Helper()
	namespace := c.emptyNamespace(t)
	testenv.Create(t, c.api, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop-sentry"},
		StringData: map[string]string{"dsn": dsn(1)},
	})
	return namespace
}

// emptyNamespace makes a namespace, of another team for example.
func (c *cluster) emptyNamespace(t *testing.T) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "shop-"}}
	testenv.Create(t, c.api, ns)
	return ns.Name
}

// rotate gives the stacks of a namespace another DSN.
func (c *cluster) rotate(t *testing.T, namespace string) {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop-sentry"}}
	testenv.Change(t, c.api, secret, func(s *corev1.Secret) { s.Data = map[string][]byte{"dsn": []byte(dsn(2))} })
}

// stack makes the stack "shop" of a namespace and waits until it is ready.
func (c *cluster) stack(t *testing.T, namespace string,
	edit ...func(*obsv1.ObservabilityStack)) *obsv1.ObservabilityStack {
	t.Helper()
	stack := c.stackNotReady(t, namespace, edit...)
	c.awaitReady(t, stack)
	c.awaitKnown(t, stack)
	return stack
}

// stackNotReady makes the stack "shop" of a namespace.
func (c *cluster) stackNotReady(t *testing.T, namespace string,
	edit ...func(*obsv1.ObservabilityStack)) *obsv1.ObservabilityStack {
	t.Helper()
	stack := &obsv1.ObservabilityStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop"},
		Spec: obsv1.ObservabilityStackSpec{
			Environment: "production",
			Sentry: &obsv1.SentrySpec{
				DSNFrom: &obsv1.SecretKeySource{SecretKeyRef: obsv1.SecretKeySelector{Name: "shop-sentry", Key: "dsn"}},
			},
		},
	}
	for _, f := range edit {
		f(stack)
	}
	testenv.Create(t, c.api, stack)
	return stack
}

// named gives a stack another name.
func named(name string) func(*obsv1.ObservabilityStack) {
	return func(stack *obsv1.ObservabilityStack) { stack.Name = name }
}

// admitting lets a stack give its settings to workloads of other namespaces.
func admitting(from obsv1.InjectionNamespaces) func(*obsv1.ObservabilityStack) {
	return func(stack *obsv1.ObservabilityStack) { stack.Spec.Injection = &obsv1.InjectionSpec{Namespaces: &from} }
}

// rolling sets how a stack rolls its workloads.
func rolling(rollout obsv1.RolloutSpec) func(*obsv1.ObservabilityStack) {
	return func(stack *obsv1.ObservabilityStack) { stack.Spec.Injection = &obsv1.InjectionSpec{Rollout: &rollout} }
}

// objectMeta of a workload with the stack's annotation, if one is named.
func objectMeta(namespace, name, stack string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Namespace: namespace, Name: name}
	if stack != "" {
		m.Annotations = map[string]string{obsv1.AnnotationStack: stack}
	}
	return m
}

// template of Pods with the label app, with one container named api.
func template(app string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{container("api")}},
	}
}

func container(name string) corev1.Container {
	return corev1.Container{Name: name, Image: "example.com/shop:1.4.2"}
}

// deployment of that many Pods.
func deployment(namespace, name, stack string, replicas int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: objectMeta(namespace, name, stack),
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: template(name),
		},
	}
}
