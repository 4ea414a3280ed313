// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// resync counts what the operator sends while it looks at every stack again.
func (b *bench) resync(ctx context.Context) error {
	progress("resync of %d stacks", b.many)
	var err error
	if b.MemoryStacks.Restarted, err = b.restarted(ctx); err != nil {
		return err
	}
	before, err := b.op.Metrics(ctx)
	if err != nil {
		return err
	}
	// Twice as many passes as stacks: at least one whole resync lies between.
	err = b.until(ctx, seldom, "every stack was looked at again", func(s testenv.Samples) bool {
		return s.Passes()-before.Passes() >= float64(2*b.many) && s.Idle()
	})
	if err != nil {
		return err
	}
	after, err := b.op.Metrics(ctx)
	b.ResyncPasses = int(after.Passes() - before.Passes())
	b.ResyncRequests = int(after.Requests() - before.Requests())
	return err
}

// change changes one field, again and again: once through a stack, once by the
// bare client. Both are timed from the request to the event that shows the child.
func (b *bench) change(ctx context.Context) error {
	progress("%d changes of one field", b.changes)
	bare, err := b.newStacks(ctx, 1)
	if err != nil {
		return err
	}
	if _, _, err := b.applyBare(ctx, bare); err != nil {
		return err
	}
	before, err := b.op.Metrics(ctx)
	if err != nil {
		return err
	}
	var through, direct []time.Duration
	for i := range b.changes {
		path := fmt.Sprintf("/metrics/%d", i)
		took, err := b.changeStack(ctx, b.stacks[i*len(b.stacks)/b.changes], path)
		if err != nil {
			return err
		}
		through = append(through, took)
		if took, err = b.changeBare(ctx, bare[0], path); err != nil {
			return err
		}
		direct = append(direct, took)
	}
	if err := b.settled(ctx, 0); err != nil {
		return err
	}
	after, err := b.op.Metrics(ctx)
	b.ChangeRequests = (after.Requests() - before.Requests()) / float64(b.changes)
	b.Change = pair{Operator: median(through), Bare: median(direct)}
	progress("changed field: operator %s, bare %s, %.1f requests", b.Change.Operator, b.Change.Bare, b.ChangeRequests)
	return err
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

func (b *bench) changeStack(ctx context.Context, stack *obsv1.ObservabilityStack, path string) (time.Duration, error) {
	if err := b.api.Get(ctx, client.ObjectKeyFromObject(stack), stack); err != nil {
		return 0, fmt.Errorf("read a stack: %w", err)
	}
	before := stack.DeepCopy()
	stack.Spec.Metrics.Monitors[0].Path = path
	return b.untilChildHas(ctx, stack, path, func() error { return b.api.Patch(ctx, stack, client.MergeFrom(before)) })
}

func (b *bench) changeBare(ctx context.Context, stack *obsv1.ObservabilityStack, path string) (time.Duration, error) {
	stack.Spec.Metrics.Monitors[0].Path = path
	requests, err := b.requestsFor(stack)
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(requests, func(r request) bool { return r.name == childName(stack) })
	return b.untilChildHas(ctx, stack, path, func() error { return b.apply(ctx, requests[i]) })
}

func childName(stack *obsv1.ObservabilityStack) string { return stack.Name + "-api" }

// untilChildHas times from before the change until the stack's ServiceMonitor has the path.
func (b *bench) untilChildHas(ctx context.Context, stack *obsv1.ObservabilityStack, path string, change func() error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	events, err := b.api.Watch(ctx, &monitoringv1.ServiceMonitorList{}, client.InNamespace(stack.Namespace),
		client.MatchingFields{"metadata.name": childName(stack)})
	if err != nil {
		return 0, fmt.Errorf("watch the child: %w", err)
	}
	defer events.Stop()
	start := time.Now()
	if err := change(); err != nil {
		return 0, fmt.Errorf("change one field: %w", err)
	}
	for event := range events.ResultChan() {
		if child, ok := event.Object.(*monitoringv1.ServiceMonitor); ok && event.Type != watch.Deleted && child.Spec.Endpoints[0].Path == path {
			return time.Since(start), nil
		}
	}
	return 0, fmt.Errorf("the child of %s never carried the change", stack.Name)
}
