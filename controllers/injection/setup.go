// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/metadata"
)

// New makes the Injector of a manager whose cache holds those namespaces; all if there are none.
func New(ctx context.Context, mgr ctrl.Manager, engine *Engine, namespaces map[string]cache.Config,
	maxConcurrentRollouts int) (*Injector, error) {
	workloads, err := newWorkloadCache(mgr, namespaces)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		metadata.AddIndexes(ctx, mgr.GetFieldIndexer(), Indexes()...),
		metadata.AddIndexes(ctx, workloads, WorkloadIndexes()...),
		mgr.Add(engine))
	return &Injector{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Reader: newReader(mgr, workloads, namespaces), Engine: engine,
		Events: mgr.GetEventRecorder("obstack"), Now: time.Now, workloads: workloads,
		MaxConcurrentRollouts: maxConcurrentRollouts,
	}, err
}

func newReader(mgr ctrl.Manager, workloads client.Reader, namespaces map[string]cache.Config) *Reader {
	return &Reader{Main: mgr.GetCache(), Workloads: workloads, Watched: func(namespace string) bool {
		_, ok := namespaces[namespace]
		return ok || len(namespaces) == 0
	}}
}

// Watch has a controller of stacks look again at those whose workloads change.
func (i *Injector) Watch(mgr ctrl.Manager, c controller.Controller) error {
	var sources []source.Source
	toStacks := handler.EnqueueRequestsFromMapFunc(i.stacksOfWorkload)
	for _, kind := range policy.Kinds {
		sources = append(sources, source.Kind(i.workloads, client.Object(kind.New()), toStacks, workloadChanged))
	}
	main := mgr.GetCache()
	sources = append(sources,
		source.Kind(main, client.Object(metadata.Of(metadata.Namespace)),
			handler.EnqueueRequestsFromMapFunc(i.stacksOfNamespace), metadataChanged),
		source.Kind(main, client.Object(metadata.Of(metadata.Pod)), i.podHandler(), metadataChanged),
	)
	sources = append(sources, source.Func(
		func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			i.mu.Lock()
			defer i.mu.Unlock()
			i.queue = queue // for stacks that wait for places
			return nil
		}))
	for _, s := range sources {
		if err := c.Watch(s); err != nil {
			return fmt.Errorf("watch for injection: %w", err)
		}
	}
	return nil
}

// SetupWithManager registers the controller of single workloads.
func (i *Injector) SetupWithManager(mgr ctrl.Manager, maxConcurrentReconciles int) error {
	c, err := controller.NewTyped("workload", mgr, controller.TypedOptions[policy.Key]{
		MaxConcurrentReconciles: maxConcurrentReconciles,
		Reconciler:              &WorkloadReconciler{Injector: i},
	})
	if err != nil {
		return fmt.Errorf("build the controller of workloads: %w", err)
	}
	var sources []source.TypedSource[policy.Key]
	for _, kind := range policy.Kinds {
		sources = append(sources,
			source.TypedKind(i.workloads, client.Object(kind.New()), requestsFor(i.itself), specChanged))
	}
	main := mgr.GetCache()
	sources = append(sources,
		source.TypedKind(main, client.Object(metadata.Of(metadata.Namespace)), requestsFor(i.inNamespace), metadataChanged),
		source.TypedKind(main, client.Object(&obsv1.ObservabilityStack{}), requestsFor(i.concerning),
			predicate.Predicate(predicate.GenerationChangedPredicate{})),
	)
	for _, s := range sources {
		if err := c.Watch(s); err != nil {
			return fmt.Errorf("watch workloads: %w", err)
		}
	}
	return nil
}
