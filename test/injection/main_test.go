// SPDX-License-Identifier: Apache-2.0

// Package injection tests injection where Pods are made from templates and
// rollouts finish: on a control plane with a controller manager, a scheduler and
// simulated nodes, with the operator as a process of its own.
package injection

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/controlplane"
	"obstack.dev/obstack/test/operator"
)

// patience is how long the tests wait for what takes seconds on an idle machine.
const patience = 2 * time.Minute

// cluster is a control plane on which the operator runs and its webhooks are registered.
type cluster struct {
	*controlplane.ControlPlane
	api      client.Client
	webhooks *operator.Webhooks
	binary   string
}

func start(t *testing.T) *cluster {
	t.Helper()
	ctrl.SetLogger(logr.Discard()) // Otherwise controller-runtime complains that nobody did.
	plane, err := controlplane.Start(t.Context(), controlplane.Options{Nodes: 2, Log: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(obsv1.AddToScheme(scheme))
	c := &cluster{ControlPlane: plane}
	if c.api, err = client.New(plane.Config, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	if c.binary, err = operator.Build(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if c.webhooks, err = operator.RegisterWebhooks(plane); err != nil {
		t.Fatal(err)
	}
	return c
}

// operate starts the operator, which is stopped when the test ends.
func (c *cluster) operate(t *testing.T, name string) *operator.Operator {
	t.Helper()
	op, err := operator.Start(c.ControlPlane, c.binary, name, c.webhooks.Flags()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the operator's log:\n%s", op.Tail())
		}
		if err := op.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := op.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return op
}

// dsn of a project; the number tells one from another.
func dsn(project int) string { return fmt.Sprintf("https://0123abcd@sentry.shop.example/%d", project) }

// namespace makes a namespace with the Secret of a DSN.
func (c *cluster) namespace(t *testing.T, labels map[string]string) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "shop-", Labels: labels}}
	c.create(t, ns)
	c.create(t, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "shop-sentry"}, StringData: map[string]string{"dsn": dsn(1)},
	})
	return ns.Name
}

// stack makes the stack "shop" of a namespace and waits until it is ready.
func (c *cluster) stack(t *testing.T, namespace string, edit ...func(*obsv1.ObservabilityStackSpec)) *obsv1.ObservabilityStack {
	t.Helper()
	stack := &obsv1.ObservabilityStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop"},
		Spec: obsv1.ObservabilityStackSpec{
			Environment: "production",
			Sentry:      &obsv1.SentrySpec{DSNFrom: &obsv1.SecretKeySource{SecretKeyRef: obsv1.SecretKeySelector{Name: "shop-sentry", Key: "dsn"}}},
		},
	}
	for _, f := range edit {
		f(&stack.Spec)
	}
	c.create(t, stack)
	c.awaitReady(t, stack)
	return stack
}

// deployment with the stack's annotation, of that many Pods.
func deployment(namespace, name, stack string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "api", Image: "example.com/shop:1.4.2"}}},
			},
		},
	}
	if stack != "" {
		d.Annotations = map[string]string{obsv1.AnnotationStack: stack}
	}
	return d
}

func (c *cluster) create(t *testing.T, obj client.Object) {
	t.Helper()
	if err := c.api.Create(t.Context(), obj); err != nil {
		t.Fatalf("create %s: %v", obj.GetName(), err)
	}
}

// change an object on the API server.
func change[T client.Object](t *testing.T, c *cluster, obj T, edit func(T)) {
	t.Helper()
	if err := c.api.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
		t.Fatal(err)
	}
	before := obj.DeepCopyObject().(client.Object)
	edit(obj)
	if err := c.api.Patch(t.Context(), obj, client.MergeFrom(before)); err != nil {
		t.Fatalf("change %s: %v", obj.GetName(), err)
	}
}

// poll waits until the condition holds. What it still lacks is told at the end.
func poll(t *testing.T, condition func(context.Context) (lacks string)) {
	t.Helper()
	var lacks string
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		lacks = condition(ctx)
		return lacks == "", nil
	})
	if err != nil {
		t.Fatalf("after %s: %s", patience, lacks)
	}
}

func (c *cluster) awaitReady(t *testing.T, stack *obsv1.ObservabilityStack) {
	t.Helper()
	c.awaitCondition(t, stack, obsv1.Ready, obsv1.ReasonAvailable)
}

func (c *cluster) awaitCondition(t *testing.T, stack *obsv1.ObservabilityStack, condition, reason string) {
	t.Helper()
	poll(t, func(ctx context.Context) string {
		if err := c.api.Get(ctx, client.ObjectKeyFromObject(stack), stack); err != nil {
			return err.Error()
		}
		got := meta.FindStatusCondition(stack.Status.Conditions, condition)
		if got == nil || got.Reason != reason || got.ObservedGeneration != stack.Generation {
			return fmt.Sprintf("%s is %+v, want the reason %s", condition, got, reason)
		}
		return ""
	})
}

// awaitWorkloads waits until the status counts that, as "injected/annotated" and refused.
func (c *cluster) awaitWorkloads(t *testing.T, stack *obsv1.ObservabilityStack, summary string, refused int32) {
	t.Helper()
	poll(t, func(ctx context.Context) string {
		if err := c.api.Get(ctx, client.ObjectKeyFromObject(stack), stack); err != nil {
			return err.Error()
		}
		got := stack.Status.Workloads
		if got == nil || got.Summary != summary || got.Refused != refused {
			return fmt.Sprintf("workloads are %+v, want %s and %d refused", got, summary, refused)
		}
		return ""
	})
}

// pods of a namespace that are not being deleted.
func (c *cluster) pods(ctx context.Context, namespace string) ([]corev1.Pod, error) {
	list := &corev1.PodList{}
	if err := c.api.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	var pods []corev1.Pod
	for _, pod := range list.Items {
		if pod.DeletionTimestamp.IsZero() {
			pods = append(pods, pod)
		}
	}
	return pods, nil
}

// awaitPods waits until the namespace has that many Pods, all with the stack's
// settings of its current configuration.
func (c *cluster) awaitPods(t *testing.T, stack *obsv1.ObservabilityStack, namespace string, n int) []corev1.Pod {
	t.Helper()
	var pods []corev1.Pod
	poll(t, func(ctx context.Context) string {
		var err error
		if pods, err = c.pods(ctx, namespace); err != nil {
			return err.Error()
		}
		if err := c.api.Get(ctx, client.ObjectKeyFromObject(stack), stack); err != nil {
			return err.Error()
		}
		if len(pods) != n {
			return fmt.Sprintf("%d Pods, want %d", len(pods), n)
		}
		for i := range pods {
			if lacks := notInjected(&pods[i], stack); lacks != "" {
				return lacks
			}
		}
		return ""
	})
	return pods
}

// notInjected says what a Pod lacks of the stack's settings.
func notInjected(pod *corev1.Pod, stack *obsv1.ObservabilityStack) string {
	if got := pod.Annotations[obsv1.MarkInjected]; got != stack.Status.ConfigHash {
		return fmt.Sprintf("Pod %s has the mark %q, want %q", pod.Name, got, stack.Status.ConfigHash)
	}
	for _, container := range pod.Spec.Containers {
		if len(container.EnvFrom) == 0 || container.EnvFrom[0].SecretRef == nil ||
			container.EnvFrom[0].SecretRef.Name != obsv1.SettingsName(stack.Namespace, stack.Name) || !*container.EnvFrom[0].SecretRef.Optional {
			return fmt.Sprintf("container %s of Pod %s has envFrom %+v", container.Name, pod.Name, container.EnvFrom)
		}
	}
	return ""
}

// events about an object, as "Reason: message".
func (c *cluster) awaitEvent(t *testing.T, namespace, name, reason, part string) {
	t.Helper()
	poll(t, func(ctx context.Context) string {
		list := &corev1.EventList{}
		if err := c.api.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return err.Error()
		}
		var seen []string
		for _, event := range list.Items {
			if event.InvolvedObject.Name != name {
				continue
			}
			if event.Reason == reason && strings.Contains(event.Message, part) {
				return ""
			}
			seen = append(seen, event.Reason+": "+event.Message)
		}
		return fmt.Sprintf("no event %s with %q about %s, only %q", reason, part, name, seen)
	})
}

// wantGeneration checks how often the spec of a Deployment was changed: once when it was made.
func (c *cluster) wantGeneration(t *testing.T, d *appsv1.Deployment, want int64) {
	t.Helper()
	if err := c.api.Get(t.Context(), client.ObjectKeyFromObject(d), d); err != nil {
		t.Fatal(err)
	}
	if d.Generation != want {
		t.Errorf("generation of %s = %d, want %d", d.Name, d.Generation, want)
	}
}
