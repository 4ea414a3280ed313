// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Change is what applying or pruning would do to one child.
type Change struct {
	// Verb is "create", "update" or "delete", or what a caller adds.
	Verb string
	// Kind and Name say to what.
	Kind, Name string
}

func (c Change) String() string {
	return fmt.Sprintf("%s %s %s", c.Verb, c.Kind, c.Name)
}

// Diff says what Apply would change, in the order of the objects, and changes nothing.
func (p *Pass) Diff(ctx context.Context, objects []client.Object) ([]Change, error) {
	var changes []Change
	var failures []error
	for _, obj := range objects {
		change, err := p.diffOne(ctx, obj)
		if err != nil {
			failures = append(failures, err)
		}
		if change != nil {
			changes = append(changes, *change)
		}
	}
	return changes, errors.Join(failures...)
}

// DiffPrune says what Prune would delete, sorted.
func (p *Pass) DiffPrune(hold func(*metav1.PartialObjectMetadata) bool) []Change {
	var changes []Change
	for _, key := range p.unwanted(hold) {
		changes = append(changes, Change{"delete", key.Kind, key.Name})
	}
	return changes
}

func (p *Pass) diffOne(ctx context.Context, obj client.Object) (*Change, error) {
	req, settled, err := p.prepare(obj)
	if settled || err != nil {
		return nil, err
	}
	if _, found := p.live[req.key]; !found {
		if _, err := p.look(ctx, req); err != nil {
			return nil, err
		}
		return &Change{"create", req.key.Kind, req.key.Name}, nil
	}
	current := &unstructured.Unstructured{}
	current.SetGroupVersionKind(req.kind)
	key := req.key.object()
	if err := p.engine.Live.Get(ctx, key, current); err != nil {
		return nil, fmt.Errorf("read %s %s: %w", req.key.Kind, req.key.Name, err)
	}
	planned := &unstructured.Unstructured{}
	planned.SetGroupVersionKind(req.kind)
	planned.SetNamespace(key.Namespace)
	planned.SetName(key.Name)
	body, err := req.encode("")
	if err != nil {
		return nil, err
	}
	err = p.engine.Client.Patch(ctx, planned, client.RawPatch(types.ApplyPatchType, body),
		client.FieldOwner(p.engine.FieldManager), client.ForceOwnership, client.DryRunAll)
	if err != nil {
		return nil, fmt.Errorf("dry-run %s %s: %w", req.key.Kind, req.key.Name, err)
	}
	if !p.engine.sameContent(current, planned) {
		return &Change{"update", req.key.Kind, req.key.Name}, nil
	}
	// Nothing would change: as good as applied, and the next pass need not ask again.
	p.settle(req, &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		UID: current.GetUID(), Generation: current.GetGeneration(), ResourceVersion: current.GetResourceVersion(),
	}})
	return nil, nil
}

// sameContent compares what users see, without the bookkeeping of the API server and of the engine.
func (e *Engine) sameContent(a, b *unstructured.Unstructured) bool {
	strip := func(u *unstructured.Unstructured) map[string]any {
		u = u.DeepCopy()
		u.SetManagedFields(nil)
		u.SetResourceVersion("")
		u.SetGeneration(0)
		delete(u.Object, "status")
		if annotations := u.GetAnnotations(); len(annotations) > 1 {
			delete(annotations, e.HashAnnotation)
			u.SetAnnotations(annotations)
		} else if annotations[e.HashAnnotation] != "" {
			u.SetAnnotations(nil)
		}
		return u.Object
	}
	return reflect.DeepEqual(strip(a), strip(b))
}
