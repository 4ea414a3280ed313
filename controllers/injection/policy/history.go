// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"time"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/metadata"
)

// History is what this process did to a workload and saw of it, beside what the caches show.
type History struct {
	// Record is the workload's own, or what this process wrote if that says more.
	Record Record
	// Patched reports whether the template was changed and the cache does not show it yet.
	Patched bool
	// StartedAt is when obstack started the workload's rollout, which takes a place; zero if that
	// is over, or somebody else started it.
	StartedAt time.Time
	// ProgressedAt is when the workload's rollout progressed last; zero if it does not roll.
	ProgressedAt time.Time
	// ReleasedAt is when the workload was first seen to ask for nothing and to have a stamp; zero if
	// it is not so.
	ReleasedAt time.Time
	// Failure is why the last patch was not written; nil if it was.
	Failure *Failure
	// Recorded is the reason of the event that was recorded last, and its cause.
	Recorded string
	// Withdrew is why the workload has the bundle for Python no more, also where its owner dropped the
	// annotation that says so; zero if nothing was taken off.
	Withdrew Withdrawal
	// Works is the trial that the workload passed last, also where its owner dropped the annotation
	// that says so, or writes an older one; empty if it passed none, or has no bundle.
	Works string

	seen       bool
	generation int64 // that the rollout at StartedAt is of
	counters   Counters
}

// Seen adds what the caches show of the workload. A rollout that obstack started before this
// process began is in the workload's record; a later time there is not obstack's.
func (h History) Seen(c *Candidate, now, began time.Time) History {
	w := c.Workload
	h.Record = recordOf(w.Annotations, now).merge(h.Record)
	h.Withdrew = h.withdrew(w)
	h.Works = h.works(w)
	stamp, stamped := w.Stamp()
	if !h.seen && h.Record.about(stamp) && !h.Record.At.After(began) &&
		now.Sub(h.Record.At) < maxPlace {
		h.StartedAt, h.ProgressedAt, h.generation = h.Record.At, h.Record.At, w.Generation
	}
	h.seen = true
	h.Patched = w.Generation < h.generation
	switch {
	case !c.Release || !stamped:
		h.ReleasedAt = time.Time{}
	case h.ReleasedAt.IsZero():
		h.ReleasedAt = now
	}
	if !w.Rolling() && !h.Patched {
		h.counters, h.StartedAt, h.ProgressedAt = Counters{}, time.Time{}, time.Time{}
		return h
	}
	if now.Sub(h.StartedAt) >= maxPlace {
		h.StartedAt = time.Time{}
	}
	return h.progressed(w, now)
}

// withdrew is what the workload says of a withdrawal, or what this process wrote if that is gone.
func (h History) withdrew(w *Workload) Withdrawal {
	if withdrawal, holds := w.Withdrawal(); holds {
		return withdrawal
	}
	if _, set := w.Annotations[obsv1.AnnotationPythonWithdrawn]; set || !h.Withdrew.holds(w) {
		return Withdrawal{}
	}
	return h.Withdrew
}

// works is the trial that the workload says it passed, or that this process saw, if that is gone or
// the newer one: to write it again would be in vain.
func (h History) works(w *Workload) string {
	switch stamp, _ := w.Stamp(); {
	case stamp.Python == "":
		return ""
	case h.Works != "" && h.Works == w.Trial():
		return h.Works
	default:
		return cmp.Or(w.Annotations[obsv1.AnnotationPythonWorks], h.Works)
	}
}

// progressed adds how far the workload's rollout is. One that takes a place progresses by its
// counters alone: another generation is a change by somebody else, such as an autoscaler, and
// its counters begin anew.
func (h History) progressed(w *Workload, now time.Time) History {
	own, before := !h.StartedAt.IsZero(), h.counters
	best, progress := before.Best(w.Counters())
	if h.counters = best; own {
		progress = progress && before.generation == best.generation
	}
	if progress || h.ProgressedAt.IsZero() {
		h.ProgressedAt = now
	}
	return h
}

// Wrote adds a patch and the generation in the response to it.
func (h History) Wrote(patch Patch, generation int64) History {
	h.Record, h.generation, h.Failure, h.Recorded = patch.Record, generation, nil, ""
	h.seen, h.counters, h.StartedAt, h.ProgressedAt = true, Counters{}, time.Time{}, time.Time{}
	if patch.Breaks != nil {
		h.Withdrew = *patch.Breaks
	}
	if patch.RollsPods {
		h.StartedAt, h.ProgressedAt = patch.Record.At, patch.Record.At
	}
	return h
}

// Empty reports whether there is nothing in it that the caches do not show.
func (h History) Empty(w *Workload, now time.Time) bool {
	rolls := h.Patched || !h.StartedAt.IsZero() || !h.ProgressedAt.IsZero()
	return !rolls && h.Record.shownBy(w.Annotations) && now.Sub(h.Record.At) > max(contestedWithin, maxPlace) &&
		h.ReleasedAt.IsZero() && h.Failure == nil && h.Recorded == "" && h.Withdrew.Bundle == "" &&
		(h.Works == "" || h.Works == w.Annotations[obsv1.AnnotationPythonWorks])
}

// Failure is why a workload was not patched.
type Failure struct {
	// Workload is the name for people, and Namespace that of the workload.
	Workload, Namespace string
	// Reason and Message are those of a condition.
	Reason, Message string
	// Times counts failures without a success, and After is when the next patch may be tried.
	Times int
	After time.Time
}

// NewFailure follows the failures before it: each keeps the workload waiting for longer. Of a
// message it keeps what an event may say.
func (c *Candidate) NewFailure(reason, message string, first time.Duration, now time.Time) *Failure {
	f := &Failure{
		Workload: c.String(), Namespace: c.Namespace, Reason: reason, Message: metadata.Note(message), Times: 1,
	}
	if c.Failure != nil {
		f.Times += c.Failure.Times
	}
	f.After = now.Add(min(first<<min(f.Times-1, 10), maxBackoff))
	return f
}

// maxBackoff is the longest time until a patch is tried again that was refused.
const maxBackoff = 10 * time.Minute

// Counters show that a rollout progresses: each is the best since the object changed.
type Counters struct {
	generation              int64
	updated, available, old int32
}

// Counters of the workload.
func (w *Workload) Counters() Counters {
	s := &w.Status
	return Counters{
		generation: w.Generation, updated: s.UpdatedReplicas + s.UpdatedNumberScheduled,
		available: s.AvailableReplicas + s.NumberAvailable,
		old:       w.total() - s.UpdatedReplicas - s.UpdatedNumberScheduled,
	}
}

// Best keeps the better ones; progress reports whether some of now are. What only comes and
// goes, as Pods that crash do, is no progress.
func (c Counters) Best(now Counters) (best Counters, progress bool) {
	if now.generation != c.generation {
		return now, true
	}
	best = Counters{
		generation: c.generation, updated: max(c.updated, now.updated),
		available: max(c.available, now.available), old: min(c.old, now.old),
	}
	return best, best != c
}
