// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// injectionCase is a Pod, and what comes of it with any engine. NS is its namespace.
type injectionCase struct {
	labels, annotations map[string]string
	// edit, if set, changes a Pod of the containers api, web and istio-proxy.
	edit func(*corev1.Pod)
	// want lists the containers that are injected, with their releases; none if it is empty.
	want string
}

const (
	version = "0123456789abcdef"
	// ofPayments is the version of those that choose the Sentry project payments.
	ofPayments = "00112233445566"
	defaults   = "api web"
)

// wholeStamp are the labels of a whole stamp.
func wholeStamp(more ...string) map[string]string {
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
	project                  = obsv1.AnnotationSentryProject
	ofWorkload, noRelease    = obsv1.StampWorkload, obsv1.AnnotationSentryRelease
)

// crowded leaves as many bytes of the API server's limit on annotations, and has letters of two.
func crowded(annotations map[string]string, room int) map[string]string {
	for key, value := range annotations {
		room += len(key) + len(value)
	}
	annotations["big"] = strings.Repeat("ü", (validation.TotalAnnotationSizeLimitB-room-len("big"))/2)
	return annotations
}

// mirror is the annotation by which a kubelet shows a static Pod.
func mirror(more ...string) map[string]string {
	return keys(append(more, corev1.MirrorPodAnnotationKey, "7c9d")...)
}

func onNode(pod *corev1.Pod) { pod.Spec.NodeName = "node" }

// sidecars gives a Pod all that are known, and nothing else.
func sidecars(pod *corev1.Pod) {
	pod.Spec.Containers = nil
	for _, name := range policy.Sidecars {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: name, Image: "proxy:1"})
	}
}

// longChoice is longer than what obstack keeps of an annotation.
var longChoice = strings.Repeat("web,", 5000) + "api"

// stampedCases are Pods of stamped templates.
var stampedCases = map[string]injectionCase{
	"stamped, of a project since": {labels: wholeStamp(), annotations: keys(project, "payments"), want: defaults},
	"stamped":                     {labels: wholeStamp(), want: defaults},
	"choice of the stamp": {
		labels:      wholeStamp(),
		annotations: keys(obsv1.StampContainers, "api"),
		want:        "api",
	},
	"choice of the Pod": {
		labels:      wholeStamp(),
		annotations: keys(obsv1.StampContainers, "api", choice, " web"),
		want:        "web",
	},
	"all, sidecars too": {
		labels:      wholeStamp(),
		annotations: keys(choice, "*"),
		want:        "api web istio-proxy",
	},
	"a sidecar by name": {
		labels:      wholeStamp(),
		annotations: keys(choice, "istio-proxy,api"),
		want:        "api istio-proxy",
	},
	"one that is not there":       {labels: wholeStamp(), annotations: keys(choice, "api,none"), want: "api"},
	"none that is there":          {labels: wholeStamp(), annotations: keys(choice, "none")},
	"a choice that is not valid":  {labels: wholeStamp(), annotations: keys(choice, "api,")},
	"a choice in upper case":      {labels: wholeStamp(), annotations: keys(choice, "api,API")},
	"an empty choice":             {labels: wholeStamp(), annotations: keys(choice, "")},
	"opted out":                   {labels: wholeStamp(), annotations: keys(inject, "false")},
	"opted in":                    {labels: wholeStamp(), annotations: keys(inject, "true"), want: defaults},
	"an opt-out that is mistyped": {labels: wholeStamp(), annotations: keys(inject, "no")},
	"annotated too":               {labels: wholeStamp(), annotations: keys(stackKey, "shop"), want: defaults},
	"annotated too, in full": {
		labels:      wholeStamp(),
		annotations: keys(stackKey, "NS/shop"),
		want:        defaults,
	},
	"annotated for another stack": {labels: wholeStamp(), annotations: keys(stackKey, "other")},
	"annotated for nothing":       {labels: wholeStamp(), annotations: keys(stackKey, "")},
	"of a stack that is gone":     {labels: wholeStamp(obsv1.StampStack, "gone"), want: defaults},
	"of another namespace":        {labels: wholeStamp(obsv1.StampNamespace, "elsewhere"), want: defaults},
	"a stack that cannot be":      {labels: wholeStamp(obsv1.StampStack, "The.Shop")},
	"a namespace that cannot be":  {labels: wholeStamp(obsv1.StampNamespace, "")},
	"a version that cannot be":    {labels: wholeStamp(obsv1.StampVersion, "A_B")},
	"half a stamp":                {labels: keys(obsv1.StampStack, "shop", obsv1.StampVersion, version)},
	"the other half": {
		labels:      keys(obsv1.StampVersion, version),
		annotations: keys(stackKey, "shop"),
	},
	"a forged mark": {
		labels:      wholeStamp(),
		annotations: keys(obsv1.MarkInjected, "forged"),
		want:        defaults,
	},
	"of a Deployment":                {labels: wholeStamp("pod-template-hash", "7c9d"), want: defaults},
	"sidecars alone":                 {labels: wholeStamp(), edit: sidecars, want: " "},
	"the mirror of a static Pod":     {labels: wholeStamp(), annotations: mirror(), edit: onNode},
	"annotations that leave no room": {labels: wholeStamp(), annotations: crowded(keys(), 50)},
	"annotations that leave some":    {labels: wholeStamp(), annotations: crowded(keys(), 1024), want: defaults},
	"a choice that is too long":      {labels: wholeStamp(), annotations: keys(choice, longChoice)},
	"a hundred containers": {
		labels:      wholeStamp(),
		annotations: keys(ofWorkload, "w"),
		edit:        manyContainers,
		want:        everyOf100("=w@1"),
	},
	"a release from the tag": {
		labels:      wholeStamp(),
		annotations: keys(ofWorkload, "w"),
		edit:        images("r:5000/shop:1.4", "shop"),
		want:        "api=w@1.4 web",
	},
	"a release from the digest": {
		labels:      wholeStamp(),
		annotations: keys(ofWorkload, "w"),
		edit:        images("r:5000/a/shop@sha256:01", "r:5000/shop"),
		want:        "api=w@sha256:01 web",
	},
	"a release from tag and digest": {
		labels:      wholeStamp(),
		annotations: keys(ofWorkload, "w"),
		edit:        images("r/shop:1@sha256:01", "shop:"),
		want:        "api=w@1 web",
	},
	"a release that the Pod refuses": {
		labels:      wholeStamp(),
		annotations: keys(ofWorkload, "w", noRelease, "false"),
		want:        defaults,
	},
	"a release of the container": {
		labels:      wholeStamp(),
		annotations: keys(ofWorkload, "w"),
		edit:        ownRelease,
		want:        "api=own web=w@2",
	},
	"what is injected already": {labels: wholeStamp(), edit: injectedIn(0), want: defaults},
	"a copy of what is injected, with one container more": {
		labels:      wholeStamp(),
		annotations: keys(obsv1.MarkInjected, version),
		edit:        injectedIn(0),
		want:        defaults,
	},
	"a copy that has all": {
		labels:      wholeStamp(),
		annotations: keys(obsv1.MarkInjected, version),
		edit:        injectedIn(0, 1, 2),
		want:        "api web istio-proxy",
	},
	"a copy that has all but the release": {
		labels:      wholeStamp(),
		annotations: keys(obsv1.MarkInjected, version, ofWorkload, "w"),
		edit:        injectedIn(0, 1, 2),
		want:        "api=w@1 web=w@2 istio-proxy",
	},
}

func ownRelease(pod *corev1.Pod) {
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "SENTRY_RELEASE", Value: "own"}}
}

func injectedIn(containers ...int) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		for _, i := range containers {
			pod.Spec.Containers[i].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: "obstack." + pod.Namespace + ".shop." + version},
				Optional:             new(true),
			}}}
		}
	}
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
	"nothing":                 {},
	"annotated":               {annotations: keys(stackKey, "shop"), want: defaults},
	"annotated in full":       {annotations: keys(stackKey, "NS/shop"), want: defaults},
	"annotated for the other": {annotations: keys(stackKey, "other"), want: defaults},
	"annotated for none":      {annotations: keys(stackKey, "none")},
	"for a project": {
		annotations: keys(stackKey, "shop", project, "payments"), want: "payments: " + defaults,
	},
	"for a project without name":                {annotations: keys(stackKey, "shop", project, ""), want: defaults},
	"for an unknown project":                    {annotations: keys(stackKey, "shop", project, "none")},
	"annotated for one elsewhere":               {annotations: keys(stackKey, "elsewhere/shop")},
	"annotated, with a choice":                  {annotations: keys(stackKey, "shop", choice, "web"), want: "web"},
	"annotated, the mirror of a static Pod":     {annotations: mirror(stackKey, "shop"), edit: onNode},
	"annotated, and no room":                    {annotations: crowded(keys(stackKey, "shop"), 50)},
	"annotated, with a choice that is too long": {annotations: keys(stackKey, "shop", choice, longChoice)},
	"annotated and opted out":                   {annotations: keys(stackKey, "shop", inject, "false")},
	"annotated, of a Deployment": {
		labels:      keys("pod-template-hash", "7c9d"),
		annotations: keys(stackKey, "shop"),
	},
	"annotated, of a ReplicaSet": {
		annotations: keys(stackKey, "shop"),
		edit:        owned("apps/v1", "ReplicaSet"),
		want:        defaults,
	},
	"annotated, of a StatefulSet": {annotations: keys(stackKey, "shop"), edit: owned("apps/v1", "StatefulSet")},
	"annotated, of a workflow": {
		annotations: keys(stackKey, "shop"),
		edit:        owned("argoproj.io/v1", "Workflow"),
		want:        defaults,
	},
	"annotated, with other labels": {
		labels:      keys("app", "shop"),
		annotations: keys(stackKey, "shop"),
		want:        defaults,
	},
	"labelled": {
		labels: keys(obsv1.StampStack, "shop", "controller-revision-hash", "7c9d"),
		want:   defaults,
	},
	"labelled, with the namespace": {
		labels: keys(obsv1.StampStack, "shop", obsv1.StampNamespace, "NS"),
		want:   defaults,
	},
	"labelled for one elsewhere":   {labels: keys(obsv1.StampStack, "shop", obsv1.StampNamespace, "elsewhere")},
	"labelled and annotated apart": {labels: keys(obsv1.StampStack, "shop"), annotations: keys(stackKey, "other")},
	"labelled, with a release": {
		labels:      keys(obsv1.StampStack, "shop"),
		annotations: keys(ofWorkload, "w"),
		want:        "api=w@1 web=w@2",
	},
}

// inheritedCases are Pods of a Namespace that names the stack.
var inheritedCases = map[string]injectionCase{
	"of the Namespace": {want: defaults},
	"of the Namespace, the mirror of a static Pod": {annotations: mirror(), edit: onNode},
	"of the Namespace, opted out":                  {annotations: keys(inject, "false")},
	"of the Namespace, with a choice":              {annotations: keys(choice, "web"), want: "web"},
	"of the Namespace, of a workload":              {labels: keys("pod-template-hash", "7c9d")},
	"of the Namespace, annotated":                  {annotations: keys(stackKey, "none")},
}
