// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"obstack.dev/obstack/internal/taskexporter/broker"
	"obstack.dev/obstack/internal/taskexporter/status"
)

// state is how a connection or a question fares, either of which may fail. It may be used from any
// goroutine.
type state struct {
	name string
	log  *slog.Logger

	mu       sync.Mutex
	known    bool // tried at all
	up       bool
	since    time.Time // it is so
	reason   string    // of the last failure, while it is down
	failures int       // in a row
	next     time.Time // not tried before
}

// reading is what is shown of a state.
type reading struct {
	Name      string
	Known, Up bool
	Since     time.Time
	Reason    string
}

// newState returns that of a connection or a question, as kind says.
func newState(kind, name string, log *slog.Logger) *state {
	return &state{name: name, log: log.With(kind, name), since: time.Now()}
}

func (s *state) read() reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := reading{s.name, s.known, s.up, s.since, s.reason}
	if s.up {
		r.Reason = ""
	}
	return r
}

// succeed notes that it works, and that earlier failures are over.
func (s *state) succeed() {
	s.work()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures > 0 {
		s.log.Info("works again", "failures", s.failures)
	}
	s.reason, s.failures = "", 0
}

// renew takes earlier failures as over: what was up for long begins anew.
func (s *state) renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reason, s.failures = "", 0
}

// work notes that it works at the moment.
func (s *state) work() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.up {
		s.since = time.Now()
	}
	s.known, s.up = true, true
}

// fail notes a failure and returns the pause before the next try. The log has each cause once until
// it works again.
func (s *state) fail(err error) (pause time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pause = backoff(s.failures, broker.Refused(err))
	s.failures++
	if s.up || !s.known {
		s.since = time.Now()
	}
	if reason := brief(err); reason != s.reason {
		s.log.Warn("does not work, trying again", "error", reason, "pause", pause.Round(time.Millisecond))
		s.reason = reason
	}
	s.known, s.up, s.next = true, false, time.Now().Add(pause)
	return pause
}

// lose notes that it does not work because its connection does not, which the log has already.
func (s *state) lose(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up || !s.known {
		s.since = time.Now()
	}
	s.known, s.up, s.reason = true, false, brief(err)
}

// tooSoon reports whether the pause after a failure is not over yet.
func (s *state) tooSoon() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.next)
}

// brief is the text of an error that is kept and shown: much of it is from outside.
func brief(err error) string { return status.Clean(err.Error(), status.MaxReason) }

// Pauses between tries grow from the shortest to the longest. What was refused is tried once a
// minute in the end: it takes a person to change that, and a broker that logs each refusal.
const (
	shortestPause = 250 * time.Millisecond
	longestPause  = 15 * time.Second
	refusedPause  = time.Minute
	// refusals is how many are taken to be passing.
	refusals = 5
)

// backoff returns the pause after a number of earlier failures. A part of it is random, so that
// many exporters do not come back at once.
func backoff(failures int, refused bool) time.Duration {
	switch {
	case refused && failures+1 >= refusals:
		return refusedPause + rand.N(refusedPause/4) // #nosec G404 -- jitter is no secret.
	case refused:
		failures += 2 // from one second on
	}
	pause := min(longestPause, shortestPause<<min(failures, 10))
	return pause/2 + rand.N(pause/2) // #nosec G404 -- jitter is no secret.
}
