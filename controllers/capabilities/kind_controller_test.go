// SPDX-License-Identifier: Apache-2.0

package capabilities

import (
	"context"
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// cluster serves widgets, and lists them unless there is an error.
type cluster struct {
	discovery.ServerResourcesInterface
	client.Reader
	err error
}

func (c *cluster) ServerResourcesForGroupVersion(string) (*metav1.APIResourceList, error) {
	return &metav1.APIResourceList{APIResources: []metav1.APIResource{{Kind: "Widget"}}}, nil
}

func (c *cluster) List(context.Context, client.ObjectList, ...client.ListOption) error { return c.err }

// A watch that cannot begin would keep the manager from starting, and with it every stack waiting.
func TestReconcilerWatchesNoKindThatCannotBeListed(t *testing.T) {
	widget := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"}
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "widgets"}, "", errors.New("not yours"))
	widgets, watches := &cluster{err: forbidden}, 0
	r := &Reconciler{
		Live: widgets, Discovery: widgets, Kinds: &Kinds{},
		Watch: func(context.Context, schema.GroupVersionKind) error { watches++; return nil },
	}
	if err := r.watchServed(t.Context(), widget); !apierrors.IsForbidden(err) || watches > 0 || r.Kinds.Serves(widget) {
		t.Errorf("error = %v, %d watches, want the error of the list and no watch", err, watches)
	}
	widgets.err = nil
	if err := r.watchServed(t.Context(), widget); err != nil || watches != 1 || !r.Kinds.Serves(widget) {
		t.Errorf("error = %v, %d watches, want one watch", err, watches)
	}
}
