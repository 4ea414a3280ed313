// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

func (c *cluster) hundredContainers(t *testing.T) {
	namespace := c.namespace(t)
	stack := c.stack(t, namespace)
	d := deployment(namespace, "api", "shop", 1)
	d.Spec.Template.Spec.Containers = nil
	for i := range 100 {
		d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, container(fmt.Sprintf("api-%d", i)))
	}
	testenv.Create(t, c.api, d)
	pods := c.awaitInjected(t, stack, namespace, "api", 1)
	if got := len(pods[0].Spec.Containers); got != 100 {
		t.Errorf("%d containers, want 100", got)
	}
	c.awaitWorkloads(t, stack, "1/1", 0)
}

// ownVariables shows that what a container says itself wins: its variables are as
// they were, and what it takes from elsewhere comes after the settings, which the
// last one wins.
func (c *cluster) ownVariables(t *testing.T) {
	namespace := c.namespace(t)
	stack := c.stack(t, namespace)
	own := []corev1.EnvFromSource{
		{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "first"}}},
		{
			Prefix:    "SHOP_",
			SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "second"}},
		},
	}
	env := []corev1.EnvVar{{Name: "SENTRY_DSN", Value: dsn(7)}, {Name: "LOG_LEVEL", Value: "debug"}}
	d := deployment(namespace, "api", "shop", 1)
	d.Spec.Template.Spec.Containers[0].EnvFrom, d.Spec.Template.Spec.Containers[0].Env = own, env
	testenv.Create(t, c.api, d)
	got := c.awaitInjected(t, stack, namespace, "api", 1)[0].Spec.Containers[0]
	if diff := cmp.Diff(env, got.Env); diff != "" {
		t.Errorf("env (-want +got):\n%s", diff)
	}
	settings := corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: settings(stack, namespace).Name}, Optional: new(true),
	}}
	if diff := cmp.Diff(append([]corev1.EnvFromSource{settings}, own...), got.EnvFrom); diff != "" {
		t.Errorf("envFrom (-want +got):\n%s", diff)
	}
}

func (c *cluster) wrongAnnotations(t *testing.T) {
	namespace := c.namespace(t)
	stack := c.stack(t, namespace)
	long := strings.Repeat("x", 10<<10)
	cases := map[string]map[string]string{
		"empty":             {obsv1.AnnotationStack: ""},
		"malformed":         {obsv1.AnnotationStack: "The Shop"},
		"three-parts":       {obsv1.AnnotationStack: "a/b/c"},
		"no-name":           {obsv1.AnnotationStack: namespace + "/"},
		"long":              {obsv1.AnnotationStack: long},
		"not-utf8":          {obsv1.AnnotationStack: strings.Repeat("ü", 5<<10)},
		"inject-empty":      {obsv1.AnnotationStack: "shop", obsv1.AnnotationInject: ""},
		"inject-malformed":  {obsv1.AnnotationStack: "shop", obsv1.AnnotationInject: "no"},
		"inject-long":       {obsv1.AnnotationStack: "shop", obsv1.AnnotationInject: long},
		"choice-empty":      {obsv1.AnnotationStack: "shop", obsv1.AnnotationContainers: ""},
		"choice-malformed":  {obsv1.AnnotationStack: "shop", obsv1.AnnotationContainers: "api;web"},
		"choice-half-empty": {obsv1.AnnotationStack: "shop", obsv1.AnnotationContainers: "api,"},
		"choice-long":       {obsv1.AnnotationStack: "shop", obsv1.AnnotationContainers: long},
	}
	for name, annotations := range cases {
		d := deployment(namespace, name, "", 1)
		d.Annotations = annotations
		testenv.Create(t, c.api, d)
		// The same on a Pod, of which the webhook alone knows.
		p := pod(namespace, name+"-pod", "")
		p.Annotations = annotations
		testenv.Create(t, c.api, p)
	}
	// A thousand names are well-formed, and all of them are wrong.
	thousand := deployment(namespace, "thousand", "shop", 1)
	thousand.Annotations[obsv1.AnnotationContainers] = strings.TrimSuffix(strings.Repeat("wrong-name,", 1000), ",")
	testenv.Create(t, c.api, thousand)

	for name := range cases {
		c.awaitEvent(t, namespace, name, obsv1.ReasonInvalidAnnotation, "is not accepted")
		c.awaitPlain(t, namespace, name, 1)
		c.awaitPlain(t, namespace, name+"-pod", 1)
		c.wantGeneration(t, deployment(namespace, name, "", 1), 1)
	}
	c.awaitEvent(t, namespace, "thousand", obsv1.ReasonUnknownContainers, "there is no container wrong-name")
	c.awaitPlain(t, namespace, "thousand", 1)
	c.wantShortEvents(t, namespace)
	c.awaitWorkloads(t, stack, "0/0", 1)
	c.awaitReady(t, stack)

	// What is corrected is injected.
	d := deployment(namespace, "choice-long", "", 1)
	testenv.Change(t, c.api, d, func(d *appsv1.Deployment) { d.Annotations[obsv1.AnnotationContainers] = "api" })
	c.awaitInjected(t, stack, namespace, "choice-long", 1)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	testenv.Change(t, c.api, ns, func(ns *corev1.Namespace) {
		ns.Labels[obsv1.LabelUseStack] = "The_Shop"
	})
	testenv.Create(t, c.api, deployment(namespace, "of-namespace", "", 1))
	c.awaitEvent(t, namespace, "of-namespace", obsv1.ReasonInvalidAnnotation, "is not accepted")
	c.awaitPlain(t, namespace, "of-namespace", 1)
}

// otherControllers makes Pods as a controller does that obstack does not know, and
// which labels them as Kubernetes' own do: their annotations are not looked at.
func (c *cluster) otherControllers(t *testing.T) {
	namespace := c.namespace(t)
	stack := c.stack(t, namespace)
	annotated, labelled := pod(namespace, "annotated", "shop"), pod(namespace, "labelled", "")
	labelled.Labels[obsv1.StampStack] = "shop"
	for _, p := range []*corev1.Pod{annotated, labelled} {
		p.Labels["controller-revision-hash"] = "7c9d"
		testenv.Create(t, c.api, p)
	}
	c.awaitInjected(t, stack, namespace, "labelled", 1)
	c.awaitPlain(t, namespace, "annotated", 1)
	c.awaitWorkloads(t, stack, "1/1", 0)
}

// mirror makes what a kubelet makes to show a static Pod, in a Namespace that speaks for all that
// is in it. The API server refuses one that names a Secret.
func (c *cluster) mirror(t *testing.T) {
	namespace := c.namespace(t)
	c.stack(t, namespace)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	testenv.Change(t, c.api, ns, func(ns *corev1.Namespace) { ns.Labels[obsv1.LabelUseStack] = "shop" })
	testenv.Poll(t, func(ctx context.Context) string {
		plain := pod(namespace, "plain", "")
		if err := c.api.Create(ctx, plain, client.DryRunAll); err != nil {
			return err.Error()
		}
		if plain.Annotations[obsv1.MarkInjected] == "" {
			return "the Namespace's label is not known yet"
		}
		return ""
	})
	shown := pod(namespace, "shown", "")
	shown.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "7c9d"}
	shown.Spec.NodeName = "node"
	testenv.Create(t, c.api, shown)
}
