// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/proof/judge"
)

// Addresses asks the API server, about stacks of which no Prometheus can be asked, whether anything
// that is ready stands behind the Services of their monitors. Addresses come and go too often to be
// watched.
type Addresses struct {
	// Reader of the cache.
	Reader  client.Reader
	Cluster Cluster
	// Services of a namespace.
	Services func(ctx context.Context, namespace string) ([]judge.Service, error)
	// Asked reports whether a Prometheus is asked about a stack, which knows better.
	Asked func(context.Context, *obsv1.ObservabilityStack) (bool, error)
	// Changed gets the stacks of which something else is known now.
	Changed chan event.GenericEvent
	// Interval is the least time between two requests about a stack, and Pace between any two.
	Interval, Pace time.Duration
	Now            func() time.Time

	// suspected is whether it is the turn of a stack where something was not ready.
	suspected bool

	mu    sync.Mutex
	known map[types.NamespacedName]addresses
}

// addresses is what is known of a stack.
type addresses struct {
	at time.Time
	// unready are the monitors without a ready address, in two rounds; suspects, in the last one.
	unready, suspects map[string]bool
}

// Start asks until ctx ends.
func (a *Addresses) Start(ctx context.Context) error {
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := a.next(ctx); err != nil {
			ctrl.Log.WithName("proof").Error(err, "Could not ask for addresses")
		}
	}, a.Pace)
	return nil
}

// Unready are the monitors of a stack without a ready address. Until the stack was asked about, its
// status counts: a restart changes nothing.
func (a *Addresses) Unready(stack *obsv1.ObservabilityStack) map[string]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	known, ok := a.known[client.ObjectKeyFromObject(stack)]
	if ok {
		return known.unready
	}
	return reportedUnready(stack)
}

func reportedUnready(stack *obsv1.ObservabilityStack) map[string]bool {
	unready := map[string]bool{}
	for _, part := range stack.Status.Parts {
		if part.Reason == obsv1.ReasonNoReadyAddress {
			unready[part.Name] = true
		}
	}
	return unready
}

// next asks about the stack that was not asked about for the longest time, and every other time
// about such a one where something was not ready: what changes there is waited for.
func (a *Addresses) next(ctx context.Context) error {
	list := &obsv1.ObservabilityStackList{}
	if err := a.Reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list stacks: %w", err)
	}
	a.forget(list.Items)
	a.suspected = !a.suspected
	due, err := a.due(ctx, list.Items)
	if err != nil || due == nil {
		return err
	}
	unready, err := a.ask(ctx, due)
	if err != nil {
		return err
	}
	a.set(ctx, due, unready)
	return nil
}

// due is the stack to be asked about; nil if it is too soon for any.
func (a *Addresses) due(ctx context.Context, stacks []obsv1.ObservabilityStack) (*obsv1.ObservabilityStack, error) {
	latest := a.Now().Add(-a.Interval)
	oldest, suspect := candidate{at: latest}, candidate{at: latest}
	for i := range stacks {
		stack := &stacks[i]
		asked, err := a.Asked(ctx, stack)
		if err != nil {
			return nil, fmt.Errorf("find the platform of %s/%s: %w", stack.Namespace, stack.Name, err)
		}
		if asked || stack.Spec.Metrics == nil {
			a.set(ctx, stack, nil)
			continue
		}
		a.mu.Lock()
		known := a.known[client.ObjectKeyFromObject(stack)]
		a.mu.Unlock()
		oldest = oldest.older(candidate{stack, known.at})
		if len(known.suspects)+len(known.unready) > 0 {
			suspect = suspect.older(candidate{stack, known.at})
		}
	}
	if a.suspected && suspect.stack != nil {
		return suspect.stack, nil
	}
	return oldest.stack, nil
}

// candidate is a stack that could be asked about, and when it was.
type candidate struct {
	stack *obsv1.ObservabilityStack
	at    time.Time
}

func (c candidate) older(other candidate) candidate {
	if other.at.Before(c.at) || c.stack == nil && other.at.Equal(c.at) {
		return other
	}
	return c
}

// forget the stacks that are gone.
func (a *Addresses) forget(stacks []obsv1.ObservabilityStack) {
	there := make(map[types.NamespacedName]bool, len(stacks))
	for i := range stacks {
		there[client.ObjectKeyFromObject(&stacks[i])] = true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.known, func(key types.NamespacedName, _ addresses) bool { return !there[key] })
}

// set what a round found. Addresses may be missing for a moment, as long as a Pod starts.
func (a *Addresses) set(ctx context.Context, stack *obsv1.ObservabilityStack, unready map[string]bool) {
	key := client.ObjectKeyFromObject(stack)
	a.mu.Lock()
	before, ok := a.known[key]
	if !ok {
		before.unready = reportedUnready(stack)
		before.suspects = before.unready
	}
	now := addresses{at: a.Now(), suspects: unready, unready: map[string]bool{}}
	for monitor := range unready {
		if before.suspects[monitor] {
			now.unready[monitor] = true
		}
	}
	if a.known == nil {
		a.known = map[types.NamespacedName]addresses{}
	}
	a.known[key] = now
	a.mu.Unlock()
	if !maps.Equal(before.unready, now.unready) {
		wake(ctx, a.Changed, key)
	}
}

// maxSlices bounds a response. Where there are more, something is ready.
const maxSlices = 100

// ask which monitors have Services and no ready address, in one request.
func (a *Addresses) ask(ctx context.Context, stack *obsv1.ObservabilityStack) (map[string]bool, error) {
	services, err := a.Services(ctx, stack.Namespace)
	if err != nil {
		return nil, err
	}
	scraped := map[string][]string{}
	var all []string
	for _, monitor := range stack.Spec.Monitors() {
		if names := judge.ServicesOf(&monitor, services); len(names) > 0 {
			scraped[monitor.Name], all = names, append(all, names...)
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	ready, err := a.ready(ctx, stack.Namespace, all)
	if err != nil {
		return nil, err
	}
	unready := map[string]bool{}
	for monitor, names := range scraped {
		if !slices.ContainsFunc(names, ready) {
			unready[monitor] = true
		}
	}
	return unready, nil
}

// ready reports, of some Services of a namespace, whether anything that is ready stands behind one.
func (a *Addresses) ready(ctx context.Context, namespace string, services []string) (func(string) bool, error) {
	of, err := labels.NewRequirement(discoveryv1.LabelServiceName, selection.In, services)
	if err != nil {
		return nil, fmt.Errorf("select EndpointSlices: %w", err)
	}
	if err := a.Cluster.Requests.Wait(ctx); err != nil {
		return nil, err
	}
	list := &discoveryv1.EndpointSliceList{}
	err = a.Cluster.Live.List(ctx, list, client.InNamespace(namespace), client.Limit(maxSlices),
		client.MatchingLabelsSelector{Selector: labels.NewSelector().Add(*of)})
	if err != nil {
		return nil, fmt.Errorf("list EndpointSlices: %w", err)
	}
	ready := map[string]bool{}
	for _, slice := range list.Items {
		if slices.ContainsFunc(slice.Endpoints, isReady) {
			ready[slice.Labels[discoveryv1.LabelServiceName]] = true
		}
	}
	return func(service string) bool { return ready[service] || list.Continue != "" }, nil
}

// isReady as the API says: a condition that is absent counts as ready.
func isReady(endpoint discoveryv1.Endpoint) bool {
	return endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready
}
