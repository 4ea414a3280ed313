// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/apply"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/settings"
)

// written is what became of the settings. They come before the plan, because a workload may only
// be given a version that is there.
type written struct {
	*desired.Settings
	// failures say by namespace why the version is not there.
	failures map[string]error
	// changes are those that a suspended stack would need.
	changes []apply.Change
}

// writeSettings writes the versions that workloads should have, in every namespace that has any.
func (r *Reconciler) writeSettings(ctx context.Context, stack *obsv1.ObservabilityStack, observed observation) written {
	made := desired.NewSettings(stack, observed.inputs.Values, observed.inputs.Versions)
	want := settings.Wanted{
		Stack: client.ObjectKeyFromObject(stack), Secrets: made.Secrets(observed.variants()),
		Exist: observed.versions, Held: made.Held(),
	}
	done := written{Settings: made}
	if stack.Spec.Suspend {
		done.changes = r.Settings.Missing(want)
	} else {
		done.failures = r.Settings.Keep(ctx, want)
	}
	return done
}

// variants are what of the settings each namespace needs.
func (o *observation) variants() map[string][]desired.Variant {
	variants := map[string][]desired.Variant{}
	if o.workloads != nil {
		for namespace, needed := range o.workloads.Namespaces {
			for _, variant := range needed {
				variants[namespace] = append(variants[namespace], desired.Variant(variant))
			}
		}
	}
	return variants
}

// version is the hash of the settings that a workload should have. It is empty where they are not
// there: they could not be written, or bad input leaves none to write.
func (w *written) version(observed observation) func(*policy.Candidate) string {
	exists := map[types.NamespacedName]bool{}
	for _, version := range observed.versions {
		exists[types.NamespacedName{Namespace: version.Namespace, Name: version.Labels[obsv1.StampVersion]}] = true
	}
	return func(c *policy.Candidate) string {
		variant := desired.Variant(c.Variant)
		hash := w.Hash(variant)
		if w.failures[c.Namespace] != nil ||
			w.Undecided(variant) && !exists[types.NamespacedName{Namespace: c.Namespace, Name: hash}] {
			return ""
		}
		return hash
	}
}

// own is what became of the settings in the stack's own namespace, for which its condition speaks.
func (w *written) own(stack *obsv1.ObservabilityStack, out desired.Output) result {
	if err := w.failures[stack.Namespace]; err != nil {
		return failure(err)
	}
	if stack.Spec.Suspend {
		out = suspended(out, w.changes)
	}
	return result{Output: out}
}

// elsewhere is what became of them in other namespaces, whose trouble is theirs: it is looked at
// again, and delays nothing.
func (w *written) elsewhere(stack *obsv1.ObservabilityStack) (all result) {
	for namespace := range w.failures {
		if namespace != stack.Namespace {
			all.recheck = recheckAfter
		}
	}
	return all
}
