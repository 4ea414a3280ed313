// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"time"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Record is what obstack did to a workload. It is an annotation of the workload, not of its
// template, so it changes no Pod and outlives the operator.
type Record struct {
	// stampRecord is the stamp that was written last; empty if it was removed.
	stampRecord
	// Stamps counts how often it was written.
	Stamps int `json:"stamps,omitempty"`
	// Retries counts the rollouts for Pods that missed the injection.
	Retries int `json:"retries,omitempty"`
	// At is when the template was changed last.
	At time.Time `json:"at"`
	// By is the field manager that took the stamp off, or put it back, once that is known.
	By string `json:"by,omitempty"`
	// Generation is that of the workload then: one that has it still is as that client wants it.
	Generation int64 `json:"generation,omitempty"`
}

// stampRecord is a stamp, whatever the attempt.
type stampRecord struct {
	Stack      string `json:"stack,omitempty"`
	Version    string `json:"version,omitempty"`
	Containers string `json:"containers,omitempty"`
	Workload   string `json:"workload,omitempty"`
	Python     string `json:"python,omitempty"`
	PythonPath string `json:"pythonPath,omitempty"`
	Port       int32  `json:"port,omitempty"`
}

func recordedStamp(s Stamp) stampRecord {
	if s.ConfigHash == "" {
		return stampRecord{}
	}
	return stampRecord{
		Stack: s.Stack.String(), Version: s.ConfigHash, Containers: s.Containers, Workload: s.Workload,
		Python: s.Python, PythonPath: s.PythonPath, Port: s.MetricsPort,
	}
}

const (
	// contestedWithin is how soon after it was written a stamp is changed by somebody else
	// who does not want it, and how long a third stamp waits for the second. Each further one
	// waits for twice as long, so that nobody can have a workload restarted again and again.
	contestedWithin = time.Hour
	// maxStamps is how often the same stamp is written to one that changes it so soon.
	maxStamps = 2
	// maxDoublings bounds the wait to six weeks.
	maxDoublings = 10
)

// retryBackoff is how long after the last change of a template the injection of Pods that
// missed it is retried: once for each.
var retryBackoff = []time.Duration{time.Minute, 10 * time.Minute, time.Hour}

// recordOf reads the annotation. What does not make sense is no record: only obstack writes it.
func recordOf(annotations map[string]string, now time.Time) (r Record) {
	if json.Unmarshal([]byte(annotations[obsv1.AnnotationRecord]), &r) != nil ||
		r.Stamps < 0 || r.Retries < 0 || r.At.After(now.Add(contestedWithin)) {
		return Record{}
	}
	return r
}

// Annotation is the record as a value of the annotation.
func (r Record) Annotation() string {
	r.At = r.At.UTC().Truncate(time.Second)
	encoded, _ := json.Marshal(r) // It holds strings, numbers and a time of this century.
	return string(encoded)
}

// shownBy reports whether annotations say as much. Who was released once keeps none.
func (r Record) shownBy(annotations map[string]string) bool {
	released := r.stampRecord == stampRecord{} && r.Stamps <= 1
	return released || r.Annotation() == annotations[obsv1.AnnotationRecord]
}

// about reports whether the record is about a stamp.
func (r Record) about(s Stamp) bool { return r.stampRecord == recordedStamp(s) }

// merge adds what this process stored, because an owner may drop annotations too.
func (r Record) merge(stored Record) Record {
	switch {
	case stored.At.IsZero():
		return r
	case r.stampRecord != stored.stampRecord:
		if r.At.After(stored.At.Truncate(time.Second)) { // another operator wrote it
			return r
		}
		return stored
	}
	stored.Stamps, stored.Retries = max(r.Stamps, stored.Stamps), max(r.Retries, stored.Retries)
	if r.At.After(stored.At) {
		stored.At = r.At
	}
	if stored.By == "" && !r.At.Before(stored.At.Truncate(time.Second)) {
		stored.By, stored.Generation = r.By, r.Generation
	}
	return stored
}

// stamped is the record after a stamp was written at that time, as a retry or not.
func (r Record) stamped(s Stamp, now time.Time, retry bool) Record {
	next := Record{stampRecord: recordedStamp(s), At: now}
	if r.about(s) {
		next.Stamps, next.Retries = r.Stamps, r.Retries
	}
	if retry {
		next.Retries++
	} else {
		next.Stamps++
	}
	return next
}

// contested reports whether the stamp, which is not there, was written as often as may be so far.
// Where it is known who does not want it, somebody has to change the workload first.
func (r Record) contested(s Stamp, generation int64, now time.Time) bool {
	return r.about(s) && r.Stamps >= maxStamps &&
		(r.By != "" && generation <= r.Generation || r.contestedFor(now) > 0)
}

// contestedFor is how long a contested stamp waits at least. A client that is known changes it at
// once, so that the wait gets longer sooner: an hour, ten days, six weeks.
func (r Record) contestedFor(now time.Time) time.Duration {
	doublings := max(0, r.Stamps-maxStamps)
	if r.By != "" {
		doublings *= 8
	}
	return r.At.Add(contestedWithin << min(doublings, maxDoublings)).Sub(now)
}

// ContestedSoon reports whether the stamp that was written last is gone so soon that its owner
// does not want it, ever.
func (r Record) ContestedSoon(now time.Time) bool { return now.Sub(r.At) < contestedWithin }

// retryAfter is how long to wait until the injection is retried; ok is false if it is not any more.
func (r Record) retryAfter(s Stamp, now time.Time) (wait time.Duration, ok bool) {
	switch {
	case !r.about(s):
		return 0, true
	case r.Retries >= len(retryBackoff):
		return 0, false
	}
	return max(0, retryBackoff[r.Retries]-now.Sub(r.At)), true
}
