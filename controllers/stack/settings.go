// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
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
	// failures say why a version that is needed is not there.
	failures map[need]error
	// copies are those of them that failed in another namespace than the stack's, which stays.
	copies sets.Set[need]
	// own are the failures of those that the stack's own workloads need, and others reports whether
	// there are more.
	own    error
	others bool
	// changes are those that a suspended stack would need.
	changes []apply.Change
	// bundles for Python that workloads may have.
	bundles policy.Bundles
}

// need is a variant that something in a namespace needs.
type need struct {
	namespace string
	desired.Variant
}

// writeSettings writes the versions that workloads should have, in every namespace that has any.
func (r *Reconciler) writeSettings(ctx context.Context, stack *obsv1.ObservabilityStack, observed observation) written {
	made, needed := desired.NewSettings(stack, observed.inputs.Values, observed.inputs.Versions), observed.variants()
	want := settings.Wanted{
		Stack: client.ObjectKeyFromObject(stack), Secrets: made.Secrets(needed),
		Exist: observed.versions, Held: made.Held(), Named: named(&stack.Status), Bundles: observed.bundles(stack),
	}
	done := written{Settings: made}
	if stack.Spec.Suspend {
		done.changes, done.own = r.Settings.Missing(ctx, want)
		done.noteBundles(stack, nil)
		return done
	}
	kept := r.Settings.Keep(ctx, want)
	done.note(stack.Namespace, needed, kept.Failures)
	done.noteBundles(stack, kept.Failures)
	for _, bundle := range kept.Restored {
		r.Events.Eventf(stack, nil, corev1.EventTypeWarning, obsv1.ReasonPythonBundleRestored, "Restore",
			"ConfigMap %s was deleted or held something else, and is as it was: see who may write ConfigMaps there, "+
				"because Pods run what it holds", bundle)
	}
	return done
}

// bundles are the ConfigMaps for Python that workloads have or are to have, in every namespace that
// has such workloads, and in the stack's own.
func (o *observation) bundles(stack *obsv1.ObservabilityStack) (all []*corev1.ConfigMap) {
	if o.workloads == nil || stack.Spec.Python == nil {
		return nil
	}
	wanted := map[types.NamespacedName]bool{{Namespace: stack.Namespace, Name: settings.CurrentBundle()}: true}
	for namespace, needed := range o.workloads.Python {
		if needed {
			wanted[types.NamespacedName{Namespace: namespace, Name: settings.CurrentBundle()}] = true
		}
	}
	for i := range o.workloads.Candidates {
		c := &o.workloads.Candidates[i]
		stamp, _ := c.Stamp()
		if o.workloads.Python[c.Namespace] && c.Python && settings.CarriesBundle(stamp.Python) {
			wanted[types.NamespacedName{Namespace: c.Namespace, Name: stamp.Python}] = true
		}
	}
	for _, bundle := range slices.SortedFunc(maps.Keys(wanted), func(a, b types.NamespacedName) int {
		return cmp.Compare(a.String(), b.String())
	}) {
		all = append(all, settings.Bundle(bundle.Namespace, bundle.Name))
	}
	return all
}

// noteBundles says which bundles workloads may have. Where one could not be written, their
// templates stay as they are; in the stack's own namespace, so does what new ones get.
func (w *written) noteBundles(stack *obsv1.ObservabilityStack, failed map[types.NamespacedName]error) {
	if stack.Spec.Python == nil {
		return
	}
	w.bundles = policy.Bundles{
		New: settings.CurrentBundle(), Carried: settings.CarriesBundle, Unwritten: map[string]bool{},
	}
	own := failed[types.NamespacedName{Namespace: stack.Namespace, Name: obsv1.PythonName(w.bundles.New)}]
	for name, err := range failed {
		if _, bundle := settings.BundleOf(name.Name); bundle && err != nil {
			w.bundles.Unwritten[name.Namespace] = true
		}
	}
	var taken *apply.NameTakenError
	if own != nil || stack.Spec.Suspend {
		w.bundles.New = ""
		// What is somebody else's nobody is to be given.
		if stack.Status.Python != nil && !errors.As(own, &taken) {
			w.bundles.New = stack.Status.Python.Bundle
		}
	}
	w.own = errors.Join(w.own, own)
}

// note what failed. A version is needed where its workloads are, and in the stack's own namespace,
// by which the status names it: without, nothing may be given another one.
func (w *written) note(own string, needed map[string][]desired.Variant, failed map[types.NamespacedName]error) {
	in := func(namespace string, v desired.Variant) types.NamespacedName {
		return types.NamespacedName{Namespace: namespace, Name: w.Name(v)}
	}
	w.failures, w.copies = map[need]error{}, sets.Set[need]{}
	for namespace, variants := range needed {
		for _, v := range variants {
			if err := cmp.Or(failed[in(namespace, v)], failed[in(own, v)]); err != nil {
				w.failures[need{namespace, v}] = err
			}
			there := failed[in(namespace, v)]
			if there != nil && namespace != own && !apierrors.HasStatusCause(there, corev1.NamespaceTerminatingCause) {
				w.copies.Insert(need{namespace, v})
			}
		}
	}
	ours := append([]desired.Variant{{Env: true}}, needed[own]...)
	slices.SortFunc(ours, func(a, b desired.Variant) int { return cmp.Compare(a.Project, b.Project) })
	var errs []error
	for _, v := range ours {
		if err := failed[in(own, v)]; err != nil && !slices.Contains(errs, err) {
			errs = append(errs, err)
		}
	}
	w.own, w.others = errors.Join(errs...), len(failed) > len(errs)
	for name := range failed {
		if name.Namespace == own {
			w.Unwritten(name.Name)
		}
	}
}

// named are the versions that a status names.
func named(status *obsv1.ObservabilityStackStatus) []string {
	all := []string{status.ConfigHash, status.ConfigHashWithoutEnv}
	for _, project := range status.Projects {
		all = append(all, project.ConfigHash, project.ConfigHashWithoutEnv)
	}
	return all
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
		if w.failures[need{c.Namespace, variant}] != nil ||
			w.Undecided(variant) && !exists[types.NamespacedName{Namespace: c.Namespace, Name: hash}] {
			return ""
		}
		return hash
	}
}

// ready is what became of the settings that the stack's own workloads need, for which its condition
// speaks.
func (w *written) ready(stack *obsv1.ObservabilityStack, out desired.Output) result {
	if w.own != nil {
		return failure(w.own)
	}
	if stack.Spec.Suspend {
		out = suspended(out, w.changes)
	}
	return result{Output: out}
}

// elsewhere is what became of the others, whose trouble is that of those who need them: it is
// looked at again, and delays nothing.
func (w *written) elsewhere() (all result) {
	if w.others {
		all.recheck = recheckAfter
	}
	return all
}
