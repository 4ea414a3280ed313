// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

var stackKind = obsv1.GroupVersion.WithKind("ObservabilityStack")

// childKinds are the kinds of the children of newStack.
var childKinds = []schema.GroupVersionKind{
	{Version: "v1", Kind: "Secret"},
	{Version: "v1", Kind: "ConfigMap"},
	{Version: "v1", Kind: "Service"},
	{Group: "apps", Version: "v1", Kind: "Deployment"},
	{Group: "monitoring.coreos.com", Version: "v1", Kind: "ServiceMonitor"},
	{Group: "monitoring.coreos.com", Version: "v1", Kind: "PrometheusRule"},
}

// list everything of one kind in a namespace, whoever made it.
func (p *plane) list(t *testing.T, kind schema.GroupVersionKind,
	opts ...client.ListOption) []unstructured.Unstructured {
	t.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	// Tests clean up after their context has ended.
	if err := p.api.List(context.WithoutCancel(t.Context()), list, opts...); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// state is all that is in a namespace, by kind and name.
type state map[string]map[string]any

func (p *plane) state(t *testing.T, namespace string) state {
	t.Helper()
	s, stacks, current := state{}, map[string]string{}, p.currentVersions(t, namespace)
	for _, kind := range append([]schema.GroupVersionKind{stackKind}, childKinds...) {
		for _, obj := range p.list(t, kind, client.InNamespace(namespace)) {
			if old(&obj, current) {
				continue
			}
			if kind == stackKind {
				stacks[obj.GetName()] = string(obj.GetUID())
			}
			normalised, err := normalise(obj.Object, stacks[obj.GetLabels()[obsv1.LabelStack]])
			if err != nil {
				t.Fatal(err)
			}
			s[kind.Kind+"/"+obj.GetName()] = normalised
		}
	}
	return s
}

// currentVersions are the hashes of the stacks' settings.
func (p *plane) currentVersions(t *testing.T, namespace string) map[string]string {
	t.Helper()
	stacks, current := &obsv1.ObservabilityStackList{}, map[string]string{}
	if err := p.api.List(t.Context(), stacks, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	for _, stack := range stacks.Items {
		current[stack.Name] = stack.Status.ConfigHash
	}
	return current
}

// old reports whether an object is a version of settings that is no longer wanted. It stays for an
// hour, and whether there is one depends on what an operator saw before it was killed.
func old(obj client.Object, current map[string]string) bool {
	version, isVersion := obj.GetLabels()[obsv1.StampVersion]
	return isVersion && version != current[obj.GetLabels()[obsv1.LabelStack]]
}

// normalise drops what differs between two runs that end the same. The UID of the
// stack, which is the owner's and in the ownership of that field, gets a name; one
// of another stack stays. The hash of what was applied covers that UID, and nothing that
// is not compared.
func normalise(obj map[string]any, stack string) (map[string]any, error) {
	for _, field := range []string{"uid", "resourceVersion", "generation", "creationTimestamp"} {
		unstructured.RemoveNestedField(obj, "metadata", field)
	}
	unstructured.RemoveNestedField(obj, "metadata", "annotations", obsv1.AnnotationApplied)
	for _, field := range []string{"clusterIP", "clusterIPs"} {
		unstructured.RemoveNestedField(obj, "spec", field)
	}
	drop(obj, "time", "metadata", "managedFields")
	drop(obj, "lastTransitionTime", "status", "conditions")
	content, err := json.Marshal(obj)
	if err != nil {
		return nil, err
	}
	if stack != "" {
		content = bytes.ReplaceAll(content, []byte(stack), []byte("UID of the stack"))
	}
	var normalised map[string]any
	return normalised, json.Unmarshal(content, &normalised)
}

// drop a field from each element of a list.
func drop(obj map[string]any, field string, list ...string) {
	elements, _, _ := unstructured.NestedFieldNoCopy(obj, list...)
	if elements, ok := elements.([]any); ok {
		for _, element := range elements {
			delete(element.(map[string]any), field)
		}
	}
}

// usersObjects are in each namespace before a stack is.
var usersObjects = []string{"Secret/" + brokerSecret, "Service/" + shopService}

// wantChildren checks that a namespace holds what its stacks ask for and nothing
// else, each object owned by its stack.
func (p *plane) wantChildren(t *testing.T, namespace string) {
	t.Helper()
	stacks := &obsv1.ObservabilityStackList{}
	if err := p.api.List(t.Context(), stacks, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(usersObjects)
	owners := map[string]string{}
	for i := range stacks.Items {
		stack := &stacks.Items[i]
		want = append(want, childrenOf(stack)...)
		owners[stack.Name] = string(stack.UID)
	}
	current := p.currentVersions(t, namespace)
	var got []string
	for _, kind := range childKinds {
		for _, child := range p.list(t, kind, client.InNamespace(namespace)) {
			if old(&child, current) {
				continue
			}
			name := kind.Kind + "/" + child.GetName()
			got = append(got, name)
			if child.GetLabels()[obsv1.StampVersion] != "" || slices.Contains(usersObjects, name) {
				continue // The settings outlive their stack.
			}
			if owner := metav1.GetControllerOf(&child); owner == nil || owners[owner.Name] != string(owner.UID) {
				t.Errorf("%s is an orphan: its owner is %v", name, owner)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

// versions are the resource versions of all that is in a namespace.
func (p *plane) versions(t *testing.T, namespace string) map[string]string {
	t.Helper()
	versions := map[string]string{}
	for _, kind := range append([]schema.GroupVersionKind{stackKind}, childKinds...) {
		for _, obj := range p.list(t, kind, client.InNamespace(namespace)) {
			versions[kind.Kind+"/"+obj.GetName()] = obj.GetResourceVersion()
		}
	}
	return versions
}

// wipe removes the stacks of a namespace and their children, where no garbage
// collector does.
func (p *plane) wipe(t *testing.T, namespace string) {
	t.Helper()
	for _, kind := range append([]schema.GroupVersionKind{stackKind}, childKinds...) {
		for _, obj := range p.list(t, kind, client.InNamespace(namespace)) {
			if slices.Contains(usersObjects, kind.Kind+"/"+obj.GetName()) {
				continue
			}
			if err := p.api.Delete(context.WithoutCancel(t.Context()), &obj); client.IgnoreNotFound(err) != nil {
				t.Error(err)
			}
		}
	}
}

// wantState compares two states and shows the first differences only: a whole
// dashboard says little.
func wantState(t *testing.T, want, got state) {
	t.Helper()
	names := slices.Sorted(maps.Keys(want))
	for name := range got {
		if _, found := want[name]; !found {
			t.Errorf("%s is there, which the undisturbed run did not make", name)
		}
	}
	shown := 0
	for _, name := range names {
		if diff := cmp.Diff(want[name], got[name]); diff != "" && shown < 5 {
			shown++
			t.Errorf("%s (-undisturbed +disturbed):\n%s", name, diff)
		}
	}
}
