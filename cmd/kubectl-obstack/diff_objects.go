// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/metadata"
)

// children lists what obstack made for the stack.
func (c *comparison) children(ctx context.Context) (existing, error) {
	found := existing{
		objects: map[objectKey]*unstructured.Unstructured{}, unlisted: map[schema.GroupKind]bool{}, secretsKnown: true,
	}
	for _, kind := range childKinds {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		err := c.api.List(ctx, list, client.InNamespace(c.stack.Namespace), client.MatchingLabels{
			obsv1.LabelManagedBy: obsv1.ManagedBy, obsv1.LabelStack: c.stack.Name, obsv1.LabelStackNamespace: c.stack.Namespace,
		})
		switch {
		case meta.IsNoMatchError(err):
		case apierrors.IsForbidden(err):
			found.unlisted[kind.GroupKind()] = true
			found.secretsKnown = found.secretsKnown && kind != metadata.Secret
			c.unknown(readError(pluralOf(kind.Kind), c.stack.Namespace, err).Error())
		case err != nil:
			return found, readError(pluralOf(kind.Kind), c.stack.Namespace, err)
		}
		for i := range list.Items {
			found.objects[keyOf(&list.Items[i])] = &list.Items[i]
		}
	}
	return found, nil
}

// compare what is wanted with what exists.
func (c *comparison) compare(ctx context.Context, rendered rendering, objects existing) error {
	wanted := map[objectKey]bool{}
	for _, object := range rendered.objects {
		content, err := asApplied(object)
		if err != nil {
			return err
		}
		want := &unstructured.Unstructured{Object: content}
		wanted[keyOf(want)] = true
		if err := c.compareOne(ctx, want, objects); err != nil {
			return err
		}
	}
	var gone []Change
	for key, live := range objects.objects {
		if wanted[key] || !metav1.IsControlledBy(live, c.stack) || live.GetDeletionTimestamp() != nil ||
			slices.Contains(rendered.held, live.GetLabels()[obsv1.LabelComponent]) {
			continue
		}
		change, err := newChange(verbDelete, live, nil)
		if err != nil {
			return err
		}
		gone = append(gone, change)
	}
	slices.SortFunc(gone, func(a, b Change) int { return strings.Compare(a.Kind+"/"+a.Name, b.Kind+"/"+b.Name) })
	c.diff.Changes = append(c.diff.Changes, gone...)
	return nil
}

func (c *comparison) compareOne(ctx context.Context, want *unstructured.Unstructured, objects existing) error {
	secret := want.GetKind() == metadata.Secret.Kind
	switch {
	case secret && (!c.settled || strings.Contains(want.GetName(), unknown)):
		c.unknown("the settings of workloads: they depend on Secrets that you may not read in namespace " +
			c.stack.Namespace)
		return nil
	case objects.unlisted[want.GroupVersionKind().GroupKind()]:
		return nil // It was noted.
	}
	live, err := c.find(ctx, want, objects)
	if err != nil {
		return err
	}
	switch {
	case live == nil:
		return c.change(verbCreate, nil, want)
	case live.GetLabels()[obsv1.LabelManagedBy] != obsv1.ManagedBy:
		c.diff.Problems = append(c.diff.Problems, fmt.Sprintf("%s %s exists and belongs to somebody else: obstack does not "+
			"touch it", want.GetKind(), want.GetName()))
		return nil
	case secret:
		return nil // Its name says what is in it.
	}
	planned, err := c.plan(ctx, live, want)
	if err != nil {
		return err
	}
	return c.change(verbUpdate, live, planned)
}

// find the object that has the name of one that is wanted; nil if there is none.
func (c *comparison) find(ctx context.Context, want *unstructured.Unstructured,
	objects existing) (*unstructured.Unstructured, error) {
	if live := objects.objects[keyOf(want)]; live != nil {
		return live, nil
	}
	found := &unstructured.Unstructured{}
	found.SetGroupVersionKind(want.GroupVersionKind())
	err := c.api.Get(ctx, client.ObjectKeyFromObject(want), found)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case apierrors.IsForbidden(err):
		c.unknown(readError(want.GetKind()+"s", want.GetNamespace(), err).Error())
		return want, nil
	case err != nil:
		return nil, readError(want.GetKind()+" "+want.GetName(), want.GetNamespace(), err)
	}
	return found, nil
}

// plan is what an object would become: what the API server says in a dry run, or else the live one
// with the fields that obstack sets.
func (c *comparison) plan(
	ctx context.Context, live, want *unstructured.Unstructured,
) (*unstructured.Unstructured, error) {
	takeUnknown(want.Object, live.Object)
	merged := &unstructured.Unstructured{Object: overlay(live.Object, want.Object).(map[string]any)}
	planned := want.DeepCopy()
	planned.SetOwnerReferences(live.GetOwnerReferences())
	annotations := planned.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[obsv1.AnnotationApplied] = live.GetAnnotations()[obsv1.AnnotationApplied]
	planned.SetAnnotations(annotations)
	err := c.api.Apply(ctx, client.ApplyConfigurationFromUnstructured(planned), client.DryRunAll, client.ForceOwnership,
		client.FieldOwner(obsv1.FieldManager))
	switch {
	case apierrors.IsForbidden(err):
		if kind := live.GetKind() + "s"; !slices.Contains(c.unpatched, kind) {
			c.unpatched = append(c.unpatched, kind)
		}
		return merged, nil
	case apierrors.IsInvalid(err):
		c.diff.Problems = append(c.diff.Problems, fmt.Sprintf("the API server refuses to change %s %s, so obstack would "+
			"delete it and make it anew", live.GetKind(), live.GetName()))
		return merged, nil
	case err != nil:
		return nil, fmt.Errorf("ask the API server about %s %s: %w", live.GetKind(), live.GetName(), err)
	}
	return planned, nil
}

// overlay sets in a value those fields that another one has. Items of lists are matched by
// position.
func overlay(below, above any) any {
	switch above := above.(type) {
	case map[string]any:
		merged := map[string]any{}
		under, _ := below.(map[string]any)
		maps.Copy(merged, under)
		for key, value := range above {
			merged[key] = overlay(under[key], value)
		}
		return merged
	case []any:
		under, _ := below.([]any)
		merged := make([]any, len(above))
		for i, value := range above {
			merged[i] = value
			if i < len(under) && len(under) == len(above) {
				merged[i] = overlay(under[i], value)
			}
		}
		return merged
	default:
		return above
	}
}

// takeUnknown puts what is unknown where it was rendered from what is there.
func takeUnknown(want, got map[string]any) {
	for key, value := range want {
		switch value := value.(type) {
		case string:
			if found, ok := got[key]; ok && strings.Contains(value, unknown) {
				want[key] = found
			}
		case map[string]any:
			if found, ok := got[key].(map[string]any); ok {
				takeUnknown(value, found)
			}
		}
	}
}

// change notes one, unless nothing differs that is compared.
func (c *comparison) change(verb string, before, after *unstructured.Unstructured) error {
	if before != nil && reflect.DeepEqual(compared(before).Object, compared(after).Object) {
		return nil
	}
	change, err := newChange(verb, before, after)
	if err == nil {
		c.diff.Changes = append(c.diff.Changes, change)
	}
	return err
}

// newChange shows how an object differs; it is nil where there is none.
func newChange(verb string, before, after *unstructured.Unstructured) (Change, error) {
	named, texts := before, [2]string{}
	for i, object := range []*unstructured.Unstructured{before, after} {
		if object == nil {
			continue
		}
		named = object
		text, err := asYAML(compared(object).Object)
		if err != nil {
			return Change{}, err
		}
		texts[i] = string(text)
	}
	change := Change{Verb: verb, Kind: named.GetKind(), Namespace: named.GetNamespace(), Name: named.GetName()}
	name := change.Kind + "/" + change.Namespace + "/" + change.Name
	var err error
	change.Diff, err = unifiedDiff(name, texts[0], texts[1])
	return change, err
}

// compared is what users see of an object: without the bookkeeping of the API server and of
// obstack, and without what a Secret holds.
func compared(object *unstructured.Unstructured) *unstructured.Unstructured {
	object = object.DeepCopy()
	for _, field := range []string{
		"managedFields", "uid", "resourceVersion", "creationTimestamp", "generation", "ownerReferences", "selfLink",
	} {
		unstructured.RemoveNestedField(object.Object, "metadata", field)
	}
	for _, annotation := range []string{
		obsv1.AnnotationApplied, obsv1.AnnotationSources, obsv1.AnnotationContent, "deployment.kubernetes.io/revision",
		corev1.LastAppliedConfigAnnotation,
	} {
		unstructured.RemoveNestedField(object.Object, "metadata", "annotations", annotation)
	}
	if len(object.GetAnnotations()) == 0 {
		unstructured.RemoveNestedField(object.Object, "metadata", "annotations")
	}
	delete(object.Object, "status")
	if object.GetKind() != metadata.Secret.Kind {
		return object
	}
	reduceAnnotations(object.Object) // Tools write down there what they applied.
	for _, field := range []string{"data", "stringData"} {
		data, _ := object.Object[field].(map[string]any)
		for key := range data {
			data[key] = "***"
		}
	}
	return object
}
