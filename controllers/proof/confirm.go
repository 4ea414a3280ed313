// SPDX-License-Identifier: Apache-2.0

package proof

import (
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

// settled is what counts after a round, given what is known, what the round before said, and how
// many in a row found a fault. Sources may find another fault each time, or none and no success
// either: what two rounds deny is not known any more, and why it is so does not alternate.
func settled(source Source, known, before, now judge.Finding, faults int) judge.Finding {
	enough := confirmations
	if !sure(known) && source == SourcePrometheus {
		enough = firstConfirmations
	}
	switch {
	case same(known, now), known.State == now.State && same(before, now):
		return now
	case known.State == now.State:
		return known
	case sure(known) && (before.State == "" || before.State == known.State):
		return known
	case now.State == metav1.ConditionFalse && faults < enough:
		now.State = metav1.ConditionUnknown
	}
	return now
}

func sure(f judge.Finding) bool { return f.State != "" && f.State != metav1.ConditionUnknown }

func same(a, b judge.Finding) bool { return a.State == b.State && a.Reason == b.Reason }
