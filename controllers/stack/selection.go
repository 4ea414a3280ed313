// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"maps"

	"k8s.io/apimachinery/pkg/runtime/schema"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/apply"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/proof/judge"
)

// observeCluster reads what selects the children of a stack.
func (r *Reconciler) observeCluster(ctx context.Context, stack *obsv1.ObservabilityStack, observed *observation) error {
	if r.Cluster == nil {
		return nil
	}
	cluster, err := r.Cluster.Observe(ctx, stack)
	if err != nil {
		return err
	}
	observed.cluster = &cluster
	observed.inputs.Discovered = judge.Labels(stack, cluster)
	return nil
}

// selected says which parts of a stack the cluster's objects select. The labels count that children
// have now: somebody else may have added one.
func selected(stack *obsv1.ObservabilityStack, plan plan, pass *apply.Pass) []judge.Finding {
	if plan.cluster == nil {
		return nil
	}
	var children []judge.Child
	for _, p := range plan.parts {
		for _, obj := range p.Objects {
			child := judge.ChildOf(stack, obj)
			if child == nil {
				continue
			}
			kind := schema.GroupKind{Group: desired.ServiceMonitorKind.Group, Kind: child.Object}
			labels := maps.Clone(child.Labels)
			maps.Copy(labels, pass.Labels(apply.Key{GroupKind: kind, Namespace: obj.GetNamespace(), Name: child.Name}))
			child.Labels = labels
			children = append(children, *child)
		}
	}
	return append(judge.Selected(stack.Namespace, children, *plan.cluster), judge.Served(stack, *plan.cluster)...)
}
