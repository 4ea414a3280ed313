// SPDX-License-Identifier: Apache-2.0

// Package apply makes the objects that an owner wants exist, and removes those
// that it wants no more. It writes by server-side apply only, sends nothing for
// an object that is as it was left, by this process or by the one before it, and
// knows nothing of our API types.
package apply

import (
	"context"
	"maps"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Children lists the metadata of the objects of one kind that the owner controls. Between two
// writes it may be behind the API server, as a cache is.
type Children func(
	ctx context.Context, owner client.Object, kind schema.GroupVersionKind,
) ([]metav1.PartialObjectMetadata, error)

// Engine applies and prunes the children of any number of owners. It keeps a record
// of what it last applied, so that an unchanged child costs no request. Use one
// Engine for all passes; it is safe for concurrent use by different owners.
type Engine struct {
	// Client writes, and knows the scheme of the objects to apply.
	Client client.Client
	// Live reads from the API server: whether a name that Children does not list is
	// free, and what the process before this one left.
	Live client.Reader
	// Children lists what an owner controls.
	Children Children
	// FieldManager owns the fields that are applied.
	FieldManager string
	// HashAnnotation is set on each child to the hash of the request that applied it.
	// Children need not show it.
	HashAnnotation string
	// Labels are those that every child has. With them, the engine lists the children
	// of a kind once, in Namespaces, or everywhere if there are none.
	Labels     map[string]string
	Namespaces []string

	mu      sync.Mutex
	applied map[types.UID]map[Key]record

	inherits  sync.Mutex // held while a kind is listed
	inherited map[schema.GroupVersionKind]*listing
}

// Key names one object.
type Key struct {
	schema.GroupKind
	Namespace, Name string
}

func (k Key) object() types.NamespacedName {
	return types.NamespacedName{Namespace: k.Namespace, Name: k.Name}
}

// record is what the engine knows of a child: the hash of the last request and
// the response of the API server.
type record struct {
	hash            string
	uid             types.UID
	generation      int64
	resourceVersion string
	// writing is set while a request is under way, and seen is the version of the
	// child that an event showed meanwhile.
	writing bool
	seen    string
}

func newRecord(hash string, child *metav1.PartialObjectMetadata) record {
	return record{hash: hash, uid: child.UID, generation: child.Generation, resourceVersion: child.ResourceVersion}
}

// Forget drops what is known of the children of an owner that is gone.
func (e *Engine) Forget(owner types.UID) {
	e.mu.Lock()
	delete(e.applied, owner)
	e.mu.Unlock()
	e.inherits.Lock()
	defer e.inherits.Unlock()
	for _, listed := range e.inherited {
		maps.DeleteFunc(listed.found, func(_ Key, left inheritance) bool { return left.owner == owner })
	}
}

func (e *Engine) load(owner types.UID, key Key) (record, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, ok := e.applied[owner][key]
	return r, ok
}

// store replaces the record of a child, and returns the one before.
func (e *Engine) store(owner types.UID, key Key, r record) (before record) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.applied == nil {
		e.applied = map[types.UID]map[Key]record{}
	}
	if e.applied[owner] == nil {
		e.applied[owner] = map[Key]record{}
	}
	before = e.applied[owner][key]
	e.applied[owner][key] = r
	return before
}

// keys are those of an owner's recorded children of one kind.
func (e *Engine) keys(owner types.UID, kind schema.GroupKind) []Key {
	e.mu.Lock()
	defer e.mu.Unlock()
	var keys []Key
	for key := range e.applied[owner] {
		if key.GroupKind == kind {
			keys = append(keys, key)
		}
	}
	return keys
}

func (e *Engine) drop(owner types.UID, key Key) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.applied[owner], key)
}

// Begin starts one pass over the children of owner, which are of the given kinds. A kind whose
// children cannot be listed fails what the pass does about it, and nothing else.
func (e *Engine) Begin(ctx context.Context, owner client.Object, kinds []schema.GroupVersionKind) *Pass {
	p := &Pass{
		engine: e, owner: owner, live: map[Key]*metav1.PartialObjectMetadata{}, wanted: map[Key]bool{},
		inherited: map[Key]inheritance{}, failed: map[schema.GroupKind]error{},
	}
	for _, kind := range kinds {
		if err := p.list(ctx, kind); err != nil {
			p.failed[kind.GroupKind()] = err
		}
	}
	return p
}

// list finds the children of a kind.
func (p *Pass) list(ctx context.Context, kind schema.GroupVersionKind) error {
	if err := p.engine.inherit(ctx, kind); err != nil {
		return err
	}
	children, err := p.engine.Children(ctx, p.owner, kind)
	if err != nil {
		return err
	}
	for i := range children {
		child := &children[i]
		child.SetGroupVersionKind(kind)
		p.live[Key{kind.GroupKind(), child.Namespace, child.Name}] = child
	}
	p.takeInherited(kind)
	return p.catchUp(ctx, kind)
}

// catchUp looks up the children of a kind that were made and are not listed. The
// cache may be behind, and what it does not show would not be pruned.
func (p *Pass) catchUp(ctx context.Context, kind schema.GroupVersionKind) error {
	for _, key := range p.engine.keys(p.owner.GetUID(), kind.GroupKind()) {
		if _, listed := p.live[key]; listed {
			continue
		}
		child, err := p.get(ctx, kind, key.object())
		if err != nil {
			return err
		}
		if child == nil || !metav1.IsControlledBy(child, p.owner) {
			p.engine.drop(p.owner.GetUID(), key)
			continue
		}
		p.live[key] = child
	}
	return nil
}

// Expected reports whether an event shows a child no later than this engine wrote
// it, so that it is no news. While a request is under way only its response can show
// that; then the event is kept for the pass, which reports whether it was raced.
func (e *Engine) Expected(child client.Object, kind schema.GroupKind) bool {
	owner := metav1.GetControllerOf(child)
	if owner == nil {
		return false
	}
	key := Key{kind, child.GetNamespace(), child.GetName()}
	e.mu.Lock()
	defer e.mu.Unlock()
	r, known := e.applied[owner.UID][key]
	if known && r.writing {
		r.seen = child.GetResourceVersion()
		e.applied[owner.UID][key] = r
		return true
	}
	return known && r.uid == child.GetUID() && !newer(child.GetResourceVersion(), r.resourceVersion)
}
