// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/controllers/proof/judge"
)

// recorded are faults of workloads, and whether events say so.
type recorded map[faultOf]*since

// faultOf a workload.
type faultOf struct {
	workload types.UID
	reason   string
}

// since is when a fault was found, in how many rounds in a row, and whether an event says so.
type since struct {
	rounds
	recorded bool
}

// nameOf a workload, as judge has it.
func nameOf(w *corev1.ObjectReference) string { return w.Namespace + "/" + w.Name }

func namesOf(workloads []*corev1.ObjectReference) (names []string) {
	for _, w := range workloads {
		names = append(names, nameOf(w))
	}
	return names
}

// record once, for the owners of workloads in other namespaces, what is wrong with these. As for
// the status of a stack, one round is not enough.
func (p *platformProof) record(stack types.NamespacedName, workloads []*corev1.ObjectReference,
	faults []judge.PythonFault) {
	found := map[string]judge.PythonFault{}
	for _, fault := range faults {
		found[fault.Workload] = fault
	}
	before, after, now := p.recorded[stack], recorded{}, time.Now()
	for _, w := range workloads {
		fault, faulty := found[nameOf(w)]
		if !faulty {
			continue
		}
		key := faultOf{w.UID, fault.Reason}
		s := before[key]
		if s == nil {
			s = &since{}
		}
		s.rounds = s.more(now)
		if after[key] = s; !s.recorded && s.count >= firstConfirmations && s.last.Sub(s.first) >= fault.Holds {
			s.recorded = true
			p.Events.Eventf(w, nil, corev1.EventTypeWarning, fault.Reason, "Verify", "%s", metadata.Note(fault.Message))
		}
	}
	if p.recorded == nil {
		p.recorded = map[types.NamespacedName]recorded{}
	}
	if p.recorded[stack] = after; len(after) == 0 {
		delete(p.recorded, stack)
	}
}
