// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/metadata"
)

// collected is a kind of objects in a bundle.
type collected struct {
	kind schema.GroupVersionKind
	opts []client.ListOption
	// wanted are those of the kind that belong into it; nil if all do.
	wanted func(*unstructured.Unstructured) bool
}

var (
	admissionKinds = schema.GroupVersion{Group: "admissionregistration.k8s.io", Version: "v1"}
	podKind        = corev1.SchemeGroupVersion.WithKind("Pod")
	eventKind      = corev1.SchemeGroupVersion.WithKind("Event")
)

// collections are what is read for a bundle, beside workloads.
func collections() []collected {
	all := []collected{
		{kind: obsv1.GroupVersion.WithKind("ObservabilityStack")},
		{kind: obsv1.GroupVersion.WithKind("ObservabilityPlatform")},
		{kind: schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"},
			wanted: func(o *unstructured.Unstructured) bool {
				return strings.HasSuffix(o.GetName(), ".obstack.dev") || strings.HasSuffix(o.GetName(), ".monitoring.coreos.com")
			}},
		{kind: metadata.Deployment, opts: []client.ListOption{installed}},
		{kind: podKind, opts: []client.ListOption{installed}},
		{kind: eventKind, wanted: aboutUs},
		{kind: desired.ServiceMonitorKind.GroupVersion().WithKind("Prometheus")},
	}
	for _, kind := range []string{
		"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "MutatingAdmissionPolicy",
		"MutatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
	} {
		all = append(all, collected{kind: admissionKinds.WithKind(kind), opts: []client.ListOption{installed}})
	}
	for _, kind := range childKinds {
		all = append(all, collected{kind: kind, opts: []client.ListOption{
			client.MatchingLabels{obsv1.LabelManagedBy: obsv1.ManagedBy}, client.HasLabels{obsv1.LabelStack},
		}})
	}
	return all
}

// aboutUs reports whether an event is about stacks and platforms, or recorded by the operator.
func aboutUs(event *unstructured.Unstructured) bool {
	about, _, _ := unstructured.NestedString(event.Object, "involvedObject", "apiVersion")
	by, _, _ := unstructured.NestedString(event.Object, "reportingComponent")
	source, _, _ := unstructured.NestedString(event.Object, "source", "component")
	return strings.HasPrefix(about, obsv1.GroupVersion.Group+"/") || by == "obstack" || source == "obstack"
}

// takesSettings reports whether a workload has to do with a stack.
func takesSettings(object *unstructured.Unstructured) bool {
	path := []string{"spec", "template", "metadata"}
	if object.GetKind() == policy.KindCronJob {
		path = []string{"spec", "jobTemplate", "spec", "template", "metadata"}
	}
	template, _, _ := unstructured.NestedStringMap(object.Object, append(path, "annotations")...)
	labels, _, _ := unstructured.NestedStringMap(object.Object, append(path, "labels")...)
	return !ours(object) && (object.GetAnnotations()[obsv1.AnnotationStack] != "" ||
		template[obsv1.AnnotationStack] != "" || labels[obsv1.StampStack] != "")
}

// collect what the caller may read.
func (b *bundle) collect(ctx context.Context, api scopedReader) {
	for _, c := range collections() {
		b.list(ctx, api, c, "", reduce)
	}
	for _, kind := range policy.Kinds {
		b.list(ctx, api, collected{kind: kind.GroupVersionKind, wanted: takesSettings}, "workload-", reduceWorkload)
	}
}

// list reads one kind into the file of a prefix and the kind.
func (b *bundle) list(ctx context.Context, api scopedReader, c collected, prefix string,
	reduce func(*unstructured.Unstructured)) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(c.kind.GroupVersion().WithKind(c.kind.Kind + "List"))
	only, err := api.confined(ctx, list, func(object client.Object) {
		one := object.(*unstructured.Unstructured)
		if c.wanted == nil || c.wanted(one) {
			one.SetGroupVersionKind(c.kind)
			reduce(one)
			b.objects[prefix+c.kind.Kind] = append(b.objects[prefix+c.kind.Kind], one)
		}
	}, c.opts...)
	what := c.kind.Kind + "s"
	if kind, ok := strings.CutSuffix(c.kind.Kind, "y"); ok {
		what = kind + "ies"
	}
	switch {
	case meta.IsNoMatchError(err):
		err = fmt.Errorf("the cluster does not serve %s", what)
	case err != nil:
		err = readError(what, metav1.NamespaceAll, err)
	case only != "":
		err = fmt.Errorf("%s: only those of namespace %s may be read", what, only)
	}
	b.unread(err)
}

// logLines and logBytes bound the log of a container.
const (
	logLines = 5000
	logBytes = 1 << 20
)

// logs of the operator's containers, those before the last restart too.
func (b *bundle) logs(ctx context.Context, flags *genericclioptions.ConfigFlags) {
	config, err := flags.ToRESTConfig()
	if err != nil {
		b.unread(err)
		return
	}
	api, err := typedcorev1.NewForConfig(config)
	if err != nil {
		b.unread(err)
		return
	}
	for _, pod := range b.objects[podKind.Kind] {
		statuses, _, _ := unstructured.NestedSlice(pod.Object, "status", "containerStatuses")
		for _, item := range statuses {
			status, _ := item.(map[string]any)
			name, _ := status["name"].(string)
			file := fmt.Sprintf("logs/%s/%s/%s", pod.GetNamespace(), pod.GetName(), name)
			b.log(ctx, api, pod, corev1.PodLogOptions{Container: name}, file+".log")
			if restarts, _ := status["restartCount"].(int64); restarts > 0 {
				b.log(ctx, api, pod, corev1.PodLogOptions{Container: name, Previous: true}, file+".previous.log")
			}
		}
	}
}

func (b *bundle) log(ctx context.Context, api typedcorev1.PodsGetter, pod *unstructured.Unstructured,
	opts corev1.PodLogOptions, file string) {
	opts.TailLines, opts.LimitBytes = new(int64(logLines)), new(int64(logBytes))
	text, err := api.Pods(pod.GetNamespace()).GetLogs(pod.GetName(), &opts).DoRaw(ctx)
	if err != nil {
		b.unread(readError("the log of Pod "+pod.GetName(), pod.GetNamespace(), err))
		return
	}
	if len(text) >= logBytes { // The last line may be cut in the middle of a secret.
		b.cut("%s: all after %d bytes", file, logBytes)
		text = text[:bytes.LastIndexByte(text, '\n')+1]
	}
	b.texts[file] = string(text)
}

// reports are those of doctor and status.
func (b *bundle) reports(ctx context.Context, flags *genericclioptions.ConfigFlags, api scopedReader, now time.Time) {
	in, err := readInstallation(ctx, flags, "")
	if err != nil {
		b.unread(err)
		return
	}
	b.report("doctor", examine(in, now))
	status := StatusReport{Stacks: []StackReport{}}
	for i, stack := range in.stacks {
		if i == maxReports {
			b.cut("status.json: %d of %d stacks", len(in.stacks)-i, len(in.stacks))
			break
		}
		status.Stacks = append(status.Stacks, newReport(ctx, api, stack))
	}
	b.report("status", status)
}

// maxReports bounds the stacks whose status is made: each takes several requests.
const maxReports = 100

func (b *bundle) report(name string, report any) {
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		b.unread(err)
		return
	}
	b.texts[name+".json"] = string(text) + "\n"
}
