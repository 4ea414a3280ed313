// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// brittle has two Deployments that break with the bundle for Python: old has Pods that are ready
// without, and its new ones do not get so; new has had it from the first, and exits.
const brittle = "brittle"

// withdrawal is what becomes of one of them.
type withdrawal struct{ name, annotation, says string }

var withdrawals = []withdrawal{
	{"old", `"cause":"NotReady"}`, "Pods did not become ready"},
	{"new", `"cause":"Exited","exitCode":3}`, "a container exited again and again, exit code 3"},
}

// TestPythonWithdrawn from what breaks with it: the rest of the settings stays, it runs again, and
// it is not tried again until its image changes.
func TestPythonWithdrawn(t *testing.T) {
	c := start(t)
	t.Cleanup(func() {
		stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: brittle, Name: brittle}}
		err := errors.Join(client.IgnoreNotFound(c.Delete(context.Background(), stack)),
			c.Delete(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: brittle}}))
		if err != nil {
			t.Error(err)
		}
	})
	err := errors.Join(c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: brittle}}),
		c.apply(t.Context(), "testdata/brittle.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	bundle := c.giveBundle(t)
	// A minute is the progress deadline of the one, and what three restarts take of the other.
	if err := await(t.Context(), "the bundle to be taken off", 4*time.Minute, c.lacksWithdrawals); err != nil {
		t.Fatal(err)
	}
	t.Run("other settings do not bring it back", c.testOtherSettings)
	t.Run("a restart does not bring it back", func(t *testing.T) {
		if got := c.changeTemplate(t, func(template *corev1.PodTemplateSpec) {
			template.Annotations["kubectl.kubernetes.io/restartedAt"] = "now"
		}); got != "" {
			t.Errorf("it has the bundle %s", got)
		}
	})
	t.Run("another image brings it back", func(t *testing.T) {
		if got := c.changeTemplate(t, func(template *corev1.PodTemplateSpec) {
			template.Spec.Containers[0].Image = named("python") + anotherRelease
		}); got != bundle {
			t.Errorf("it has the bundle %q, want %s", got, bundle)
		}
		eventually(t, "it to be tried again", func(ctx context.Context) string { return c.mounted(ctx, bundle, "new") })
	})
}

// giveBundle to both, and return its hash.
func (c *cluster) giveBundle(t *testing.T) (bundle string) {
	t.Helper()
	eventually(t, "a bundle, and a Deployment that is ready without it", func(ctx context.Context) string {
		stack, lacks := c.brittleStack(ctx)
		if lacks != "" || stack.Status.Python == nil {
			return "there is no bundle " + lacks
		}
		bundle = stack.Status.Python.Bundle
		_, lacks = c.runs(ctx, "old", "")
		return lacks
	})
	testenv.Change(t, c.Client, c.deployment("old"), func(d *appsv1.Deployment) {
		d.Annotations[obsv1.AnnotationStack] = brittle
	})
	if err := c.apply(t.Context(), "testdata/brittle-new.yaml"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both to have the bundle", func(ctx context.Context) string {
		return c.mounted(ctx, bundle, "old", "new")
	})
	return bundle
}

func (c *cluster) deployment(name string) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: brittle, Name: name}}
}

func (c *cluster) brittleStack(ctx context.Context) (stack *obsv1.ObservabilityStack, lacks string) {
	stack = &obsv1.ObservabilityStack{}
	return stack, text(c.Get(ctx, client.ObjectKey{Namespace: brittle, Name: brittle}, stack))
}

// lacksWithdrawals says what there is instead of a stack that says why both lost the bundle.
func (c *cluster) lacksWithdrawals(ctx context.Context) string {
	stack, lacks := c.brittleStack(ctx)
	if lacks != "" {
		return lacks
	}
	want := metav1.Condition{Type: obsv1.PythonReady, Status: metav1.ConditionFalse, Reason: obsv1.ReasonPythonWithdrawn}
	if lacks = lacksCondition(stack, want); lacks != "" {
		return lacks
	}
	condition := meta.FindStatusCondition(stack.Status.Conditions, obsv1.PythonReady)
	for _, w := range withdrawals {
		if !strings.Contains(condition.Message, w.says) {
			return "the condition says " + condition.Message
		}
		if lacks = c.lacksWithdrawal(ctx, w, stack.Status.ConfigHash); lacks != "" {
			return lacks
		}
	}
	return ""
}

// lacksWithdrawal says what there is instead of a workload that lost the bundle alone, and runs.
func (c *cluster) lacksWithdrawal(ctx context.Context, w withdrawal, version string) string {
	d, lacks := c.runs(ctx, w.name, version)
	if lacks != "" {
		return lacks
	}
	if got := d.Annotations[obsv1.AnnotationPythonWithdrawn]; !strings.HasSuffix(got, w.annotation) {
		return fmt.Sprintf("Deployment %s says %s", w.name, got)
	}
	events := &eventsv1.EventList{}
	if err := c.List(ctx, events, client.InNamespace(brittle)); err != nil {
		return err.Error()
	}
	if !slices.ContainsFunc(events.Items, func(e eventsv1.Event) bool {
		return e.Reason == obsv1.ReasonPythonWithdrawn && e.Regarding.Name == w.name && strings.Contains(e.Note, w.says)
	}) {
		return fmt.Sprintf("no event on Deployment %s says why", w.name)
	}
	stack, lacks := c.brittleStack(ctx)
	said, err := json.Marshal([]any{events, d, stack})
	if err != nil || strings.Contains(string(said), "hunter2") {
		return fmt.Sprintf("what a container says is repeated: %s, %v", said, err)
	}
	return lacks
}

// runs says what a Deployment lacks to have one Pod, which is ready and has that version of the
// settings, or none, and no bundle.
func (c *cluster) runs(ctx context.Context, name, version string) (d *appsv1.Deployment, lacks string) {
	d = c.deployment(name)
	if err := c.Get(ctx, client.ObjectKeyFromObject(d), d); err != nil {
		return d, err.Error()
	}
	stamp := d.Spec.Template.Labels
	if stamp[obsv1.StampPython] != "" || stamp[obsv1.StampVersion] != version {
		return d, fmt.Sprintf("the template of Deployment %s has the labels %v", name, stamp)
	}
	pods := &corev1.PodList{}
	if err := c.List(ctx, pods, client.InNamespace(brittle), client.MatchingLabels{"app": name}); err != nil {
		return d, err.Error()
	}
	if len(pods.Items) != 1 || d.Status.ReadyReplicas != 1 || d.Status.ObservedGeneration != d.Generation {
		return d, fmt.Sprintf("Deployment %s has %d Pods, %d of them ready", name, len(pods.Items), d.Status.ReadyReplicas)
	}
	container := pods.Items[0].Spec.Containers[0]
	if (len(container.EnvFrom) > 0) != (version != "") || mounts(container) {
		return d, fmt.Sprintf("the Pod of Deployment %s has %v, and %v", name, container.EnvFrom, container.VolumeMounts)
	}
	return d, ""
}

func mounts(container corev1.Container) bool {
	return slices.ContainsFunc(container.VolumeMounts, func(m corev1.VolumeMount) bool {
		return m.MountPath == "/obstack/python"
	})
}

// mounted says which of some Deployments has no Pod with the bundle.
func (c *cluster) mounted(ctx context.Context, bundle string, names ...string) string {
	for _, name := range names {
		pods := &corev1.PodList{}
		err := c.List(ctx, pods, client.InNamespace(brittle),
			client.MatchingLabels{"app": name, obsv1.StampPython: bundle})
		if err != nil {
			return err.Error()
		}
		if !slices.ContainsFunc(pods.Items, func(pod corev1.Pod) bool { return mounts(pod.Spec.Containers[0]) }) {
			return fmt.Sprintf("none of %d Pods of Deployment %s mounts the bundle", len(pods.Items), name)
		}
	}
	return ""
}

// testOtherSettings has obstack stamp both anew.
func (c *cluster) testOtherSettings(t *testing.T) {
	stack, lacks := c.brittleStack(t.Context())
	if lacks != "" {
		t.Fatal(lacks)
	}
	before := stack.Status.ConfigHash
	testenv.Change(t, c.Client, stack, func(s *obsv1.ObservabilityStack) { s.Spec.Environment = "staging" })
	eventually(t, "both to have other settings, and no bundle", func(ctx context.Context) string {
		stack, lacks := c.brittleStack(ctx)
		if lacks != "" || stack.Status.ConfigHash == before {
			return "the settings are those of before " + lacks
		}
		return c.lacksWithdrawals(ctx)
	})
}

// changeTemplate of a Deployment, and say which bundle it gets in the same request.
func (c *cluster) changeTemplate(t *testing.T, change func(*corev1.PodTemplateSpec)) string {
	t.Helper()
	d := c.deployment("new")
	testenv.Change(t, c.Client, d, func(d *appsv1.Deployment) {
		if d.Spec.Template.Annotations == nil {
			d.Spec.Template.Annotations = map[string]string{}
		}
		change(&d.Spec.Template)
	})
	return d.Spec.Template.Labels[obsv1.StampPython]
}
