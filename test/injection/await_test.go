// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

func (c *cluster) awaitReady(t *testing.T, stack *obsv1.ObservabilityStack) {
	t.Helper()
	c.awaitCondition(t, stack, obsv1.Ready, obsv1.ReasonAvailable)
}

func (c *cluster) awaitCondition(t *testing.T, stack *obsv1.ObservabilityStack, condition, reason string) {
	t.Helper()
	testenv.Poll(t, func(ctx context.Context) string {
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
	testenv.Poll(t, func(ctx context.Context) string {
		if err := c.api.Get(ctx, client.ObjectKeyFromObject(stack), stack); err != nil {
			return err.Error()
		}
		got := stack.Status.Workloads
		if got == nil || got.Summary != summary || got.Refused != refused {
			ready := meta.FindStatusCondition(stack.Status.Conditions, obsv1.InjectionReady)
			return fmt.Sprintf("workloads are %+v, want %s and %d refused; InjectionReady is %+v", got, summary, refused, ready)
		}
		return ""
	})
}

// pods of an app, or of all apps of the namespace if none is named, that are not being deleted.
func (c *cluster) pods(ctx context.Context, namespace, app string) ([]corev1.Pod, error) {
	selector := client.MatchingLabels{}
	if app != "" {
		selector["app"] = app
	}
	list := &corev1.PodList{}
	if err := c.api.List(ctx, list, client.InNamespace(namespace), selector); err != nil {
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

// awaitPods waits until there are that many Pods of an app and none lacks anything.
func (c *cluster) awaitPods(t *testing.T, namespace, app string, n int, lacks func(*corev1.Pod) string) []corev1.Pod {
	t.Helper()
	var pods []corev1.Pod
	testenv.Poll(t, func(ctx context.Context) string {
		var err error
		if pods, err = c.pods(ctx, namespace, app); err != nil {
			return err.Error()
		}
		if len(pods) != n {
			return fmt.Sprintf("%d Pods of app %q, want %d", len(pods), app, n)
		}
		for i := range pods {
			if what := lacks(&pods[i]); what != "" {
				return fmt.Sprintf("Pod %s %s", pods[i].Name, what)
			}
		}
		return ""
	})
	return pods
}

// awaitInjected waits until an app has that many Pods, all of whose containers have
// the stack's current configuration.
func (c *cluster) awaitInjected(t *testing.T, stack *obsv1.ObservabilityStack, namespace, app string,
	n int) []corev1.Pod {
	t.Helper()
	return c.awaitPods(t, namespace, app, n, func(pod *corev1.Pod) string {
		if err := client.IgnoreNotFound(c.api.Get(t.Context(), client.ObjectKeyFromObject(stack), stack)); err != nil {
			return err.Error()
		}
		if got := pod.Annotations[obsv1.MarkInjected]; got != stack.Status.ConfigHash {
			return fmt.Sprintf("has the mark %q, want %q", got, stack.Status.ConfigHash)
		}
		for i := range pod.Spec.Containers {
			if container := &pod.Spec.Containers[i]; !readsSettings(container, stack) {
				return fmt.Sprintf("has a container %s with envFrom %+v", container.Name, container.EnvFrom)
			}
		}
		return ""
	})
}

// readsSettings reports whether a container takes the stack's settings before all else.
func readsSettings(container *corev1.Container, stack *obsv1.ObservabilityStack) bool {
	if len(container.EnvFrom) == 0 || container.EnvFrom[0].SecretRef == nil {
		return false
	}
	ref := container.EnvFrom[0].SecretRef
	return ref.Name == settings(stack, stack.Namespace).Name && ref.Optional != nil && *ref.Optional
}

// awaitKnown waits until policies know a stack's settings: the API server reads stacks for them as
// a controller does, some time after they were written.
func (c *cluster) awaitKnown(t *testing.T, stack *obsv1.ObservabilityStack) {
	t.Helper()
	if c.webhooks != nil {
		return
	}
	testenv.Poll(t, func(ctx context.Context) string {
		d := deployment(stack.Namespace, "probe", stack.Name, 1)
		if err := c.api.Create(ctx, d, client.DryRunAll); err != nil {
			return err.Error()
		}
		if got := d.Spec.Template.Labels[obsv1.StampVersion]; got != stack.Status.ConfigHash {
			return fmt.Sprintf("what is made is stamped with %q, want %s", got, stack.Status.ConfigHash)
		}
		return ""
	})
}

// awaitPlain waits until an app has that many Pods and nothing of obstack's is in them.
func (c *cluster) awaitPlain(t *testing.T, namespace, app string, n int) {
	t.Helper()
	c.awaitPods(t, namespace, app, n, injected)
}

// injected says what of obstack's is in a Pod that should have nothing.
func injected(pod *corev1.Pod) string {
	if name := pod.Labels[obsv1.StampStack]; name != "" {
		return "is stamped for the stack " + name
	}
	return hasSettings(pod)
}

// hasSettings says which container of a Pod takes settings of a stack.
func hasSettings(pod *corev1.Pod) string {
	for _, container := range pod.Spec.Containers {
		for _, source := range container.EnvFrom {
			if source.SecretRef != nil && strings.HasPrefix(source.SecretRef.Name, "obstack.") {
				return fmt.Sprintf("has a container %s with envFrom %+v", container.Name, container.EnvFrom)
			}
		}
	}
	return ""
}

// awaitSecret waits until the Secret of a stack's settings in a namespace has that DSN.
func (c *cluster) awaitSecret(t *testing.T, stack *obsv1.ObservabilityStack, namespace, dsn string) *corev1.Secret {
	t.Helper()
	secret := settings(stack, namespace)
	testenv.Poll(t, func(ctx context.Context) string {
		if err := c.api.Get(ctx, client.ObjectKeyFromObject(stack), stack); err != nil {
			return err.Error()
		}
		secret = settings(stack, namespace)
		if err := c.api.Get(ctx, client.ObjectKeyFromObject(secret), secret); err != nil {
			return err.Error()
		}
		if got := string(secret.Data["SENTRY_DSN"]); got != dsn {
			return fmt.Sprintf("Secret %s/%s has the DSN %q, want %q", namespace, secret.Name, got, dsn)
		}
		return ""
	})
	return secret
}

// settings names the current version of a stack's settings in a namespace.
func settings(stack *obsv1.ObservabilityStack, namespace string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: obsv1.SettingsName(stack.Namespace, stack.Name, stack.Status.ConfigHash),
		},
	}
}

// awaitUnused waits until obstack has noted that nothing names a version of the settings.
func (c *cluster) awaitUnused(t *testing.T, version *corev1.Secret) {
	t.Helper()
	testenv.Poll(t, func(ctx context.Context) string {
		if err := c.api.Get(ctx, client.ObjectKeyFromObject(version), version); err != nil {
			return err.Error()
		}
		if version.Annotations[obsv1.AnnotationUnusedSince] == "" {
			return fmt.Sprintf("Secret %s/%s is taken to be in use", version.Namespace, version.Name)
		}
		return ""
	})
}

// awaitGone waits until an object is no more.
func (c *cluster) awaitGone(t *testing.T, obj client.Object) {
	t.Helper()
	testenv.Poll(t, func(ctx context.Context) string {
		err := c.api.Get(ctx, client.ObjectKeyFromObject(obj), obj)
		if apierrors.IsNotFound(err) {
			return ""
		}
		return fmt.Sprintf("%s is still there (%v)", obj.GetName(), err)
	})
}

// wantAbsent checks that an object is not there.
func (c *cluster) wantAbsent(t *testing.T, obj client.Object) {
	t.Helper()
	if err := c.api.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); !apierrors.IsNotFound(err) {
		t.Errorf("%s is there (%v), want none", obj.GetName(), err)
	}
}

// awaitEvent waits for an event about an object whose message has that part.
func (c *cluster) awaitEvent(t *testing.T, namespace, name, reason, part string) {
	t.Helper()
	testenv.Poll(t, func(ctx context.Context) string {
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

// wantGeneration checks how often a Deployment was changed: its generation counts
// its making and each change of its spec and of its own annotations.
func (c *cluster) wantGeneration(t *testing.T, d *appsv1.Deployment, want int64) {
	t.Helper()
	if got := c.generation(t, d); got != want {
		t.Errorf("generation of %s = %d, want %d", d.Name, got, want)
	}
}

func (c *cluster) generation(t *testing.T, d *appsv1.Deployment) int64 {
	t.Helper()
	if err := c.api.Get(t.Context(), client.ObjectKeyFromObject(d), d); err != nil {
		t.Fatal(err)
	}
	return d.Generation
}

// maxEvent bounds the message of an event about an annotation, in bytes.
const maxEvent = 600

// wantShortEvents checks that no event repeats a long annotation.
func (c *cluster) wantShortEvents(t *testing.T, namespace string) {
	t.Helper()
	list := &corev1.EventList{}
	if err := c.api.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	for _, event := range list.Items {
		if len(event.Message) > maxEvent {
			t.Errorf("the event %s about %s has %d bytes, want at most %d", event.Reason, event.InvolvedObject.Name,
				len(event.Message), maxEvent)
		}
	}
}
