// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"slices"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// tally counts the workloads of a stack by namespace.
type tally struct {
	own        string
	namespaces map[string]*obsv1.NamespaceWorkloads
}

func newTally(own string) *tally {
	return &tally{own: own, namespaces: map[string]*obsv1.NamespaceWorkloads{}}
}

// reasons that namespaces may have in the status, from those that wait for somebody to those
// that pass by themselves. Any other, such as that of a refusal, comes last.
var reasons = []string{
	obsv1.ReasonNameConflict, obsv1.ReasonRejected, obsv1.ReasonStampContested, obsv1.ReasonInjectionBlocked,
	obsv1.ReasonRolloutStuck, obsv1.ReasonWebhookUnavailable, obsv1.ReasonRolloutRequired, obsv1.ReasonRollingOut,
}

// reasonOf a candidate that is not injected.
func reasonOf(progress Progress, manual bool) string {
	switch progress {
	case Contested:
		return obsv1.ReasonStampContested
	case Blocked:
		return obsv1.ReasonInjectionBlocked
	case Stuck:
		return obsv1.ReasonRolloutStuck
	case Stale:
		return obsv1.ReasonRolloutRequired
	case Outdated, Missed:
		if manual {
			return obsv1.ReasonRolloutRequired
		}
		return obsv1.ReasonRollingOut
	case Rolling:
		return obsv1.ReasonRollingOut
	default:
		return ""
	}
}

func (t *tally) of(namespace string) *obsv1.NamespaceWorkloads {
	if t.namespaces[namespace] == nil {
		t.namespaces[namespace] = &obsv1.NamespaceWorkloads{Name: namespace}
	}
	return t.namespaces[namespace]
}

func (t *tally) count(namespace string, progress Progress, manual bool) {
	n := t.of(namespace)
	n.Annotated++
	if progress == Injected {
		n.Injected++
		return
	}
	n.Pending++
	t.because(namespace, reasonOf(progress, manual))
}

func (t *tally) refuse(refusal Refusal) {
	t.of(refusal.Namespace).Refused++
	t.because(refusal.Namespace, refusal.Reason)
}

// because gives a namespace a reason, unless it has one that is more.
func (t *tally) because(namespace, reason string) {
	n := t.of(namespace)
	if n.Reason == "" || cmp.Or(cmp.Compare(rank(reason), rank(n.Reason)), cmp.Compare(reason, n.Reason)) < 0 {
		n.Reason = reason
	}
}

func rank(reason string) int {
	if i := slices.Index(reasons, reason); i >= 0 {
		return i
	}
	return len(reasons)
}

// status sums up, and lists the other namespaces: those in which something is pending first
// of all, and those that have nothing but refusals last.
func (t *tally) status() obsv1.WorkloadsStatus {
	var status obsv1.WorkloadsStatus
	var others []obsv1.NamespaceWorkloads
	for _, n := range t.namespaces {
		status.Annotated += n.Annotated
		status.Injected += n.Injected
		status.Pending += n.Pending
		status.Refused += n.Refused
		if n.Name != t.own {
			others = append(others, *n)
		}
	}
	slices.SortFunc(others, func(a, b obsv1.NamespaceWorkloads) int {
		return cmp.Or(cmp.Compare(min(b.Pending, 1), min(a.Pending, 1)),
			cmp.Compare(min(b.Annotated, 1), min(a.Annotated, 1)), cmp.Compare(a.Name, b.Name))
	})
	status.Namespaces = others[:min(len(others), obsv1.MaxNamespaces)]
	status.Summary = fmt.Sprintf("%d/%d", status.Injected, status.Annotated)
	return status
}
