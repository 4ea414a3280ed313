// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection"
	"obstack.dev/obstack/controllers/injection/policy"
)

// injector is everything that is there only if injection is on.
type injector struct {
	mgr       ctrl.Manager
	workloads cache.Cache
	reader    *WorkloadReader
	roller    *Roller
	watched   func(namespace string) bool
}

func newInjector(ctx context.Context, mgr ctrl.Manager, namespaces map[string]cache.Config) (*injector, error) {
	workloads, err := newWorkloadCache(mgr, namespaces)
	if err != nil {
		return nil, err
	}
	if err := addWorkloadIndexes(ctx, mgr.GetFieldIndexer(), workloads); err != nil {
		return nil, err
	}
	i := &injector{mgr: mgr, workloads: workloads, watched: watched(namespaces), reader: &WorkloadReader{
		Main: mgr.GetCache(), Workloads: workloads, Watched: watched(namespaces),
	}}
	i.roller = &Roller{Client: mgr.GetClient(), Reader: i.reader, Events: mgr.GetEventRecorder("obstack"), Now: time.Now}
	return i, nil
}

// AddWebhooks registers the handlers with a webhook server.
func AddWebhooks(server webhook.Server, lookup injection.Lookup) {
	server.Register(injection.PodPath, &webhook.Admission{Handler: &injection.PodWebhook{Lookup: lookup}})
	server.Register(injection.WorkloadPath, &webhook.Admission{Handler: &injection.WorkloadWebhook{Lookup: lookup}})
}

// WebhookLookup reads through the caches of a manager, which may be those of some namespaces.
func WebhookLookup(mgr ctrl.Manager, namespaces map[string]cache.Config) injection.Lookup {
	return injection.Lookup{Cached: mgr.GetCache(), Live: mgr.GetAPIReader(), Watched: watched(namespaces)}
}

// watched tells of a namespace whether the caches hold its objects.
func watched(namespaces map[string]cache.Config) func(string) bool {
	return func(namespace string) bool {
		_, ok := namespaces[namespace]
		return ok || len(namespaces) == 0
	}
}

// watch makes the stack controller look at what its workloads are up to.
func (i *injector) watch(c controller.Controller) error {
	var sources []source.Source
	toStacks := handler.EnqueueRequestsFromMapFunc(i.stacksOf)
	for _, kind := range policy.Kinds {
		sources = append(sources, source.Kind(i.workloads, client.Object(kind.New()), toStacks, leanChanged))
	}
	main := i.mgr.GetCache()
	sources = append(sources,
		source.Kind(main, client.Object(metadataOf(namespaceKind)), handler.EnqueueRequestsFromMapFunc(i.stacksOfNamespace), metadataChanged),
		source.Kind(main, client.Object(metadataOf(podKind)), i.podHandler(), metadataChanged),
		source.Kind(main, client.Object(metadataOf(secretKind)), handler.EnqueueRequestsFromMapFunc(i.namedBy(copiedFrom)), predicate.Predicate(predicate.ResourceVersionChangedPredicate{})),
	)
	for _, s := range sources {
		if err := c.Watch(s); err != nil {
			return fmt.Errorf("watch for injection: %w", err)
		}
	}
	return nil
}

// build registers the controllers of single workloads and of copies.
func (i *injector) build(opts Options) error {
	err := ctrl.NewControllerManagedBy(i.mgr).Named("copy").
		WatchesMetadata(metadataOf(secretKind), &handler.EnqueueRequestForObject{},
			builder.WithPredicates(predicate.NewPredicateFuncs(func(obj client.Object) bool { return len(copiedFrom(obj)) > 0 }))).
		Watches(&obsv1.ObservabilityStack{}, handler.EnqueueRequestsFromMapFunc(i.copies), builder.WithPredicates(stackCameOrWent)).
		Complete(&CopyReconciler{Client: i.mgr.GetClient()})
	if err != nil {
		return fmt.Errorf("build the controller of copies: %w", err)
	}
	c, err := controller.NewTyped("workload", i.mgr, controller.TypedOptions[workloadRequest]{
		MaxConcurrentReconciles: opts.MaxConcurrentReconciles,
		Reconciler: &WorkloadReconciler{
			Client: i.mgr.GetClient(), Workloads: i.workloads, Reader: i.reader, Roller: i.roller,
			Events: i.roller.Events, Watched: i.watched,
		},
	})
	if err != nil {
		return fmt.Errorf("build the controller of workloads: %w", err)
	}
	var sources []source.TypedSource[workloadRequest]
	for _, kind := range policy.Kinds {
		sources = append(sources, source.TypedKind(i.workloads, client.Object(kind.New()), requestsFor(i.itself), leanSpecChanged))
	}
	main := i.mgr.GetCache()
	sources = append(sources,
		source.TypedKind(main, client.Object(metadataOf(namespaceKind)), requestsFor(i.inNamespace), metadataChanged),
		source.TypedKind(main, client.Object(&obsv1.ObservabilityStack{}), requestsFor(i.concerning), predicate.Predicate(predicate.GenerationChangedPredicate{})),
	)
	for _, s := range sources {
		if err := c.Watch(s); err != nil {
			return fmt.Errorf("watch workloads: %w", err)
		}
	}
	return nil
}
