// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/proof/judge"
)

const (
	// confirmations are how many rounds must find a part at fault.
	confirmations = 2
	// firstConfirmations are how many rounds Prometheus must be asked about a part that was not seen
	// to work before, because it takes a minute to know of it.
	firstConfirmations = 3
)

// place is what a source says something of in each round.
type place struct {
	judge.Part

	level obsv1.ProofLevel
}

// rounds that found the same kind of state, without another one in between.
type rounds struct {
	count       int
	first, last time.Time
}

func (r rounds) more(at time.Time) rounds {
	if r.count == 0 {
		r.first = at
	}
	return rounds{r.count + 1, r.first, at}
}

// settled is what counts after a round, given what is known, what the round before said, and how
// many in a row found a fault. Sources may find another fault each time, or none and no success
// either: what two rounds deny is not known any more, and why it is so does not alternate.
func settled(source Source, known, before, now judge.Finding, faults rounds) judge.Finding {
	switch {
	case same(known, now), known.State == now.State && same(before, now):
		return now
	case known.State == now.State:
		return known
	case sure(known) && (before.State == "" || before.State == known.State || faults.short(now)):
		return known
	case now.State == metav1.ConditionFalse && !faults.enough(source, known, now):
		now.State = metav1.ConditionUnknown
	}
	return now
}

// enough reports whether a fault was found often, and for long, enough.
func (r rounds) enough(source Source, known, fault judge.Finding) bool {
	needed := confirmations
	if !sure(known) && source == SourcePrometheus {
		needed = firstConfirmations
	}
	return r.count >= needed && !r.short(fault)
}

// short reports whether a fault was not found for long enough.
func (r rounds) short(fault judge.Finding) bool { return r.last.Sub(r.first) < fault.Holds }

func sure(f judge.Finding) bool { return f.State != "" && f.State != metav1.ConditionUnknown }

func same(a, b judge.Finding) bool { return a.State == b.State && a.Reason == b.Reason }
