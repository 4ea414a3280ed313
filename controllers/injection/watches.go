// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"reflect"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// workloadChanged passes workloads of which something changed that decisions look at.
var workloadChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, after := partial(e.ObjectOld), partial(e.ObjectNew)
	return specDiffers(before, after) || !reflect.DeepEqual(before.Status, after.Status)
}}

// specChanged is workloadChanged without the progress of rollouts.
var specChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	return specDiffers(partial(e.ObjectOld), partial(e.ObjectNew))
}}

func specDiffers(before, after *policy.Workload) bool {
	return before.UID != after.UID || before.Generation != after.Generation || before.Finished() != after.Finished() ||
		before.DeletionTimestamp.IsZero() != after.DeletionTimestamp.IsZero() ||
		!equality.Semantic.DeepEqual(before.Annotations, after.Annotations)
}

func partial(obj client.Object) *policy.Workload {
	if o, ok := obj.(policy.Object); ok {
		return o.Partial()
	}
	return &policy.Workload{}
}

// metadataChanged passes objects of which something changed that the cache keeps.
var metadataChanged = predicate.Predicate(predicate.Or(
	predicate.LabelChangedPredicate{}, predicate.AnnotationChangedPredicate{},
	predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
	}}))

// stacksOfWorkload maps a workload to the stack that it claims and to that whose stamp it carries.
func (i *Injector) stacksOfWorkload(ctx context.Context, obj client.Object) []reconcile.Request {
	w := partial(obj)
	claim, _, err := i.Reader.Claim(ctx, w)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Could not find the stack of a workload", "workload", w.String())
	}
	names := map[types.NamespacedName]bool{claim.Stack: claim.Made()}
	if stamp, ok := w.Stamp(); ok {
		names[stamp.Stack] = true
	}
	if stack, ok := i.releasedFrom(w); ok {
		names[stack] = true
	}
	return i.existing(ctx, names)
}

// existing keeps the names of stacks that there are.
func (i *Injector) existing(ctx context.Context, names map[types.NamespacedName]bool) []reconcile.Request {
	var requests []reconcile.Request
	for name, wanted := range names {
		if wanted && i.Reader.Watched(name.Namespace) && i.Reader.Main.Get(ctx, name, &obsv1.ObservabilityStack{}) == nil {
			requests = append(requests, reconcile.Request{NamespacedName: name})
		}
	}
	return requests
}

// stacksBy maps an object to the stacks that it concerns.
func (i *Injector) stacksBy(concerned stacksOf) handler.MapFunc {
	return func(ctx context.Context, obj client.Object) []reconcile.Request {
		names := map[types.NamespacedName]bool{}
		for _, stack := range concerned(obj) {
			names[stack] = true
		}
		return i.existing(ctx, names)
	}
}

// podDelay gathers the events of Pods, which come in hundreds, into one pass.
const podDelay = 500 * time.Millisecond

// podHandler asks for the stack of a stamped Pod, a little later.
func (i *Injector) podHandler() handler.EventHandler {
	stacks := i.stacksBy(stampedFor)
	later := func(ctx context.Context, pod client.Object, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		for _, request := range stacks(ctx, pod) {
			queue.AddAfter(request, podDelay)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent,
			queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			later(ctx, e.Object, queue)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent,
			queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			later(ctx, e.ObjectOld, queue) // whose stack it may have been
			later(ctx, e.ObjectNew, queue)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent,
			queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			later(ctx, e.Object, queue)
		},
	}
}

// finder lists the workloads that an object concerns.
type finder func(context.Context, client.Object) ([]*policy.Workload, error)

func (i *Injector) itself(ctx context.Context, obj client.Object) ([]*policy.Workload, error) {
	w := partial(obj)
	claim, _, err := i.Reader.Claim(ctx, w)
	if err != nil || concerned(w, claim) {
		return []*policy.Workload{w}, err
	}
	return nil, nil
}

// inNamespace judges by the Namespace as it comes, which may be that before a change.
func (i *Injector) inNamespace(ctx context.Context, obj client.Object) ([]*policy.Workload, error) {
	if !i.Reader.Watched(obj.GetName()) {
		return nil, nil
	}
	workloads, err := i.Reader.InNamespace(ctx, obj.GetName())
	namespace := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Labels: obj.GetLabels()}}
	return slices.DeleteFunc(workloads, func(w *policy.Workload) bool {
		return !concerned(w, policy.ClaimOf(w, namespace))
	}), err
}

// concerned reports whether a workload asks for anything or carries a stamp, which most
// do not. A queue that once held all of a large cluster stays as large.
func concerned(w *policy.Workload, claim policy.Claim) bool {
	_, stamped := w.Stamp()
	return claim.Made() || claim.Problem != "" || stamped
}

func (i *Injector) concerning(ctx context.Context, obj client.Object) ([]*policy.Workload, error) {
	return i.Reader.Concerning(ctx, client.ObjectKeyFromObject(obj))
}

// requestsFor asks for the workloads that are found.
func requestsFor(find finder) handler.TypedEventHandler[client.Object, policy.Key] {
	return handler.TypedEnqueueRequestsFromMapFunc(func(ctx context.Context, obj client.Object) []policy.Key {
		workloads, err := find(ctx, obj)
		if err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Could not find the workloads that a change concerns")
		}
		var requests []policy.Key
		for _, w := range workloads {
			requests = append(requests, w.Key())
		}
		return requests
	})
}
