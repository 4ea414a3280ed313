// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/capabilities"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/controllers/platform"
	"obstack.dev/obstack/controllers/proof"
	"obstack.dev/obstack/controllers/selection"
	"obstack.dev/obstack/controllers/stack"
)

const (
	// addressInterval is the least time between two requests for the addresses behind the Services
	// of a stack, and addressPace between any two, which leaves requests to other proofs.
	addressInterval = time.Minute
	addressPace     = 15 * time.Second
	// bindingsIntervals are how many intervals of other proofs lie between two looks at what
	// prometheus-operator accepts: it says so of each object.
	bindingsIntervals = 5
)

// unwatched asks the API server what is not watched: for the addresses behind Services, and what
// prometheus-operator accepts.
type unwatched struct {
	addresses *proof.Addresses
	bindings  *proof.Bindings
	// changed gets the stacks of which one of them knows something else.
	changed chan event.GenericEvent
}

// selecting makes what reads which Prometheuses and Services select what stacks need, and what asks
// for more than is watched.
func selecting(mgr ctrl.Manager, kinds *capabilities.Kinds, opts Options) (*selection.Watcher, unwatched, error) {
	asked := unwatched{changed: make(chan event.GenericEvent)}
	kinds.Read = selection.Kinds()
	watcher, err := selection.New(mgr, kinds, opts.Namespaces)
	if err != nil {
		return nil, asked, err
	}
	platforms := platform.Resolver{Reader: mgr.GetClient()}
	asked.addresses = &proof.Addresses{
		Reader: mgr.GetClient(), Services: watcher.Services,
		Asked: func(ctx context.Context, stack *obsv1.ObservabilityStack) (bool, error) {
			behind, err := platforms.For(ctx, stack)
			return behind.Spec != nil && behind.Spec.Prometheus != nil, err
		},
		Changed:  asked.changed,
		Interval: max(addressInterval, opts.Proofs.Interval), Pace: addressPace, Now: time.Now,
	}
	asked.bindings = &proof.Bindings{
		Reader: mgr.GetClient(), Serves: kinds.Serves, Changed: asked.changed,
		Interval: bindingsIntervals * opts.Proofs.Interval,
	}
	watcher.Unready, watcher.Refused = asked.addresses.Unready, asked.bindings.Refused
	if opts.Proofs.Interval == 0 { // Nobody would ever take back what the status says.
		watcher.Unready = func(*obsv1.ObservabilityStack) map[string]bool { return nil }
	}
	return watcher, asked, nil
}

// follow has the controller of stacks look at those whose children are changed, and at those of
// which something else selects the children than before.
func follow(mgr ctrl.Manager, kinds *capabilities.Reconciler, stacks *stack.Reconciler, selecting *selection.Watcher,
	c controller.Controller) error {
	kinds.Watch = func(ctx context.Context, kind schema.GroupVersionKind) error {
		if kinds.Kinds.IsRead(kind) {
			return selecting.WatchKind(kind)
		}
		return stacks.WatchChildren(ctx, mgr, c, kind)
	}
	kinds.Stop = func(ctx context.Context, kind schema.GroupVersionKind) error {
		if kinds.Kinds.IsRead(kind) {
			return selecting.StopKind(ctx, kind)
		}
		return mgr.GetCache().RemoveInformer(ctx, metadata.Of(kind))
	}
	return selecting.Watch(c)
}
