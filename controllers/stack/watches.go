// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/apply"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/controllers/settings"
)

// Options of the controller.
type Options struct {
	// MaxConcurrentReconciles is how many stacks are reconciled at a time.
	MaxConcurrentReconciles int
	// Requests are stacks to look at again.
	Requests []chan event.GenericEvent
	// Wrap decorates the reconciler, for reporting its failures.
	Wrap func(reconcile.Reconciler) reconcile.Reconciler
}

// SetupWithManager registers the controller, which watches stacks, their children and
// what they refer to.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, opts Options) (controller.Controller, error) {
	b := ctrl.NewControllerManagedBy(mgr).
		Named("observabilitystack").
		For(&obsv1.ObservabilityStack{}, builder.WithPredicates(r.stackChanged())).
		Watches(&obsv1.ObservabilityPlatform{}, r.Platforms.Handler()).
		WatchesMetadata(metadata.Of(metadata.Secret), stacksReferringTo(mgr.GetClient(), metadata.Secret)).
		WatchesMetadata(metadata.Of(metadata.ConfigMap), stacksReferringTo(mgr.GetClient(), metadata.ConfigMap)).
		WatchesMetadata(metadata.Of(metadata.Secret), handler.EnqueueRequestsFromMapFunc(r.stackOfVersion),
			builder.WithPredicates(unexpected(r.Settings.Expected))).
		WatchesMetadata(metadata.Of(metadata.ConfigMap), handler.EnqueueRequestsFromMapFunc(r.stacksOfBundle),
			builder.WithPredicates(unexpected(r.Settings.Expected))).
		WithOptions(controller.Options{MaxConcurrentReconciles: opts.MaxConcurrentReconciles})
	for _, requests := range opts.Requests {
		b = b.WatchesRawSource(source.Channel(requests, &handler.EnqueueRequestForObject{}))
	}
	for _, kind := range builtinKinds {
		changed := childChanged(r.Engine, kind)
		if kind == metadata.Deployment {
			changed = predicate.Or(changed, rolloutChanged)
		}
		b = b.Watches(cachedChild(kind), ownerHandler(mgr), builder.WithPredicates(changed))
	}
	reconciler := reconcile.AsReconciler(mgr.GetClient(), r)
	if opts.Wrap != nil {
		reconciler = opts.Wrap(reconciler)
	}
	built, err := b.Build(reconciler)
	if err != nil {
		return nil, fmt.Errorf("build the stack controller: %w", err)
	}
	return built, nil
}

// WatchChildren has the controller watch the children of an optional kind.
func (r *Reconciler) WatchChildren(ctx context.Context, mgr ctrl.Manager, c controller.Controller,
	kind schema.GroupVersionKind) error {
	if err := metadata.AddIndexes(ctx, mgr.GetFieldIndexer(), metadata.ByController(metadata.Of(kind))); err != nil {
		return err
	}
	return c.Watch(
		source.Kind(mgr.GetCache(), client.Object(metadata.Of(kind)), ownerHandler(mgr), childChanged(r.Engine, kind)))
}

func ownerHandler(mgr ctrl.Manager) handler.EventHandler {
	return handler.EnqueueRequestForOwner(mgr.GetScheme(), mgr.GetRESTMapper(), &obsv1.ObservabilityStack{},
		handler.OnlyControllerOwner())
}

// stackChanged passes new specs and resyncs; a status write of our own is
// neither. A stack that is gone is forgotten, and its children go with garbage collection.
func (r *Reconciler) stackChanged() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
				e.ObjectOld.GetResourceVersion() == e.ObjectNew.GetResourceVersion()
		},
		DeleteFunc: func(e event.DeleteEvent) bool {
			r.Engine.Forget(e.Object.GetUID())
			r.Values.Forget(client.ObjectKeyFromObject(e.Object))
			r.Settings.Forget(client.ObjectKeyFromObject(e.Object))
			r.written.Delete(e.Object.GetUID())
			if r.Injection != nil {
				r.Injection.Forget(client.ObjectKeyFromObject(e.Object))
			}
			return false
		},
	}
}

// childChanged passes what somebody else may have done to a child.
func childChanged(engine *apply.Engine, kind schema.GroupVersionKind) predicate.Predicate {
	return unexpected(func(child client.Object) bool { return engine.Expected(child, kind.GroupKind()) })
}

// unexpected passes what this process did not write itself. What is there at the start is looked
// at with each stack anyway.
func unexpected(expected func(client.Object) bool) predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList && !expected(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion() && !expected(e.ObjectNew)
		},
	}
}

// rolloutChanged passes Deployments that became available or ceased to be.
var rolloutChanged predicate.Predicate = predicate.Funcs{
	CreateFunc: func(e event.CreateEvent) bool { return availableDeployment(e.Object) },
	UpdateFunc: func(e event.UpdateEvent) bool {
		return availableDeployment(e.ObjectOld) != availableDeployment(e.ObjectNew)
	},
	DeleteFunc: func(event.DeleteEvent) bool { return false },
}

func availableDeployment(obj client.Object) bool {
	deployment, ok := obj.(*appsv1.Deployment)
	return ok && rolledOut(deployment)
}

// stackOfVersion maps a Secret that has the name of a version of settings to its stack, if that
// is there. It may be somebody else's, and in the way.
func (r *Reconciler) stackOfVersion(ctx context.Context, secret client.Object) []reconcile.Request {
	name, ok := settings.StackOf(secret)
	if !ok || r.Get(ctx, name, &obsv1.ObservabilityStack{}) != nil {
		return nil
	}
	return []reconcile.Request{{NamespacedName: name}}
}

// stacksOfBundle maps a ConfigMap that has the name of a bundle for Python to the stacks that want
// it.
func (r *Reconciler) stacksOfBundle(_ context.Context, bundle client.Object) []reconcile.Request {
	if _, ok := settings.BundleOf(bundle.GetName()); !ok {
		return nil
	}
	var requests []reconcile.Request
	for _, stack := range r.Settings.Wanting(client.ObjectKeyFromObject(bundle)) {
		requests = append(requests, reconcile.Request{NamespacedName: stack})
	}
	return requests
}

// stacksReferringTo maps a Secret or ConfigMap to the stacks that refer to it.
func stacksReferringTo(reader client.Reader, kind schema.GroupVersionKind) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, obj client.Object) []reconcile.Request {
		stacks := &obsv1.ObservabilityStackList{}
		err := reader.List(ctx, stacks, client.InNamespace(obj.GetNamespace()),
			client.MatchingFields{indexRefs: kind.Kind + "/" + obj.GetName()})
		if err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Could not find the stacks that refer to an object", "kind", kind.Kind,
				"object", client.ObjectKeyFromObject(obj))
			return nil
		}
		var requests []reconcile.Request
		for i := range stacks.Items {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&stacks.Items[i])})
		}
		return requests
	})
}
