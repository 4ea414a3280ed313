// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/proof/judge"
)

// Bindings reads which ServiceMonitors, PodMonitors and PrometheusRules of stacks
// prometheus-operator does not accept, though a Prometheus selects them. It writes that into their
// status if its feature gate StatusForConfigurationResources is on. A watch would bring every
// change of theirs twice, also where the gate is off.
type Bindings struct {
	// Reader of the cache.
	Reader  client.Reader
	Cluster Cluster
	// Serves reports whether the cluster serves a kind.
	Serves func(schema.GroupVersionKind) bool
	// Changed gets the stacks of which something else is known now.
	Changed  chan event.GenericEvent
	Interval time.Duration

	mu sync.Mutex
	// refused is nil before the first round.
	refused map[types.NamespacedName]map[judge.Part]string
}

const (
	// bindingsSample rules are read to find out whether any has a binding, because rules are large.
	// Monitors are small, and all are read: those of the first namespaces may be nobody's.
	bindingsSample = 20
	bindingsPage   = 200
)

// Start reads until ctx ends.
func (b *Bindings) Start(ctx context.Context) error {
	wait.JitterUntilWithContext(ctx, func(ctx context.Context) {
		if err := b.round(ctx); err != nil && ctx.Err() == nil {
			ctrl.Log.WithName("proof").Error(err, "Could not read what prometheus-operator accepts")
		}
	}, b.Interval, 0.1, true)
	return nil
}

// Refused says of parts of a stack why prometheus-operator does not accept them. Before the first
// round the stack's status counts: a restart changes nothing.
func (b *Bindings) Refused(stack *obsv1.ObservabilityStack) map[judge.Part]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.Interval == 0: // Nobody would ever take back what the status says.
		return nil
	case b.refused != nil:
		return b.refused[client.ObjectKeyFromObject(stack)]
	default:
		return reportedRefused(stack)
	}
}

func reportedRefused(stack *obsv1.ObservabilityStack) map[judge.Part]string {
	refused := map[judge.Part]string{}
	for _, part := range stack.Status.Parts {
		if part.Reason == obsv1.ReasonNotAccepted {
			refused[judge.Part{Kind: part.Kind, Name: part.Name}] = part.Message
		}
	}
	return refused
}

// bound is what prometheus-operator binds to Prometheuses.
type bound interface {
	client.Object
	Bindings() []monitoringv1.WorkloadBinding
}

func (b *Bindings) round(ctx context.Context) error {
	list := &obsv1.ObservabilityStackList{}
	if err := b.Reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list stacks: %w", err)
	}
	stacks := map[types.NamespacedName]*obsv1.ObservabilityStack{}
	python := false
	for i := range list.Items {
		stacks[client.ObjectKeyFromObject(&list.Items[i])] = &list.Items[i]
		python = python || list.Items[i].Spec.Python != nil
	}
	refused := map[types.NamespacedName]map[judge.Part]string{}
	visit := func(obj bound) {
		key := types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetLabels()[obsv1.LabelStack]}
		part, why := refusal(stacks[key], obj)
		if why == "" {
			return
		}
		if refused[key] == nil {
			refused[key] = map[judge.Part]string{}
		}
		refused[key][part] = why
	}
	if len(stacks) == 0 {
		b.set(ctx, stacks, refused)
		return nil
	}
	for _, namespace := range b.Cluster.namespaces() {
		if err := b.read(ctx, namespace, python, visit); err != nil {
			return err
		}
	}
	b.set(ctx, stacks, refused)
	return nil
}

// read the objects of a namespace, and PodMonitors if any stack has one.
func (b *Bindings) read(ctx context.Context, namespace string, podMonitors bool, visit func(bound)) error {
	used := false
	for _, kind := range []struct {
		wanted bool
		schema.GroupVersionKind
		empty func() client.ObjectList
	}{
		{true, desired.ServiceMonitorKind, func() client.ObjectList { return &monitoringv1.ServiceMonitorList{} }},
		{podMonitors, desired.PodMonitorKind, func() client.ObjectList { return &monitoringv1.PodMonitorList{} }},
		{true, desired.PrometheusRuleKind, func() client.ObjectList { return &monitoringv1.PrometheusRuleList{} }},
	} {
		if !kind.wanted || !b.Serves(kind.GroupVersionKind) {
			continue
		}
		all := used || kind.GroupVersionKind != desired.PrometheusRuleKind
		more, err := b.list(ctx, namespace, kind.empty, all, visit)
		if err != nil {
			return err
		}
		used = used || more
	}
	return nil
}

// refusal is why an object of a stack is not accepted; nothing if it is, or if it is no stack's.
func refusal(stack *obsv1.ObservabilityStack, obj bound) (part judge.Part, why string) {
	if stack == nil || !metav1.IsControlledBy(obj, stack) { // Anybody may set the labels.
		return part, ""
	}
	child := judge.ChildOf(stack, obj)
	if child == nil {
		return part, ""
	}
	return child.Part, child.Refused(obj.GetGeneration(), obj.Bindings())
}

// list the objects of a kind and report whether any has a binding. If none of the first has, it
// ends there, unless all are wanted.
func (b *Bindings) list(ctx context.Context, namespace string, empty func() client.ObjectList, all bool,
	visit func(bound)) (used bool, err error) {
	next := ""
	for size := client.Limit(bindingsSample); ; size = bindingsPage {
		if all {
			size = bindingsPage
		}
		if err := b.Cluster.Requests.Wait(ctx); err != nil {
			return used, err
		}
		page := empty()
		err := b.Cluster.Live.List(ctx, page, client.InNamespace(namespace), size, client.Continue(next),
			client.MatchingLabels{obsv1.LabelManagedBy: obsv1.ManagedBy})
		if err != nil {
			return used, fmt.Errorf("list %T: %w", page, err)
		}
		_ = meta.EachListItem(page, func(obj runtime.Object) error { // nil
			if obj, ok := obj.(bound); ok {
				used = used || len(obj.Bindings()) > 0
				visit(obj)
			}
			return nil
		})
		if next = page.GetContinue(); next == "" || !used && !all {
			return used, nil
		}
	}
}

// set what a round found.
func (b *Bindings) set(ctx context.Context, stacks map[types.NamespacedName]*obsv1.ObservabilityStack,
	refused map[types.NamespacedName]map[judge.Part]string) {
	b.mu.Lock()
	before := b.refused
	b.refused = refused
	b.mu.Unlock()
	for key, stack := range stacks {
		known := before[key]
		if before == nil {
			known = reportedRefused(stack)
		}
		if !maps.Equal(known, refused[key]) {
			wake(ctx, b.Changed, key)
		}
	}
}
