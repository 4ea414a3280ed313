// SPDX-License-Identifier: Apache-2.0

package capabilities

import (
	"context"
	"errors"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// widgets lists nothing, or fails, and so it is with their definition.
type widgets struct {
	client.Reader
	err        error
	definition error
	// listed are the namespaces in which they were.
	listed []string
}

func (w *widgets) List(_ context.Context, _ client.ObjectList, opts ...client.ListOption) error {
	options := (&client.ListOptions{}).ApplyOptions(opts)
	w.listed = append(w.listed, options.Namespace)
	return w.err
}

func (w *widgets) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return w.definition
}

// A watch that cannot begin would keep the manager from starting, and with it every stack waiting.
func TestReconcilerWatchesNoKindThatCannotBeListed(t *testing.T) {
	widget := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"}
	resource := schema.GroupResource{Group: widget.Group, Resource: "widgets"}
	gone := apierrors.NewNotFound(schema.GroupResource{Resource: "customresourcedefinitions"}, "widgets.example.com")
	for name, tc := range map[string]struct {
		listed        error
		definition    error
		fails, served bool
	}{
		"not known":   {listed: &meta.NoKindMatchError{GroupKind: widget.GroupKind()}},
		"not served":  {listed: apierrors.NewNotFound(resource, "")},
		"not allowed": {listed: apierrors.NewForbidden(resource, "", errors.New("not yours")), fails: true},
		"served":      {served: true},
		// The API server is behind for a moment.
		"still served": {definition: gone},
		"not readable": {definition: errors.New("the API server is away"), fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			watches := 0
			r := &Reconciler{
				Live: &widgets{err: tc.listed, definition: tc.definition}, Kinds: &Kinds{},
				Watch: func(context.Context, schema.GroupVersionKind) error { watches++; return nil },
			}
			err := r.watchInstalled(t.Context(), "widgets.example.com", widget)
			if (err != nil) != tc.fails || r.Kinds.Serves(widget) != tc.served || (watches == 1) != tc.served {
				t.Errorf("error = %v, %d watches, served: %t; want %+v", err, watches, r.Kinds.Serves(widget), tc)
			}
		})
	}
}

// An operator of some namespaces has its children there, and reads what selects them all over.
func TestReconcilerListsChildrenWhereTheyMayBe(t *testing.T) {
	child := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Child"}
	reader := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Reader"}
	live := &widgets{}
	r := &Reconciler{
		Live: live, Namespace: "shop", Watch: func(context.Context, schema.GroupVersionKind) error { return nil },
		Kinds: &Kinds{
			Optional: map[string]schema.GroupVersionKind{"children.example.com": child},
			Read:     map[string]schema.GroupVersionKind{"readers.example.com": reader},
		},
	}
	for _, kind := range []schema.GroupVersionKind{child, reader} {
		if err := r.watchServed(t.Context(), kind); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(live.listed, []string{"shop", ""}) {
		t.Errorf("listed in namespaces %q, want the own for children and all for others", live.listed)
	}
	if served := r.Kinds.Served(); !slices.Equal(served, []schema.GroupVersionKind{child}) {
		t.Errorf("the kinds of children are %v, want %v alone", served, child)
	}
}
