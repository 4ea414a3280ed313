// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/metadata"
)

// asking notes what those namespaces need that name a stack by label and that it admits. They have
// its settings before they have a workload, so that the first Job or Pod finds them.
func (r *Reader) asking(ctx context.Context, stack *obsv1.ObservabilityStack, state *policy.State) error {
	list := metadata.ListOf(metadata.Namespace)
	key := client.ObjectKeyFromObject(stack)
	if err := r.Main.List(ctx, list, client.MatchingFields{indexNamed: key.String()}); err != nil {
		return fmt.Errorf("list Namespaces: %w", err)
	}
	for _, namespace := range list.Items {
		if r.Watched(namespace.Name) && namespace.DeletionTimestamp.IsZero() &&
			policy.Admits(stack, namespace.Name, namespace.Labels) {
			claim := policy.NamespaceClaim(&namespace)
			state.Need(namespace.Name, claim.Variant)
			state.NeedPython(namespace.Name, claim.WantsPython(stack))
		}
	}
	return nil
}

// stacksOfNamespace maps a Namespace to the stacks that it names itself, before a change and after
// it, and to those of its workloads and Pods: whether they are admitted may have changed.
func (i *Injector) stacksOfNamespace(ctx context.Context, obj client.Object) []reconcile.Request {
	if !i.Reader.Watched(obj.GetName()) {
		return nil
	}
	names := map[types.NamespacedName]bool{}
	if claim := policy.NamespaceClaim(obj); claim.Made() {
		names[claim.Stack] = true
	}
	workloads, err := i.Reader.InNamespace(ctx, obj.GetName())
	for _, w := range workloads {
		if claim := policy.ClaimOf(w, nil); claim.Made() {
			names[claim.Stack] = true
		}
	}
	pods := metadata.ListOf(metadata.Pod)
	if err == nil {
		err = i.Reader.Main.List(ctx, pods, client.InNamespace(obj.GetName()), client.UnsafeDisableDeepCopy)
	}
	for n := range pods.Items {
		for _, stack := range stampedFor(&pods.Items[n]) {
			names[stack] = true
		}
	}
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Could not find whom a Namespace concerns", "namespace", obj.GetName())
	}
	return i.existing(ctx, names)
}
