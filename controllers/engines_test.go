// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/test/testenv"
)

// engines are what may inject: the policy, the webhooks, and by mistake both.
var engines = []string{"webhook", "policy", "both"}

// engineNamespaces has for each engine a namespace with a stack shop, whose settings have the version.
func engineNamespaces(t *testing.T, version string, labels map[string]string) map[string]string {
	t.Helper()
	namespaces := map[string]string{}
	for _, engine := range engines {
		all := map[string]string{labelEngine: engine}
		maps.Copy(all, labels)
		namespaces[engine] = labelledNamespace(t, all)
		for _, name := range []string{"shop", "other"} {
			stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: namespaces[engine], Name: name}}
			stack.Spec.Environment = "production"
			create(t, stack)
			stack.Status.ConfigHash = version
			if err := live.Status().Update(t.Context(), stack); err != nil {
				t.Fatal(err)
			}
		}
	}
	return namespaces
}

// injectionCase is a Pod, and what comes of it with any engine. NS is its namespace.
type injectionCase struct {
	labels, annotations map[string]string
	// edit, if set, changes a Pod of the containers api, web and istio-proxy.
	edit func(*corev1.Pod)
	// want lists the containers that are injected, with their releases; none if it is empty.
	want string
}

const (
	version  = "0123456789abcdef"
	defaults = "api web"
)

// stamped are the labels of a whole stamp.
func stamped(more ...string) map[string]string {
	labels := policy.Stamp{Stack: client.ObjectKey{Namespace: "NS", Name: "shop"}, ConfigHash: version}.Labels()
	for i := 0; i < len(more); i += 2 {
		labels[more[i]] = more[i+1]
	}
	return labels
}

func keys(pairs ...string) map[string]string {
	all := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i]] = pairs[i+1]
	}
	return all
}

func images(images ...string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		for i, image := range images {
			pod.Spec.Containers[i].Image = image
		}
	}
}

func manyContainers(pod *corev1.Pod) {
	pod.Spec.Containers = nil
	for i := range 100 {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: fmt.Sprintf("c%d", i), Image: "shop:1"})
	}
}

func everyOf100(suffix string) string {
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("c%d%s", i, suffix))
	}
	return strings.Join(names, " ")
}

const (
	stackKey, choice, inject = obsv1.AnnotationStack, obsv1.AnnotationContainers, obsv1.AnnotationInject
	ofWorkload, noRelease    = obsv1.StampWorkload, obsv1.AnnotationSentryRelease
)

// stampedCases are Pods of stamped templates.
var stampedCases = map[string]injectionCase{
	"stamped":                        {labels: stamped(), want: defaults},
	"choice of the stamp":            {labels: stamped(), annotations: keys(obsv1.StampContainers, "api"), want: "api"},
	"choice of the Pod":              {labels: stamped(), annotations: keys(obsv1.StampContainers, "api", choice, " web"), want: "web"},
	"all, sidecars too":              {labels: stamped(), annotations: keys(choice, "*"), want: "api web istio-proxy"},
	"a sidecar by name":              {labels: stamped(), annotations: keys(choice, "istio-proxy,api"), want: "api istio-proxy"},
	"one that is not there":          {labels: stamped(), annotations: keys(choice, "api,none"), want: "api"},
	"none that is there":             {labels: stamped(), annotations: keys(choice, "none")},
	"a choice that is not valid":     {labels: stamped(), annotations: keys(choice, "api,")},
	"a choice in upper case":         {labels: stamped(), annotations: keys(choice, "api,API")},
	"an empty choice":                {labels: stamped(), annotations: keys(choice, "")},
	"opted out":                      {labels: stamped(), annotations: keys(inject, "false")},
	"opted in":                       {labels: stamped(), annotations: keys(inject, "true"), want: defaults},
	"an opt-out that is mistyped":    {labels: stamped(), annotations: keys(inject, "no")},
	"annotated too":                  {labels: stamped(), annotations: keys(stackKey, "shop"), want: defaults},
	"annotated too, in full":         {labels: stamped(), annotations: keys(stackKey, "NS/shop"), want: defaults},
	"annotated for another stack":    {labels: stamped(), annotations: keys(stackKey, "other")},
	"annotated for nothing":          {labels: stamped(), annotations: keys(stackKey, "")},
	"of a stack that is gone":        {labels: stamped(obsv1.StampStack, "gone"), want: defaults},
	"of another namespace":           {labels: stamped(obsv1.StampNamespace, "elsewhere"), want: defaults},
	"a stack that cannot be":         {labels: stamped(obsv1.StampStack, "The.Shop")},
	"a namespace that cannot be":     {labels: stamped(obsv1.StampNamespace, "")},
	"a version that cannot be":       {labels: stamped(obsv1.StampVersion, "A_B")},
	"half a stamp":                   {labels: keys(obsv1.StampStack, "shop", obsv1.StampVersion, version)},
	"the other half":                 {labels: keys(obsv1.StampVersion, version), annotations: keys(stackKey, "shop")},
	"a forged mark":                  {labels: stamped(), annotations: keys(obsv1.MarkInjected, "forged"), want: defaults},
	"of a Deployment":                {labels: stamped("pod-template-hash", "7c9d"), want: defaults},
	"sidecars alone":                 {labels: stamped(), edit: func(pod *corev1.Pod) { pod.Spec.Containers = pod.Spec.Containers[2:] }, want: " "},
	"a hundred containers":           {labels: stamped(), annotations: keys(ofWorkload, "w"), edit: manyContainers, want: everyOf100("=w@1")},
	"a release from the tag":         {labels: stamped(), annotations: keys(ofWorkload, "w"), edit: images("r:5000/shop:1.4", "shop"), want: "api=w@1.4 web"},
	"a release from the digest":      {labels: stamped(), annotations: keys(ofWorkload, "w"), edit: images("r:5000/a/shop@sha256:01", "r:5000/shop"), want: "api=w@sha256:01 web"},
	"a release from tag and digest":  {labels: stamped(), annotations: keys(ofWorkload, "w"), edit: images("r/shop:1@sha256:01", "shop:"), want: "api=w@1 web"},
	"a release that the Pod refuses": {labels: stamped(), annotations: keys(ofWorkload, "w", noRelease, "false"), want: defaults},
	"a release of the container":     {labels: stamped(), annotations: keys(ofWorkload, "w"), edit: ownRelease, want: "api=own web=w@2"},
	"what is injected already":       {labels: stamped(), edit: injectedAlready, want: defaults},
}

func ownRelease(pod *corev1.Pod) {
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "SENTRY_RELEASE", Value: "own"}}
}

func injectedAlready(pod *corev1.Pod) {
	pod.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: "obstack." + pod.Namespace + ".shop." + version},
		Optional:             new(true),
	}}}
}

func owned(apiVersion, kind string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.OwnerReferences = []metav1.OwnerReference{
			{APIVersion: apiVersion, Kind: kind, Name: "api-7c9d", UID: "1", Controller: new(true)},
		}
	}
}

// unstampedCases are Pods that no template stamped.
var unstampedCases = map[string]injectionCase{
	"nothing":                      {},
	"annotated":                    {annotations: keys(stackKey, "shop"), want: defaults},
	"annotated in full":            {annotations: keys(stackKey, "NS/shop"), want: defaults},
	"annotated for the other":      {annotations: keys(stackKey, "other"), want: defaults},
	"annotated for none":           {annotations: keys(stackKey, "none")},
	"annotated for one elsewhere":  {annotations: keys(stackKey, "elsewhere/shop")},
	"annotated, with a choice":     {annotations: keys(stackKey, "shop", choice, "web"), want: "web"},
	"annotated and opted out":      {annotations: keys(stackKey, "shop", inject, "false")},
	"annotated, of a Deployment":   {labels: keys("pod-template-hash", "7c9d"), annotations: keys(stackKey, "shop")},
	"annotated, of a ReplicaSet":   {annotations: keys(stackKey, "shop"), edit: owned("apps/v1", "ReplicaSet"), want: defaults},
	"annotated, of a StatefulSet":  {annotations: keys(stackKey, "shop"), edit: owned("apps/v1", "StatefulSet")},
	"annotated, of a workflow":     {annotations: keys(stackKey, "shop"), edit: owned("argoproj.io/v1", "Workflow"), want: defaults},
	"annotated, with other labels": {labels: keys("app", "shop"), annotations: keys(stackKey, "shop"), want: defaults},
	"labelled":                     {labels: keys(obsv1.StampStack, "shop", "controller-revision-hash", "7c9d"), want: defaults},
	"labelled, with the namespace": {labels: keys(obsv1.StampStack, "shop", obsv1.StampNamespace, "NS"), want: defaults},
	"labelled for one elsewhere":   {labels: keys(obsv1.StampStack, "shop", obsv1.StampNamespace, "elsewhere")},
	"labelled and annotated apart": {labels: keys(obsv1.StampStack, "shop"), annotations: keys(stackKey, "other")},
	"labelled, with a release":     {labels: keys(obsv1.StampStack, "shop"), annotations: keys(ofWorkload, "w"), want: "api=w@1 web=w@2"},
}

// inheritedCases are Pods of a Namespace that names the stack.
var inheritedCases = map[string]injectionCase{
	"of the Namespace":                {want: defaults},
	"of the Namespace, opted out":     {annotations: keys(inject, "false")},
	"of the Namespace, with a choice": {annotations: keys(choice, "web"), want: "web"},
	"of the Namespace, of a workload": {labels: keys("pod-template-hash", "7c9d")},
	"of the Namespace, annotated":     {annotations: keys(stackKey, "none")},
}

// The Pod gets the same bytes, whatever injects them: the policies that the API server evaluates
// are the same decision as package policy, written a second time.
func TestEveryEngineInjectsTheSame(t *testing.T) {
	plain, inherited := engineNamespaces(t, version, nil), engineNamespaces(t, version, keys(obsv1.LabelUseStack, "shop"))
	awaitPolicies(t, plain["policy"])
	for _, table := range []struct {
		namespaces map[string]string
		cases      map[string]injectionCase
	}{{plain, stampedCases}, {plain, unstampedCases}, {inherited, inheritedCases}} {
		for name, tc := range table.cases {
			t.Run(name, func(t *testing.T) {
				results := map[string]string{}
				for _, engine := range engines {
					namespace := table.namespaces[engine]
					pod := tc.pod(namespace)
					if err := live.Create(t.Context(), pod, client.DryRunAll); err != nil {
						t.Fatalf("%s: %v", engine, err)
					}
					if got := summary(pod); got != tc.want {
						t.Errorf("%s: injected %q, want %q", engine, got, tc.want)
					}
					results[engine] = injectedPart(t, pod, namespace)
				}
				for _, engine := range engines[1:] {
					if diff := cmp.Diff(results[engines[0]], results[engine]); diff != "" {
						t.Errorf("-%s +%s:\n%s", engines[0], engine, diff)
					}
				}
			})
		}
	}
}

// stampingCase is a Deployment, and what its owner does to it. Its containers are api and web.
type stampingCase struct {
	own, template map[string]string // annotations
	stamp         map[string]string // labels of the template, such as Git has them
	release       string            // of the stack
	// update, if set, is what the owner sends when another version is current.
	update func(*appsv1.Deployment)
	// want lists the stamp's labels and annotations without their prefix; none if it is empty.
	want string
}

const (
	newer       = "fedcba9876543210"
	wantStamped = "config-hash=0123456789abcdef namespace=NS stack=shop version=0123456789abcdef"
	wantNewer   = "config-hash=fedcba9876543210 namespace=NS stack=shop version=fedcba9876543210"
)

func dropStamp(d *appsv1.Deployment) {
	template := &d.Spec.Template
	for _, key := range policy.StampLabels {
		delete(template.Labels, key)
	}
	for _, key := range policy.StampAnnotations {
		delete(template.Annotations, key)
	}
}

var stampingCases = map[string]stampingCase{
	"not annotated":             {},
	"annotated":                 {own: keys(stackKey, "shop"), want: wantStamped},
	"annotated in full":         {own: keys(stackKey, "NS/shop"), want: wantStamped},
	"annotated in its template": {own: keys(stackKey, "other"), template: keys(stackKey, "shop"), want: wantStamped},
	"annotated for none":        {own: keys(stackKey, "none")},
	"opted out":                 {own: keys(stackKey, "shop", inject, "false")},
	"opted out in its template": {own: keys(stackKey, "shop"), template: keys(inject, "false")},
	"with a choice": {
		own: keys(stackKey, "shop", choice, "web, api,api"), want: strings.Replace(wantStamped, " ", " containers=api,web ", 1),
	},
	"with all":                        {own: keys(stackKey, "shop", choice, "*"), want: strings.Replace(wantStamped, " ", " containers=* ", 1)},
	"with a choice that is not there": {own: keys(stackKey, "shop", choice, "none")},
	"with a choice that is not valid": {own: keys(stackKey, "shop", choice, "api,")},
	"with a release":                  {own: keys(stackKey, "shop"), release: "FromImage", want: wantStamped + " workload=api"},
	"with a release of its own":       {own: keys(stackKey, "shop", noRelease, "false"), release: "FromImage", want: wantStamped},
	"with a stamp from Git": {
		own: keys(stackKey, "shop"), stamp: keys(obsv1.StampStack, "other", obsv1.StampVersion, "old"), want: wantStamped,
	},
	"changed": {
		own: keys(stackKey, "shop"), want: wantNewer,
		update: func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "shop:2" },
	},
	"rolled back to a template without stamp": {
		own: keys(stackKey, "shop"), want: wantNewer, update: func(d *appsv1.Deployment) {
			dropStamp(d)
			d.Spec.Template.Annotations = keys("restarted", "yesterday")
		},
	},
	"scaled":                 {own: keys(stackKey, "shop"), want: wantStamped, update: func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(3)) }},
	"replaced without stamp": {own: keys(stackKey, "shop"), want: wantStamped, update: dropStamp},
	"replaced with half of a stamp": {
		own: keys(stackKey, "shop"), want: wantStamped, update: func(d *appsv1.Deployment) { delete(d.Spec.Template.Labels, obsv1.StampStack) },
	},
	"with an older stamp from Git": {
		own: keys(stackKey, "shop"), want: wantStamped, update: func(d *appsv1.Deployment) { d.Spec.Template.Labels[obsv1.StampVersion] = "old" },
	},
	"with the wanted stamp from Git": {
		own: keys(stackKey, "shop"), want: wantNewer, update: func(d *appsv1.Deployment) {
			d.Spec.Template.Labels[obsv1.StampVersion], d.Spec.Template.Annotations[obsv1.StampConfigHash] = newer, newer
		},
	},
	"annotated later": {
		want: "", update: func(d *appsv1.Deployment) { d.Annotations = keys(stackKey, "shop") },
	},
}

// Stacks of the workload's own namespace can do without the webhooks.
func TestEveryEngineStampsTheSame(t *testing.T) {
	namespaces := engineNamespaces(t, version, nil)
	inherited := engineNamespaces(t, version, keys(obsv1.LabelUseStack, "shop"))
	awaitPolicies(t, namespaces["policy"])
	stamps := func(t *testing.T, tc stampingCase, namespace, want string) {
		t.Helper()
		setStack(t, namespace, tc.release, version)
		d := annotatedDeployment(namespace, "api", "")
		d.Annotations, d.Spec.Template.Annotations = replaced(tc.own, namespace), tc.template
		d.Spec.Template.Labels = maps.Clone(d.Spec.Template.Labels) // Not those of the selector.
		maps.Copy(d.Spec.Template.Labels, tc.stamp)
		d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: "web", Image: "web"})
		create(t, d)
		if tc.update != nil {
			setStack(t, namespace, tc.release, newer)
			tc.update(d)
			if err := live.Update(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		if got := stampOf(d); got != strings.ReplaceAll(want, "NS", namespace) {
			t.Errorf("stamp = %s, want %s", got, want)
		}
		if err := live.Delete(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	for _, engine := range engines {
		for name, tc := range stampingCases {
			t.Run(engine+"/"+name, func(t *testing.T) { stamps(t, tc, namespaces[engine], tc.want) })
		}
		t.Run(engine+"/of the Namespace", func(t *testing.T) { stamps(t, stampingCase{}, inherited[engine], wantStamped) })
	}
}

// setStack changes the stack shop, and waits until the API server evaluates policies with it.
func setStack(t *testing.T, namespace, release, version string) {
	t.Helper()
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop"}}
	refresh(t, stack)
	stack.Spec.Sentry = nil
	if release != "" {
		stack.Spec.Sentry = &obsv1.SentrySpec{Release: release, DSNFrom: from("shop-sentry", "dsn")}
	}
	if err := live.Update(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
	stack.Status.ConfigHash = version
	if err := live.Status().Update(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
	testenv.Poll(t, func(ctx context.Context) string {
		d := annotatedDeployment(namespace, "probe", "shop")
		if err := live.Create(ctx, d, client.DryRunAll); err != nil {
			return err.Error()
		}
		stamp, _ := policy.StampOf(d.Spec.Template.Labels, d.Spec.Template.Annotations)
		if stamp.ConfigHash != version || (stamp.Workload != "") != (release != "") {
			return fmt.Sprintf("stamp is %+v", stamp)
		}
		return ""
	})
}

// stampOf lists what of a stamp the template has.
func stampOf(d *appsv1.Deployment) string {
	var all []string
	for _, part := range []map[string]string{d.Spec.Template.Labels, d.Spec.Template.Annotations} {
		for key, value := range part {
			if name, ok := strings.CutPrefix(key, "inject.obstack.dev/"); ok {
				all = append(all, name+"="+value)
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// awaitPolicies waits until the API server evaluates those with parameters, which it does some
// seconds after the definition of stacks is there.
func awaitPolicies(t *testing.T, namespace string) {
	t.Helper()
	testenv.Poll(t, func(ctx context.Context) string {
		pod := unstampedCases["annotated"].pod(namespace)
		if err := live.Create(ctx, pod, client.DryRunAll); err != nil {
			return err.Error()
		}
		if pod.Annotations[obsv1.MarkInjected] == "" {
			return "the policy does not inject yet"
		}
		return ""
	})
}

func (tc injectionCase) pod(namespace string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: "api", Labels: replaced(tc.labels, namespace), Annotations: replaced(tc.annotations, namespace),
	}}
	pod.Spec.InitContainers = []corev1.Container{{Name: "migrate", Image: "shop:1"}}
	pod.Spec.Containers = []corev1.Container{
		{Name: "api", Image: "shop:1"},
		{
			Name: "web", Image: "shop:2", Env: []corev1.EnvVar{{Name: "A", Value: "1"}},
			EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: "own"},
			}}},
		},
		{Name: "istio-proxy", Image: "istio:3"},
	}
	if tc.edit != nil {
		tc.edit(pod)
	}
	return pod
}

func replaced(all map[string]string, namespace string) map[string]string {
	all = maps.Clone(all)
	for key, value := range all {
		all[key] = strings.ReplaceAll(value, "NS", namespace)
	}
	return all
}

// summary lists the containers that take settings before all else, and their releases.
func summary(pod *corev1.Pod) string {
	if pod.Annotations[obsv1.MarkInjected] != version {
		return ""
	}
	var names []string
	for _, c := range pod.Spec.Containers {
		if len(c.EnvFrom) == 0 || c.EnvFrom[0].SecretRef == nil {
			continue
		}
		name := c.Name
		for _, env := range c.Env {
			if env.Name == obsv1.VariableRelease {
				name += "=" + env.Value
			}
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return " "
	}
	return strings.Join(names, " ")
}

// injectedPart is all of a Pod that injection may change, the same in each namespace.
func injectedPart(t *testing.T, pod *corev1.Pod, namespace string) string {
	t.Helper()
	part, err := json.MarshalIndent(
		[]any{pod.Labels, pod.Annotations, pod.Spec.Containers, pod.Spec.InitContainers}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(part), namespace, "NS")
}
