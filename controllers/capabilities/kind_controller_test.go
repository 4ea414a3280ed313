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

// widgets lists nothing, or fails.
type widgets struct {
	client.Reader
	err error
}

func (w *widgets) List(context.Context, client.ObjectList, ...client.ListOption) error { return w.err }

// A watch that cannot begin would keep the manager from starting, and with it every stack waiting.
func TestReconcilerWatchesNoKindThatCannotBeListed(t *testing.T) {
	widget := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"}
	resource := schema.GroupResource{Group: widget.Group, Resource: "widgets"}
	for name, tc := range map[string]struct {
		listed        error
		fails, served bool
	}{
		"not known":   {listed: &meta.NoKindMatchError{GroupKind: widget.GroupKind()}},
		"not served":  {listed: apierrors.NewNotFound(resource, "")},
		"not allowed": {listed: apierrors.NewForbidden(resource, "", errors.New("not yours")), fails: true},
		"served":      {served: true},
	} {
		t.Run(name, func(t *testing.T) {
			watches := 0
			r := &Reconciler{
				Live: &widgets{err: tc.listed}, Kinds: &Kinds{},
				Watch: func(context.Context, schema.GroupVersionKind) error { watches++; return nil },
			}
			err := r.watchServed(t.Context(), widget)
			if (err != nil) != tc.fails || r.Kinds.Serves(widget) != tc.served || (watches == 1) != tc.served {
				t.Errorf("error = %v, %d watches, served: %t; want %+v", err, watches, r.Kinds.Serves(widget), tc)
			}
		})
	}
}
