// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"fmt"
	"reflect"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// objects is a reader of those that it holds, in pages, which counts what it is asked.
type objects struct {
	client.Reader
	all         []client.Object
	lists, gets int
	err         error
}

func (o *objects) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	o.gets++
	for _, obj := range o.all {
		if client.ObjectKeyFromObject(obj) != key {
			continue
		}
		if partial, ok := into.(*metav1.PartialObjectMetadata); ok && kindOf(obj) == partial.Kind {
			partial.SetResourceVersion(obj.GetResourceVersion())
			partial.SetUID(obj.GetUID())
			return nil
		}
		if reflect.TypeOf(obj) == reflect.TypeOf(into) {
			reflect.ValueOf(into).Elem().Set(reflect.ValueOf(obj.DeepCopyObject()).Elem())
			return nil
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{Resource: kindOf(into)}, key.Name)
}

func kindOf(obj runtime.Object) string {
	if partial, ok := obj.(*metav1.PartialObjectMetadata); ok {
		return partial.Kind
	}
	return reflect.TypeOf(obj).Elem().Name()
}

func (o *objects) List(_ context.Context, into client.ObjectList, opts ...client.ListOption) error {
	o.lists++
	if o.err != nil {
		return o.err
	}
	options := (&client.ListOptions{}).ApplyOptions(opts)
	kind := kindOf(into) // ...List
	if partial, ok := into.(*metav1.PartialObjectMetadataList); ok {
		kind = partial.Kind
	}
	var found []runtime.Object
	for _, obj := range o.all {
		matches := kindOf(obj)+"List" == kind && (options.Namespace == "" || options.Namespace == obj.GetNamespace())
		if matches && options.LabelSelector != nil {
			matches = options.LabelSelector.Matches(labelSet(obj.GetLabels()))
		}
		if !matches {
			continue
		}
		if _, ok := into.(*metav1.PartialObjectMetadataList); ok {
			obj = partialOf(obj)
		}
		found = append(found, obj)
	}
	from, _ := strconv.Atoi(options.Continue)
	to := len(found)
	next := ""
	if options.Limit > 0 && int64(to-from) > options.Limit {
		to = from + int(options.Limit)
		next = strconv.Itoa(to)
	}
	into.SetContinue(next)
	return meta.SetList(into, found[from:to])
}

type labelSet map[string]string

func (l labelSet) Has(label string) bool   { _, ok := l[label]; return ok }
func (l labelSet) Get(label string) string { return l[label] }
func (l labelSet) Lookup(label string) (string, bool) {
	value, ok := l[label]
	return value, ok
}

func partialOf(obj client.Object) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: obj.GetNamespace(), Name: obj.GetName(), UID: obj.GetUID(), Labels: obj.GetLabels(),
		OwnerReferences: obj.GetOwnerReferences(), ResourceVersion: obj.GetResourceVersion(),
	}}
}

// controlledBy is the metadata of an object that another one controls.
func controlledBy(kind string, owner types.UID, namespace, name string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: types.UID("uid-of-" + name), Labels: labels,
		OwnerReferences: []metav1.OwnerReference{{Kind: kind, UID: owner, Controller: new(true)}},
	}
}

// seen is what a source says of a part at the level Seen.
func seen(store *Store, stack *obsv1.ObservabilityStack, source Source, name string) string {
	store.mu.Lock()
	defer store.mu.Unlock()
	record := store.known[idOf(stack)][source]
	if record == nil {
		return ""
	}
	for _, f := range record.findings {
		if f.Name == name && f.Level == obsv1.LevelSeen {
			return fmt.Sprintf("%s %s %s", f.State, f.Reason, f.Message)
		}
	}
	return ""
}
