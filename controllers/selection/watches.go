// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/capabilities"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/controllers/proof/judge"
)

// Watcher has stacks looked at again when what selects them changes.
type Watcher struct {
	Reader

	stacks     client.Reader
	main       cache.Cache
	cache      cache.Cache
	controller controller.Controller
}

// New makes the Watcher of a manager whose cache holds those namespaces; all if there are none.
func New(mgr ctrl.Manager, kinds *capabilities.Kinds, namespaces map[string]cache.Config) (*Watcher, error) {
	objects, err := newCache(mgr, namespaces)
	return &Watcher{
		Reader: Reader{Namespaces: mgr.GetCache(), Objects: objects, Kinds: kinds},
		stacks: mgr.GetClient(), main: mgr.GetCache(), cache: objects,
	}, err
}

// Watch has a controller of stacks look at those whose Services or namespace change.
func (w *Watcher) Watch(c controller.Controller) error {
	w.controller = c
	for _, s := range []source.Source{
		source.Kind(w.cache, client.Object(&Service{}), w.later(w.selecting), notInitial(serviceChanged)),
		source.Kind(w.main, client.Object(metadata.Of(metadata.Namespace)), w.later(w.in),
			notInitial(predicate.LabelChangedPredicate{})),
	} {
		if err := c.Watch(s); err != nil {
			return fmt.Errorf("watch what selects: %w", err)
		}
	}
	return nil
}

// WatchKind has the controller look at all stacks when objects of a kind that selects change.
func (w *Watcher) WatchKind(kind schema.GroupVersionKind) error {
	return w.controller.Watch(source.Kind(w.cache, empty(kind), w.later(w.all), notInitial(selectorsChanged)))
}

// StopKind forgets a kind that the cluster does not serve any more.
func (w *Watcher) StopKind(ctx context.Context, kind schema.GroupVersionKind) error {
	return w.cache.RemoveInformer(ctx, empty(kind))
}

// What is there at the start is looked at with each stack anyway.
func notInitial(changed predicate.Predicate) predicate.Predicate {
	return predicate.And(changed, predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList },
	})
}

var serviceChanged = predicate.Predicate(predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, ok := e.ObjectOld.(*Service)
	after, same := e.ObjectNew.(*Service)
	return ok && same && (!maps.Equal(before.Labels, after.Labels) || before.Spec.Large != after.Spec.Large ||
		!slices.Equal(before.Spec.Ports, after.Spec.Ports))
}})

// selectorsChanged compares all that the cache keeps but the version, which a status changes too.
var selectorsChanged = predicate.Predicate(predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, after := e.ObjectOld.DeepCopyObject().(client.Object), e.ObjectNew
	before.SetResourceVersion(after.GetResourceVersion())
	return !equality.Semantic.DeepEqual(before, after)
}})

// soon is after how long a stack is looked at: changes often come together, and a Prometheus
// concerns all stacks, which need not be looked at all at once.
const (
	soon   = 500 * time.Millisecond
	spread = 10
)

// later asks for the stacks that a change concerns, before it or after it.
func (w *Watcher) later(concerned func(context.Context, client.Object) []client.ObjectKey) handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	ask := func(ctx context.Context, q queue, objects ...client.Object) {
		keys := map[client.ObjectKey]bool{}
		for _, obj := range objects {
			for _, key := range concerned(ctx, obj) {
				keys[key] = true
			}
		}
		for key := range keys {
			after := soon
			if len(keys) > spread {
				after = wait.Jitter(soon, spread)
			}
			q.AddAfter(reconcile.Request{NamespacedName: key}, after)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { ask(ctx, q, e.Object) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { ask(ctx, q, e.ObjectOld, e.ObjectNew) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { ask(ctx, q, e.Object) },
	}
}

// all stacks, or those of a namespace.
func (w *Watcher) list(ctx context.Context, opts ...client.ListOption) []obsv1.ObservabilityStack {
	stacks := &obsv1.ObservabilityStackList{}
	if err := w.stacks.List(ctx, stacks, append(opts, client.UnsafeDisableDeepCopy)...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Could not find the stacks that a change concerns")
	}
	return stacks.Items
}

func (w *Watcher) all(ctx context.Context, _ client.Object) []client.ObjectKey {
	return keys(w.list(ctx))
}

// in finds the stacks in a Namespace.
func (w *Watcher) in(ctx context.Context, namespace client.Object) []client.ObjectKey {
	return keys(w.list(ctx, client.InNamespace(namespace.GetName())))
}

// selecting finds the stacks that a Service concerns.
func (w *Watcher) selecting(ctx context.Context, obj client.Object) []client.ObjectKey {
	service, ok := obj.(*Service)
	if !ok {
		return nil
	}
	stacks := w.list(ctx, client.InNamespace(service.Namespace))
	var concerned []obsv1.ObservabilityStack
	for i := range stacks {
		if judge.Concerns(&stacks[i], asJudged(service)) {
			concerned = append(concerned, stacks[i])
		}
	}
	return keys(concerned)
}

func keys(stacks []obsv1.ObservabilityStack) []client.ObjectKey {
	keys := make([]client.ObjectKey, 0, len(stacks))
	for i := range stacks {
		keys = append(keys, client.ObjectKeyFromObject(&stacks[i]))
	}
	return keys
}
