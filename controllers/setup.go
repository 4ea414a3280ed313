// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/apply"
)

// Options of the controllers.
type Options struct {
	// ExporterImage is the task exporter's image where a broker names none.
	ExporterImage string
	// MaxConcurrentReconciles is how many stacks are reconciled at a time.
	MaxConcurrentReconciles int
	// Injection turns on what brings settings to workloads. AddWebhooks is its other half.
	Injection bool
	// Namespaces are those that the manager's cache holds; nil if all.
	Namespaces map[string]cache.Config
	// Wrap decorates the stack reconciler, for reporting its failures.
	Wrap func(reconcile.Reconciler) reconcile.Reconciler
}

// Setup registers the controllers with a manager whose cache was made with CacheOptions.
func Setup(ctx context.Context, mgr ctrl.Manager, opts Options) error {
	if err := addIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	disco, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("make a discovery client: %w", err)
	}
	stacks := &StackReconciler{
		Client: mgr.GetClient(),
		Engine: &apply.Engine{
			Client: mgr.GetClient(), Live: mgr.GetAPIReader(),
			Children: CachedChildren(mgr.GetCache()), FieldManager: obsv1.FieldManager,
		},
		Secrets:       &SecretReader{Metadata: mgr.GetCache(), Live: mgr.GetAPIReader()},
		Kinds:         &Kinds{},
		Events:        mgr.GetEventRecorder("obstack"),
		ExporterImage: opts.ExporterImage,
	}
	var inject *injector
	if opts.Injection {
		if inject, err = newInjector(ctx, mgr, opts.Namespaces); err != nil {
			return err
		}
		stacks.Roller = inject.roller
	}
	kinds := &KindReconciler{
		Client: mgr.GetClient(), Cache: mgr.GetCache(), Discovery: disco,
		Kinds: stacks.Kinds, Requests: make(chan event.GenericEvent),
	}
	stackController, err := buildStackController(mgr, stacks, kinds.Requests, opts)
	if err != nil {
		return err
	}
	if inject != nil {
		if err := errors.Join(inject.watch(stackController), inject.build(opts)); err != nil {
			return err
		}
	}
	kinds.Watch = func(ctx context.Context, kind schema.GroupVersionKind) error {
		return watchChildren(ctx, mgr, stackController, stacks.Engine, kind)
	}
	// What is served already is known before the first pass, so that a restart
	// does not report MissingAPI for a moment.
	for _, kind := range optionalKinds {
		served, err := isServed(disco, kind)
		if err != nil {
			return err
		}
		if !served {
			continue
		}
		if err := kinds.Watch(ctx, kind); err != nil {
			return fmt.Errorf("watch %s: %w", kind.Kind, err)
		}
		stacks.Kinds.Set(kind, true)
	}
	registerStackMetrics(mgr.GetClient())
	return buildKindController(mgr, kinds)
}

func addIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	if err := indexer.IndexField(ctx, &obsv1.ObservabilityStack{}, indexSecrets, secretNames); err != nil {
		return fmt.Errorf("index stacks by Secret: %w", err)
	}
	if err := indexer.IndexField(ctx, metadataOf(secretKind), indexCopy, copiedFrom); err != nil {
		return fmt.Errorf("index copies of settings: %w", err)
	}
	for _, kind := range builtinKinds {
		if err := indexer.IndexField(ctx, cachedChild(kind), indexController, controllerUID); err != nil {
			return fmt.Errorf("index %ss by controller: %w", kind.Kind, err)
		}
	}
	return nil
}

// buildStackController watches stacks, their children and the Secrets that they refer to.
func buildStackController(mgr ctrl.Manager, stacks *StackReconciler, requests chan event.GenericEvent, opts Options) (controller.Controller, error) {
	b := ctrl.NewControllerManagedBy(mgr).
		Named("observabilitystack").
		For(&obsv1.ObservabilityStack{}, builder.WithPredicates(stackChanged(stacks))).
		WatchesMetadata(metadataOf(secretKind), handler.EnqueueRequestsFromMapFunc(stacksReferringTo(mgr.GetClient()))).
		WatchesRawSource(source.Channel(requests, &handler.EnqueueRequestForObject{})).
		WithOptions(controller.Options{MaxConcurrentReconciles: opts.MaxConcurrentReconciles})
	for _, kind := range builtinKinds {
		changed := childChanged(stacks.Engine, kind)
		if kind == deploymentKind {
			changed = predicate.Or(changed, rolloutChanged)
		}
		b = b.Watches(cachedChild(kind), ownerHandler(mgr), builder.WithPredicates(changed))
	}
	reconciler := reconcile.AsReconciler(mgr.GetClient(), stacks)
	if opts.Wrap != nil {
		reconciler = opts.Wrap(reconciler)
	}
	built, err := b.Build(reconciler)
	if err != nil {
		return nil, fmt.Errorf("build the stack controller: %w", err)
	}
	return built, nil
}

func buildKindController(mgr ctrl.Manager, kinds *KindReconciler) error {
	concerned := predicate.NewPredicateFuncs(func(obj client.Object) bool {
		_, ok := optionalKinds[obj.GetName()]
		return ok
	})
	err := ctrl.NewControllerManagedBy(mgr).
		Named("kind").
		WatchesMetadata(crdMetadata(), &handler.EnqueueRequestForObject{}, builder.WithPredicates(concerned)).
		Complete(kinds)
	if err != nil {
		return fmt.Errorf("build the kind controller: %w", err)
	}
	return nil
}

// watchChildren starts watching the children of an optional kind.
func watchChildren(ctx context.Context, mgr ctrl.Manager, c controller.Controller, engine *apply.Engine, kind schema.GroupVersionKind) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, metadataOf(kind), indexController, controllerUID); err != nil {
		return fmt.Errorf("index by controller: %w", err)
	}
	return c.Watch(source.Kind(mgr.GetCache(), client.Object(metadataOf(kind)), ownerHandler(mgr), childChanged(engine, kind)))
}

func ownerHandler(mgr ctrl.Manager) handler.EventHandler {
	return handler.EnqueueRequestForOwner(mgr.GetScheme(), mgr.GetRESTMapper(), &obsv1.ObservabilityStack{}, handler.OnlyControllerOwner())
}

// stackChanged passes new specs and resyncs; a status write of our own is
// neither. A stack that is gone is forgotten, and its children go with garbage collection.
func stackChanged(stacks *StackReconciler) predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
				e.ObjectOld.GetResourceVersion() == e.ObjectNew.GetResourceVersion()
		},
		DeleteFunc: func(e event.DeleteEvent) bool {
			stacks.Engine.Forget(e.Object.GetUID())
			if stack, ok := e.Object.(*obsv1.ObservabilityStack); ok {
				stacks.Secrets.Forget(stack)
			}
			stacks.written.Delete(e.Object.GetUID())
			if stacks.Roller != nil {
				stacks.Roller.Forget(client.ObjectKeyFromObject(e.Object))
			}
			return false
		},
	}
}

// childChanged passes what may be somebody else's doing: not what this process wrote
// itself, but what a former process did, which may be wanted no more.
func childChanged(engine *apply.Engine, kind schema.GroupVersionKind) predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return !engine.Expected(e.Object, kind.GroupKind()) },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion() && !engine.Expected(e.ObjectNew, kind.GroupKind())
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
	return ok && rollout(deployment).Available
}

// stacksReferringTo maps a Secret to the stacks that refer to it.
func stacksReferringTo(reader client.Reader) handler.MapFunc {
	return func(ctx context.Context, secret client.Object) []reconcile.Request {
		stacks := &obsv1.ObservabilityStackList{}
		err := reader.List(ctx, stacks, client.InNamespace(secret.GetNamespace()), client.MatchingFields{indexSecrets: secret.GetName()})
		if err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Could not find the stacks that refer to a Secret", "secret", client.ObjectKeyFromObject(secret))
			return nil
		}
		var requests []reconcile.Request
		for i := range stacks.Items {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&stacks.Items[i])})
		}
		return requests
	}
}
