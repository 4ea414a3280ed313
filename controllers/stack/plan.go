// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"maps"
	"slices"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/apply"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/proof/judge"
)

// plan is what a pass wants of the cluster. It is made without looking at anything
// but the stack and what was observed.
type plan struct {
	// parts are what each component wants, in the order of applying.
	parts []part
	// settings that workloads should have, and what became of them.
	settings written
	// workloads are what to do about them; nil if injection is off.
	workloads *policy.Plan
	// provable are the parts of the stack that can be shown to work, and evidence says which do.
	provable []judge.Part
	evidence judge.Evidence
	// cluster is what objects of the cluster select, nil if nobody reads it, and discovered what was
	// found there.
	cluster    *judge.Cluster
	discovered *obsv1.DiscoveredStatus
}

// part is what one component wants.
type part struct {
	desired.Component
	desired.Output
}

// newPlan decides what a stack needs.
func newPlan(stack *obsv1.ObservabilityStack, observed observation, settings written) plan {
	p := plan{settings: settings, provable: judge.Parts(stack), evidence: observed.evidence}
	p.cluster, p.discovered = observed.cluster, observed.inputs.Discovered
	in := observed.inputs
	in.Settings = settings.Settings
	if observed.workloads != nil {
		state := *observed.workloads
		state.Bundles = settings.bundles
		workloads := policy.NewPlan(stack, state, settings.version(observed))
		for needed, err := range settings.failures {
			reason, message, retry := explain(err)
			workloads.Because(needed.namespace, reason)
			if settings.copies.Has(needed) && !retry {
				variant, version := policy.Variant(needed.Variant), settings.Hash(needed.Variant)
				workloads.Unwritten(needed.namespace, variant, version, reason, message)
			}
		}
		p.workloads = &workloads
		in.Workloads = &desired.Workloads{
			Status: workloads.Status, Counted: workloads.Counted,
			Withdrawn: workloads.Withdrawn, WithdrawnElsewhere: workloads.WithdrawnElsewhere,
			Python:  needing(observed.workloads.Python),
			Rolling: workloads.By[policy.Rolling], Stuck: workloads.By[policy.Stuck],
			Outdated: workloads.By[policy.Outdated], Contested: workloads.By[policy.Contested],
			Missed: workloads.By[policy.Missed], Blocked: workloads.By[policy.Blocked], Stale: workloads.By[policy.Stale],
		}
	}
	for _, component := range desired.Components {
		p.parts = append(p.parts, part{component, component.Build(stack, in)})
	}
	return p
}

// changes are what patches would change about the workloads of a suspended stack.
func changes(patches []policy.Patch) []apply.Change {
	var changes []apply.Change
	for _, patch := range patches {
		verb := "stamp"
		if patch.Stamp == nil {
			verb = "remove the stamp of"
		}
		changes = append(changes, apply.Change{Verb: verb, Kind: patch.Kind, Name: patch.Namespace + "/" + patch.Name})
	}
	return changes
}

// needing are the namespaces that need the bundle for Python, sorted.
func needing(python map[string]bool) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(python)), func(namespace string) bool { return !python[namespace] })
}
