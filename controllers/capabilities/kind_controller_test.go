// SPDX-License-Identifier: Apache-2.0

package capabilities

import (
	"context"
	"errors"
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
}

func (w *widgets) List(context.Context, client.ObjectList, ...client.ListOption) error { return w.err }

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
