// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
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
	eventKind      = corev1.SchemeGroupVersion.WithKind("Event")
)

// collections are what is read for a bundle, beside workloads.
func collections() []collected {
	all := []collected{
		{kind: stackKind},
		{kind: obsv1.GroupVersion.WithKind("ObservabilityPlatform")},
		{kind: metadata.Definition, wanted: func(o *unstructured.Unstructured) bool {
			return strings.HasSuffix(o.GetName(), ".obstack.dev") || strings.HasSuffix(o.GetName(), ".monitoring.coreos.com")
		}},
		{kind: metadata.Deployment, opts: []client.ListOption{installed}},
		{kind: metadata.Pod, opts: []client.ListOption{installed}},
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
	size, more := 0, 0
	only, err := api.confined(ctx, list, func(object client.Object) {
		one := object.(*unstructured.Unstructured)
		if c.wanted == nil || c.wanted(one) {
			one.SetGroupVersionKind(c.kind)
			reduce(one)
			if size += sizeOf(one); size > maxBundleFile {
				more++ // Whatever comes next would not find room.
				return
			}
			b.objects[prefix+c.kind.Kind] = append(b.objects[prefix+c.kind.Kind], one)
		}
	}, c.opts...)
	if more > 0 {
		b.cut("%s: %d objects", objectsFile(prefix+c.kind.Kind), more)
	}
	what := pluralOf(c.kind.Kind)
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

// sizeOf an object in a file, nearly.
func sizeOf(object *unstructured.Unstructured) int {
	text, err := object.MarshalJSON()
	if err != nil {
		return maxBundleFile // It cannot be written either.
	}
	return len(text)
}

// Bounds of the logs: lines and bytes of one, how many there are, and the bytes of all.
const (
	logLines = 5000
	logBytes = 1 << 20
	maxLogs  = 200
	allLogs  = 16 << 20
)

// logged is a log that may be read.
type logged struct {
	// rank is 0 in a namespace of the operator, and place its place among those of a namespace.
	rank, place int
	pod         *unstructured.Unstructured
	container   string
	previous    bool
}

func (l *logged) file() string {
	end := ".log"
	if l.previous {
		end = ".previous.log"
	}
	return fmt.Sprintf("logs/%s/%s/%s%s", l.pod.GetNamespace(), l.pod.GetName(), l.container, end)
}

// logged finds the logs of the operator's containers, those before the last restart too. Whoever
// may make Pods can label them like the operator's: only its own namespaces count, and after them
// those of stacks, in turns, so that none takes the place of another one.
func (b *bundle) logged(in *installation) (found []logged) {
	ranks := map[string]int{}
	if in != nil {
		for _, stack := range in.stacks {
			ranks[stack.Namespace] = 1
		}
		for i := range in.operators {
			ranks[in.operators[i].deployment.Namespace] = 0
		}
	}
	if in == nil || len(in.operators) == 0 {
		ranks[usualNamespace] = 0
	}
	places := map[string]int{}
	for _, pod := range b.objects[metadata.Pod.Kind] {
		rank, ok := ranks[pod.GetNamespace()]
		if !ok {
			continue
		}
		statuses, _, _ := unstructured.NestedSlice(pod.Object, "status", "containerStatuses")
		for _, item := range statuses {
			status, _ := item.(map[string]any)
			name, _ := status["name"].(string)
			one := logged{rank: rank, place: places[pod.GetNamespace()], pod: pod, container: name}
			places[pod.GetNamespace()]++
			found = append(found, one)
			if restarts, _ := status["restartCount"].(int64); restarts > 0 {
				one.previous = true
				found = append(found, one)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b logged) int { return cmp.Or(a.rank-b.rank, a.place-b.place) })
	return found
}

// logs reads those that are wanted.
func (b *bundle) logs(ctx context.Context, flags *genericclioptions.ConfigFlags, wanted []logged) {
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
	b.readLogs(wanted, func(pod *unstructured.Unstructured, opts *corev1.PodLogOptions) ([]byte, error) {
		return api.Pods(pod.GetNamespace()).GetLogs(pod.GetName(), opts).DoRaw(ctx)
	})
}

// readLogs until there is enough of them.
func (b *bundle) readLogs(wanted []logged,
	read func(*unstructured.Unstructured, *corev1.PodLogOptions) ([]byte, error)) {
	total := 0
	for i := range wanted {
		one := &wanted[i]
		limit := min(logBytes, allLogs-total)
		if i == maxLogs || limit <= 0 {
			b.cut("logs: %d of %d", len(wanted)-i, len(wanted))
			break
		}
		text, err := read(one.pod, &corev1.PodLogOptions{
			Container: one.container, Previous: one.previous, TailLines: new(int64(logLines)), LimitBytes: new(int64(limit)),
		})
		if err != nil {
			b.unread(readError("the log of Pod "+one.pod.GetName(), one.pod.GetNamespace(), err))
			continue
		}
		if len(text) >= limit { // The last line may be cut in the middle of a secret.
			b.cut("%s: all after %d bytes", one.file(), limit)
			text = text[:bytes.LastIndexByte(text[:limit], '\n')+1]
		}
		b.texts[one.file()] = string(text)
		total += len(text)
	}
}

// leaveOut the logs and events of all namespaces, or of all but one: only what is searched for
// secrets is given away.
func (b *bundle) leaveOut(but string) {
	for file := range b.texts {
		if strings.HasPrefix(file, "logs/") && (but == "" || !strings.HasPrefix(file, "logs/"+but+"/")) {
			delete(b.texts, file)
		}
	}
	b.objects[eventKind.Kind] = slices.DeleteFunc(b.objects[eventKind.Kind], func(event *unstructured.Unstructured) bool {
		return but == "" || event.GetNamespace() != but
	})
	if len(b.objects[eventKind.Kind]) == 0 {
		delete(b.objects, eventKind.Kind)
	}
}

// reports are those of doctor and status. What was read of the installation is returned; nil if
// nothing was.
func (b *bundle) reports(ctx context.Context, api scopedReader, now time.Time) *installation {
	in, err := readInstallation(ctx, api, "")
	if err != nil {
		b.unread(err)
		return nil
	}
	b.report("doctor", examine(in, now))
	var stacks []obsv1.ObservabilityStack
	for _, stack := range in.stacks[:min(len(in.stacks), maxReports)] {
		stacks = append(stacks, *stack)
	}
	if more := len(in.stacks) - len(stacks); more > 0 {
		b.cut("status.json: %d of %d stacks", more, len(in.stacks))
	}
	b.report("status", newReports(ctx, api, stacks))
	return in
}

// maxReports bounds the stacks of which a bundle has the status.
const maxReports = 100

func (b *bundle) report(name string, report any) {
	_, content, err := generic(report)
	if err != nil {
		b.unread(err)
		return
	}
	b.contents[name+".json"] = content
}
