// SPDX-License-Identifier: Apache-2.0

package policy

import "time"

// History is what this process did to a workload and saw of it, beside what the caches show.
type History struct {
	// Record is the workload's own, or what this process wrote if that says more.
	Record Record
	// Patched reports whether the template was changed and the cache does not show it yet.
	Patched bool
	// ProgressedAt is when the workload's rollout progressed last; zero if it does not roll.
	ProgressedAt time.Time
	// Failure is why the last patch was not written; nil if it was.
	Failure *Failure
	// Recorded is the reason of the event that was recorded last.
	Recorded string

	generation int64 // in the response to the last patch
	counters   Counters
}

// Seen adds what the caches show of the workload.
func (h History) Seen(w *Workload, now time.Time) History {
	h.Record = recordOf(w.Annotations, now).merge(h.Record)
	h.Patched = w.Generation < h.generation
	if !w.Rolling() {
		h.counters, h.ProgressedAt = Counters{}, time.Time{}
		return h
	}
	best, progress := h.counters.Best(w.Counters())
	if h.counters = best; progress || h.ProgressedAt.IsZero() {
		h.ProgressedAt = now
	}
	return h
}

// Wrote adds a patch and the generation in the response to it.
func (h History) Wrote(patch Patch, generation int64) History {
	h.Record, h.generation, h.Failure, h.Recorded = patch.Record, generation, nil, ""
	return h
}

// Empty reports whether there is nothing in it that the caches do not show.
func (h History) Empty(now time.Time) bool {
	settled := now.Sub(h.Record.At) > contestedWithin && h.Record.By == "" && h.Record.Retries == 0
	return settled && !h.Patched && h.ProgressedAt.IsZero() && h.Failure == nil && h.Recorded == ""
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

// NewFailure follows the failures before it: each keeps the workload waiting for longer.
func (c *Candidate) NewFailure(reason, message string, first time.Duration, now time.Time) *Failure {
	f := &Failure{Workload: c.String(), Namespace: c.Namespace, Reason: reason, Message: message, Times: 1}
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
