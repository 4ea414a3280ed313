// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// KindReconciler notices when the CustomResourceDefinition of an optional kind
// is installed or removed, starts or stops watching its objects, and has every
// stack looked at again.
type KindReconciler struct {
	client.Client
	Cache     cache.Cache
	Discovery discovery.ServerResourcesInterface
	Kinds     *Kinds
	// Watch starts watching the children of a kind.
	Watch func(context.Context, schema.GroupVersionKind) error
	// Requests takes the stacks to look at again.
	Requests chan event.GenericEvent
}

// servingDelay is how long a new CustomResourceDefinition is given to be served.
const servingDelay = time.Second

// Reconcile looks at one CustomResourceDefinition, named as in optionalKinds.
func (r *KindReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	kind, ok := optionalKinds[req.Name]
	if !ok {
		return ctrl.Result{}, nil
	}
	crd := crdMetadata()
	err := r.Get(ctx, req.NamespacedName, crd)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("read CustomResourceDefinition %s: %w", req.Name, err)
	}
	exists := err == nil && crd.DeletionTimestamp.IsZero()
	known := r.Kinds.Serves(kind)
	if exists == known {
		return ctrl.Result{}, nil
	}
	if !exists {
		return ctrl.Result{}, r.stop(ctx, kind)
	}
	served, err := isServed(r.Discovery, kind)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !served {
		return ctrl.Result{RequeueAfter: servingDelay}, nil
	}
	return ctrl.Result{}, r.start(ctx, kind)
}

func (r *KindReconciler) start(ctx context.Context, kind schema.GroupVersionKind) error {
	if err := r.Watch(ctx, kind); err != nil {
		return fmt.Errorf("watch %s: %w", kind.Kind, err)
	}
	ctrl.LoggerFrom(ctx).Info("Started watching a kind that was installed", "kind", kind.Kind)
	r.Kinds.Set(kind, true)
	return r.requestAll(ctx)
}

func (r *KindReconciler) stop(ctx context.Context, kind schema.GroupVersionKind) error {
	r.Kinds.Set(kind, false)
	if err := r.Cache.RemoveInformer(ctx, metadataOf(kind)); err != nil {
		return fmt.Errorf("stop watching %s: %w", kind.Kind, err)
	}
	ctrl.LoggerFrom(ctx).Info("Stopped watching a kind that was removed", "kind", kind.Kind)
	return r.requestAll(ctx)
}

// requestAll has every stack reconciled.
func (r *KindReconciler) requestAll(ctx context.Context) error {
	stacks := &obsv1.ObservabilityStackList{}
	if err := r.List(ctx, stacks); err != nil {
		return fmt.Errorf("list stacks: %w", err)
	}
	for i := range stacks.Items {
		select {
		case r.Requests <- event.GenericEvent{Object: &stacks.Items[i]}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

var crdKind = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

func crdMetadata() *metav1.PartialObjectMetadata {
	return metadataOf(crdKind)
}

// metadataOf makes an empty object of a kind, for reading and watching metadata only.
func metadataOf(kind schema.GroupVersionKind) *metav1.PartialObjectMetadata {
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(kind)
	return meta
}
