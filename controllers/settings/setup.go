// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
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
	"obstack.dev/obstack/controllers/metadata"
)

// SetupWithManager registers the controller of versions, which watches them and their stacks.
// What else bears on their use is watched by those who cache it.
func (c *Collector) SetupWithManager(mgr ctrl.Manager) (controller.Controller, error) {
	built, err := ctrl.NewControllerManagedBy(mgr).Named("settings").
		WatchesMetadata(metadata.Of(metadata.Secret), &handler.EnqueueRequestForObject{},
			builder.WithPredicates(predicate.NewPredicateFuncs(func(obj client.Object) bool {
				_, ok := VersionOf(obj)
				return ok
			}))).
		WatchesMetadata(metadata.Of(metadata.ConfigMap), &handler.EnqueueRequestForObject{},
			builder.WithPredicates(predicate.NewPredicateFuncs(func(obj client.Object) bool { return isBundle(obj) }))).
		Watches(&obsv1.ObservabilityStack{}, handler.EnqueueRequestsFromMapFunc(c.ofStack),
			builder.WithPredicates(stackChanged)).
		WatchesRawSource(source.Func(c.start)).
		Build(c)
	if err != nil {
		return nil, fmt.Errorf("build the controller of settings: %w", err)
	}
	return built, nil
}

// start takes the queue, so that passes can ask for the versions that they no longer want.
func (k *Keeper) start(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.queue = queue
	return nil
}

// stackChanged passes new specs, deletions, and stacks that come back. At the start every version
// is looked at anyway.
var stackChanged = predicate.Funcs{
	CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList },
	UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() || e.ObjectOld.GetUID() != e.ObjectNew.GetUID()
	},
}

func (c *Collector) ofStack(ctx context.Context, stack client.Object) []reconcile.Request {
	versions, err := List(ctx, c.Cache, client.ObjectKeyFromObject(stack))
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Could not find the settings of a stack", "stack", client.ObjectKeyFromObject(stack))
	}
	return requestsFor(versions)
}

// InNamespace asks for the versions in a Namespace.
func (c *Collector) InNamespace(ctx context.Context, namespace client.Object) []reconcile.Request {
	list := metadata.ListOf(metadata.Secret)
	err := c.Cache.List(ctx, list, client.InNamespace(namespace.GetName()),
		client.MatchingLabels{obsv1.LabelManagedBy: obsv1.ManagedBy})
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Could not find the settings in a Namespace", "namespace", namespace.GetName())
	}
	return requestsFor(list.Items)
}

func requestsFor(secrets []metav1.PartialObjectMetadata) []reconcile.Request {
	var requests []reconcile.Request
	for i := range secrets {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&secrets[i])})
	}
	return requests
}
