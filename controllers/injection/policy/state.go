// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// State is what was observed of the workloads that name a stack.
type State struct {
	// Now is when it was observed.
	Now time.Time
	// Candidates are the workloads whose claim is granted, and those to release.
	Candidates []Candidate
	// Namespaces have what of the settings is asked for in each, but for those that are being
	// deleted.
	Namespaces map[string][]Variant
	// Bundles are those for Python.
	Bundles Bundles
	// Python reports of namespaces whether that of new workloads is needed there.
	Python map[string]bool
	// Refused are the workloads whose claim is not granted.
	Refused []Refusal
	// RetryAfter is how long it is until more is known; 0 if an event comes.
	RetryAfter time.Duration
}

// Retry has more known after that time at the latest.
func (s *State) Retry(after time.Duration) { s.RetryAfter = sooner(s.RetryAfter, after) }

// sooner is the shorter one of two times to wait. One that is not positive is none.
func sooner(a, b time.Duration) time.Duration {
	if a > 0 && b > 0 {
		return min(a, b)
	}
	return max(a, b)
}

// Need notes what of the settings is asked for in a namespace.
func (s *State) Need(namespace string, variant Variant) {
	if s.Namespaces == nil {
		s.Namespaces = map[string][]Variant{}
	}
	if !slices.Contains(s.Namespaces[namespace], variant) {
		s.Namespaces[namespace] = append(s.Namespaces[namespace], variant)
	}
}

// NeedPython notes whether the bundle for Python is needed in a namespace.
func (s *State) NeedPython(namespace string, needed bool) {
	if s.Python == nil {
		s.Python = map[string]bool{}
	}
	s.Python[namespace] = s.Python[namespace] || needed
}

// Bundles are those for Python.
type Bundles struct {
	// New is the hash of that of new workloads; empty if there is none.
	New string
	// Carried reports whether the operator carries one. A template keeps it as long.
	Carried func(hash string) bool
	// Unwritten are the namespaces in which one could not be written: their templates stay as they
	// are.
	Unwritten map[string]bool
}

// Of is the hash of the bundle that a candidate should have.
func (b *Bundles) Of(c *Candidate) string {
	had, _ := c.Stamp()
	hash := b.New
	if b.New == "" || b.Unwritten[c.Namespace] || had.Python != "" && b.Carried(had.Python) {
		hash = had.Python
	}
	if !c.Python || hash == c.Withdrew.Bundle {
		return ""
	}
	return hash
}

// Add a workload that names the stack or carries its stamp, and its Pods. The Namespace is empty if
// it is not known.
func (s *State) Add(stack *obsv1.ObservabilityStack, w *Workload, claim Claim,
	namespace *metav1.PartialObjectMetadata, pods []Pod) {
	key := types.NamespacedName{Namespace: stack.Namespace, Name: stack.Name}
	switch stamp, _ := w.Stamp(); {
	case namespace.Name == "":
		return // What a Namespace says that is not known yet is not known either.
	case !claim.Made() && claim.Problem == "" && stamp.Stack == key && w.Kind != KindJob:
		// Its owner took the annotation away. Nothing else removes a stamp: neither a stack that
		// goes, nor one that refuses. A stamp can be written by anybody, so those of namespaces
		// that are not admitted do not count.
		if Admits(stack, w.Namespace, namespace.Labels) {
			s.Candidates = append(s.Candidates, Candidate{Workload: w, Release: true, Pods: pods})
		}
		return
	case claim.Stack != key:
		return
	}
	if decision := DecideWorkload(w, claim, namespace, stack); !decision.Granted {
		if decision.Reason == "" {
			return
		}
		s.Refused = append(s.Refused, Refusal{Namespace: w.Namespace, Reason: decision.Reason})
		return
	}
	// A namespace that is being deleted takes no more objects.
	if namespace.DeletionTimestamp.IsZero() {
		s.Need(w.Namespace, claim.Variant)
		s.NeedPython(w.Namespace, claim.WantsPython(stack))
	}
	s.Candidates = append(s.Candidates, NewCandidate(w, claim, stack, pods))
}

// Refusal is a workload whose claim is not granted, and why.
type Refusal struct {
	Namespace, Reason string
}
