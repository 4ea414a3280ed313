// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// inheritance is a child as a former process left it. The record has the hash of the
// request that applied it, and fields, as a FieldsV1, are those that the request set and
// that nobody changed or removed since: who does becomes their owner, and we cease to be.
type inheritance struct {
	record
	owner  types.UID
	fields []byte
}

// listing is what was listed of a kind, or why it cannot be and until when that is not tried again.
// A list that fails may take long, and every owner needs it.
type listing struct {
	found map[Key]inheritance
	err   error
	until time.Time
}

// listAgainAfter a list failed.
const listAgainAfter = 10 * time.Second

// pageSize is how many children are listed at a time.
const pageSize = 500

// inherit lists the children of a kind, the first time that it is asked for.
func (e *Engine) inherit(ctx context.Context, kind schema.GroupVersionKind) error {
	e.inherits.Lock()
	defer e.inherits.Unlock()
	if listed := e.inherited[kind]; listed != nil && (listed.err == nil || time.Now().Before(listed.until)) {
		return listed.err
	}
	listed := &listing{found: map[Key]inheritance{}}
	namespaces := e.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	for _, namespace := range namespaces {
		if err := e.listInherited(ctx, kind, namespace, listed.found); err != nil {
			listed = &listing{
				err: fmt.Errorf("list what there is of %s: %w", kind.Kind, err), until: time.Now().Add(listAgainAfter),
			}
			break
		}
	}
	if e.inherited == nil {
		e.inherited = map[schema.GroupVersionKind]*listing{}
	}
	e.inherited[kind] = listed
	return listed.err
}

func (e *Engine) listInherited(
	ctx context.Context, kind schema.GroupVersionKind, namespace string, found map[Key]inheritance,
) error {
	page := &metav1.PartialObjectMetadataList{}
	for more := true; more; more = page.Continue != "" {
		opts := &client.ListOptions{Limit: pageSize, Continue: page.Continue}
		client.InNamespace(namespace).ApplyToList(opts)
		client.MatchingLabels(e.Labels).ApplyToList(opts)
		page = &metav1.PartialObjectMetadataList{}
		page.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := e.listPage(ctx, page, opts); err != nil {
			return err
		}
		for i := range page.Items {
			child := &page.Items[i]
			hash, fields := child.Annotations[e.HashAnnotation], e.ownedFields(child, kind)
			if hash != "" && fields != nil {
				left := inheritance{record: newRecord(hash, child), fields: fields}
				if owner := metav1.GetControllerOf(child); owner != nil {
					left.owner = owner.UID
				}
				found[Key{kind.GroupKind(), child.Namespace, child.Name}] = left
			}
		}
	}
	return nil
}

// listPage gives up in time to serve the other kinds: all passes wait for a list.
func (e *Engine) listPage(ctx context.Context, page client.ObjectList, opts client.ListOption) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return e.Live.List(ctx, page, opts)
}

// ownedFields are those of a child that the last apply set and that stand unchanged.
func (e *Engine) ownedFields(child *metav1.PartialObjectMetadata, kind schema.GroupVersionKind) []byte {
	for _, entry := range child.ManagedFields {
		if entry.Manager == e.FieldManager && entry.Operation == metav1.ManagedFieldsOperationApply &&
			entry.Subresource == "" && entry.APIVersion == kind.GroupVersion().String() {
			return entry.FieldsV1.GetRawBytes()
		}
	}
	return nil
}

// takeInherited moves what there is of the owner's children to the pass. What it does
// not need is of no use to later ones, which would have to read it again.
func (p *Pass) takeInherited(kind schema.GroupVersionKind) {
	p.engine.inherits.Lock()
	defer p.engine.inherits.Unlock()
	all := p.engine.inherited[kind].found
	for key := range p.live {
		if left, ok := all[key]; ok {
			p.inherited[key] = left
			delete(all, key)
		}
	}
}

// claim records what a former process applied as if this one had, if that was the
// same request and every field that it set stands.
func (p *Pass) claim(req *request) (record, bool) {
	left, ok := p.inherited[req.key]
	if !ok || left.hash != req.hash {
		return record{}, false
	}
	var fields, object map[string]any
	if json.Unmarshal(left.fields, &fields) != nil || json.Unmarshal(req.content, &object) != nil ||
		unstructured.SetNestedField(object, left.hash, "metadata", "annotations", p.engine.HashAnnotation) != nil ||
		!hasObject(fields, object) {
		return record{}, false
	}
	p.engine.store(p.owner.GetUID(), req.key, left.record)
	return left.record, true
}

// hasObject reports whether a tree of owned fields has all that an apply request sets. Some
// fields are never owned: those that name the object, and the status, which the API server resets.
func hasObject(fields, object map[string]any) bool {
	metadata, _ := object["metadata"].(map[string]any)
	for _, name := range []string{"name", "namespace", "creationTimestamp"} {
		delete(metadata, name)
	}
	for _, name := range []string{"apiVersion", "kind", "status"} {
		delete(object, name)
	}
	return len(fields) > 0 && hasFields(fields, object)
}

// hasFields reports whether a tree of owned fields, which is what FieldsV1 decodes to, has
// a value and all below it. It knows no schema: where it cannot be sure it returns false.
func hasFields(fields map[string]any, value any) bool {
	if len(fields) == 0 {
		return true // A scalar, something empty, or a map or list that is owned as a whole.
	}
	switch value := value.(type) {
	case map[string]any:
		for name, below := range value {
			child, owned := fields["f:"+name].(map[string]any)
			if !owned || !hasFields(child, below) {
				return false
			}
		}
		return true
	case []any:
		for _, item := range value {
			child, owned := itemFields(fields, item)
			if !owned || !hasFields(child, item) {
				return false
			}
		}
		return true
	}
	return false
}

// itemFields finds the owned fields of a list's item: by its keys, of which those that it
// lacks have their default, or of a set by its value. There must be exactly one.
func itemFields(fields map[string]any, item any) (found map[string]any, owned bool) {
	for element, below := range fields {
		if !names(element, item) {
			continue
		}
		if owned {
			return nil, false
		}
		found, owned = below.(map[string]any)
	}
	return found, owned
}

// names reports whether an element of FieldsV1, such as `k:{"port":80}` or `v:"a"`, is that of an
// item.
func names(element string, item any) bool {
	kind, encoded, _ := strings.Cut(element, ":")
	var want any
	if json.Unmarshal([]byte(encoded), &want) != nil {
		return false
	}
	keys, keyed := want.(map[string]any)
	object, structured := item.(map[string]any)
	if kind != "k" || !keyed || !structured {
		return kind == "v" && reflect.DeepEqual(want, item)
	}
	for key, value := range keys {
		if got, given := object[key]; given && !reflect.DeepEqual(got, value) {
			return false
		}
	}
	return true
}
