// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"obstack.dev/obstack/internal/taskexporter/broker"
)

// maxQueues bounds the queues whose depth is read.
const maxQueues = 2_000

// queues knows the queues and their depths. It may be used from any goroutine.
type queues struct {
	mu        sync.Mutex
	byName    map[string]*queueState
	lastSweep time.Time
	unacked   atomic.Int64 // messages delivered and not acknowledged; -1 if unknown
}

// queueState is one queue.
type queueState struct {
	configured bool
	used       time.Time // a worker, a consumer, a message or an event was last seen
	named      time.Time // a worker last said that it consumes it
	depth      broker.Depth
	read       bool // the depth is known
	failures   int  // in a row
	failed     time.Time
	next       time.Time
}

// missingPause is the longest pause before a queue that is not there is looked for again.
const missingPause = 30 * time.Second

func newQueues(configured []string) *queues {
	q := &queues{byName: map[string]*queueState{}}
	for _, name := range configured {
		q.byName[name] = &queueState{configured: true}
	}
	q.unacked.Store(-1)
	return q
}

// generatedName matches the names of queues that Celery or the broker make up for one process:
// broadcast queues, those of worker_direct, of remote control and its replies.
var generatedName = regexp.MustCompile(
	`^bcast\.[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$|@.*\.dq$|\.celery\.pidbox$|^amq\.gen-`,
)

// skips reports whether a queue is left out because its name was made up for one process. They come
// and go with Pods.
func (q *queues) skips(name string) bool {
	if !generatedName.MatchString(name) {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	known := q.byName[name]
	return known == nil || !known.configured
}

// use notes that somebody uses the queue.
func (q *queues) use(name string, now time.Time) {
	q.mu.Lock()
	known := q.byName[name]
	if known != nil {
		known.used = now
		// Whoever names it has probably made it.
		if known.depth.Missing && now.Sub(known.failed) > longestPause {
			known.next = time.Time{}
		}
	}
	q.mu.Unlock()
	if known != nil || q.skips(name) {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	// Each is a question to the broker at each reading; names come from outside.
	if len(q.byName) < maxQueues {
		q.byName[name] = &queueState{used: now}
	}
}

// name notes that a worker says that it consumes the queue.
func (q *queues) name(name string, now time.Time) {
	q.use(name, now)
	q.mu.Lock()
	defer q.mu.Unlock()
	if known := q.byName[name]; known != nil {
		known.named = now
	}
}

// due returns the queues to be read now, sorted.
func (q *queues) due(now time.Time) []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	var names []string
	for name, state := range q.byName {
		if !now.Before(state.next) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// set records a reading of depths. What cannot be read, and what is not there, is looked at less
// and less often, because RabbitMQ closes a channel and writes a line in its log each time.
func (q *queues) set(names []string, depths []broker.Depth, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, depth := range depths {
		state := q.byName[names[i]]
		if state == nil {
			continue // forgotten meanwhile
		}
		state.depth, state.read = depth, depth.Err == nil
		if depth.Messages > 0 || depth.Consumers > 0 {
			state.used = now
		}
		if !depth.Missing && depth.Err == nil {
			state.failures = 0
			continue
		}
		pause := backoff(state.failures, true)
		if depth.Missing {
			pause = min(pause, missingPause)
		}
		state.failed, state.next = now, now.Add(pause)
		state.failures++
	}
}

// unread forgets the depths: an old depth is worse than none.
func (q *queues) unread() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, state := range q.byName {
		state.read, state.depth, state.next, state.failures = false, broker.Depth{}, time.Time{}, 0
	}
	q.unacked.Store(-1)
}

// failure returns why queues cannot be read, by the example of the first.
func (q *queues) failure() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(q.byName)) {
		if err := q.byName[name].depth.Err; err != nil {
			return fmt.Errorf("the length of the queue %q is %w: %w", name, errUnreadable, err)
		}
	}
	return nil
}

// depths returns all queues, and what is known of their depths.
func (q *queues) depths() map[string]queueState {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make(map[string]queueState, len(q.byName))
	for name, state := range q.byName {
		all[name] = *state
	}
	return all
}

// expire forgets the queues that nobody uses any more: those that are not there after a first time,
// others after a longer one. A queue that scales its workers to zero is empty and idle for days.
// Zero means never. The names are those that workers consume.
func (q *queues) expire(now time.Time, missing, idle time.Duration, consumed func() map[string]queueWorkers) {
	if now.Sub(q.lastSweep) < sweepInterval {
		return
	}
	q.lastSweep = now
	inUse := consumed()
	q.mu.Lock()
	defer q.mu.Unlock()
	full := len(q.byName) >= maxQueues
	for name, state := range q.byName {
		if _, used := inUse[name]; used {
			state.used = now
		}
		span := idle
		// Others wait for the place.
		if state.depth.Missing || full {
			span = missing
		}
		if !state.configured && span > 0 && now.Sub(state.used) > span {
			delete(q.byName, name)
		}
	}
}
