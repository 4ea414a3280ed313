// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/metadata"
)

// SetupWithManager registers the controller, which watches platforms, and the Secrets that they
// name if the cache has those.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, secrets bool) error {
	b := ctrl.NewControllerManagedBy(mgr).
		Named("observabilityplatform").
		For(&obsv1.ObservabilityPlatform{}, builder.WithPredicates(r.platformChanged())).
		WithOptions(controller.Options{MaxConcurrentReconciles: 4}) // A slow server delays few others.
	if secrets {
		b = b.WatchesMetadata(metadata.Of(metadata.Secret), handler.EnqueueRequestsFromMapFunc(r.platformsNaming))
	}
	if err := b.Complete(reconcile.AsReconciler(mgr.GetClient(), r)); err != nil {
		return fmt.Errorf("build the platform controller: %w", err)
	}
	return nil
}

// platformChanged passes new specs, and forgets what is gone.
func (r *Reconciler) platformChanged() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool { return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() },
		DeleteFunc: func(e event.DeleteEvent) bool {
			r.Backends.Forget(e.Object.GetName())
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.failed, e.Object.GetName())
			return false
		},
	}
}

// platformsNaming maps a Secret of the operator's namespace to the platforms that name it.
func (r *Reconciler) platformsNaming(ctx context.Context, secret client.Object) []reconcile.Request {
	if secret.GetNamespace() != r.Backends.Namespace {
		return nil
	}
	list := &obsv1.ObservabilityPlatformList{}
	if err := r.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Could not find the platforms that name a Secret", "name", secret.GetName())
	}
	var requests []reconcile.Request
	for i := range list.Items {
		if slices.Contains(secretNames(&list.Items[i].Spec), secret.GetName()) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return requests
}

// pace is the time between two stacks that a change of their platform reaches: twenty a second.
const pace = 50 * time.Millisecond

// Handler asks for the stacks of a platform whose spec changed, or that came or went: one after the
// other, because a platform may have all of the cluster.
func (r Resolver) Handler() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	ask := func(ctx context.Context, platform client.Object, q queue) {
		list := &obsv1.ObservabilityStackList{}
		if err := r.Reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Could not find the stacks of an ObservabilityPlatform", "name", platform.GetName())
		}
		var after time.Duration
		for i := range list.Items {
			if platformName(&list.Items[i]) != platform.GetName() {
				continue
			}
			q.AddAfter(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])}, after)
			after += pace
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList { // Else every stack is looked at anyway.
				ask(ctx, e.Object, q)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			if e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() {
				ask(ctx, e.ObjectNew, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { ask(ctx, e.Object, q) },
	}
}
