// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

func (c *cluster) containers(t *testing.T) {
	namespace := c.namespace(t)
	stack := c.stack(t, namespace)
	with := func(name, ofWorkload, ofTemplate string) *appsv1.Deployment {
		d := deployment(namespace, name, "shop", 1)
		d.Spec.Template.Spec.Containers = []corev1.Container{container("api"), container("proxy"), container("log")}
		d.Spec.Template.Spec.InitContainers = []corev1.Container{container("migrate")}
		if ofWorkload != "" {
			d.Annotations[obsv1.AnnotationContainers] = ofWorkload
		}
		if ofTemplate != "" {
			d.Spec.Template.Annotations = map[string]string{obsv1.AnnotationContainers: ofTemplate}
		}
		testenv.Create(t, c.api, d)
		return d
	}
	all, some, other := with("all", "", ""), with("some", "log, api", ""), with("other", "api", "proxy")
	partly, none := with("partly", "api,wrong", ""), with("none", "wrong", "")

	c.awaitChosen(t, stack, all, "api", "proxy", "log")
	c.awaitChosen(t, stack, some, "api", "log")
	c.awaitChosen(t, stack, other, "proxy")
	c.awaitChosen(t, stack, partly, "api")
	c.awaitEvent(t, namespace, "partly", obsv1.ReasonUnknownContainers,
		"there is no container wrong; the containers are api, log, proxy")
	c.awaitEvent(t, namespace, "none", obsv1.ReasonUnknownContainers, "there is no container wrong")
	c.awaitPlain(t, namespace, "none", 1)
	c.awaitWorkloads(t, stack, "4/4", 1)
	c.wantGeneration(t, none, 1)

	// Another choice is another rollout, and one alone.
	testenv.Change(t, c.api, some, func(d *appsv1.Deployment) { d.Annotations[obsv1.AnnotationContainers] = "proxy" })
	c.awaitChosen(t, stack, some, "proxy")
	c.wantGeneration(t, some, 3)
}

// awaitChosen waits until the Pod of a Deployment has the settings in exactly these containers.
func (c *cluster) awaitChosen(t *testing.T, stack *obsv1.ObservabilityStack, d *appsv1.Deployment, want ...string) {
	t.Helper()
	c.awaitPods(t, d.Namespace, d.Name, 1, func(pod *corev1.Pod) string {
		var got []string
		for i := range pod.Spec.Containers {
			if readsSettings(&pod.Spec.Containers[i], stack) {
				got = append(got, pod.Spec.Containers[i].Name)
			}
		}
		if len(pod.Spec.InitContainers) != 1 || len(pod.Spec.InitContainers[0].EnvFrom) > 0 {
			return fmt.Sprintf("has the init containers %+v", pod.Spec.InitContainers)
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			return fmt.Sprintf("has the settings in %q, want %q", got, want)
		}
		return ""
	})
}

func (c *cluster) releaseFromImage(t *testing.T) {
	namespace := c.namespace(t)
	c.stack(t, namespace, func(stack *obsv1.ObservabilityStack) { stack.Spec.Sentry.Release = obsv1.ReleaseFromImage })
	const digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	own := container("own")
	own.Env = []corev1.EnvVar{{Name: "SENTRY_RELEASE", Value: "mine"}}
	d := deployment(namespace, "api", "shop", 1)
	d.Spec.Template.Spec.Containers = []corev1.Container{
		{Name: "tag", Image: "registry.example.com:5000/shop:1.4.2"}, {Name: "digest", Image: "example.com/shop@" + digest},
		{Name: "neither", Image: "registry.example.com:5000/shop"}, own,
	}
	testenv.Create(t, c.api, d)
	c.awaitReleases(t, d, "api@1.4.2", "api@"+digest, "", "mine")
	testenv.Change(t, c.api, d, func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Image = "registry.example.com:5000/shop:1.5.0"
	})
	c.awaitReleases(t, d, "api@1.5.0", "api@"+digest, "", "mine")
	c.wantGeneration(t, d, 2)
}

// awaitReleases waits until the containers of a Deployment's Pod have these releases.
func (c *cluster) awaitReleases(t *testing.T, d *appsv1.Deployment, want ...string) {
	t.Helper()
	c.awaitPods(t, d.Namespace, d.Name, 1, func(pod *corev1.Pod) string {
		var got []string
		for _, container := range pod.Spec.Containers {
			release := ""
			for _, env := range container.Env {
				if env.Name == "SENTRY_RELEASE" {
					release += env.Value
				}
			}
			got = append(got, release)
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			return fmt.Sprintf("has the releases %q, want %q", got, want)
		}
		return ""
	})
}
