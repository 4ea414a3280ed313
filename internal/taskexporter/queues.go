// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"maps"
	"slices"
	"sync"

	"obstack.dev/obstack/internal/taskexporter/broker"
)

// maxQueues bounds the queues whose depth is read.
const maxQueues = 2_000

// queues knows the queues and their depths. It may be used from any goroutine.
type queues struct {
	mu      sync.Mutex
	names   map[string]bool
	depths  map[string]broker.Depth // of the last reading; empty when it failed
	unacked int64                   // -1 if unknown
}

func newQueues(names []string) *queues {
	q := &queues{names: map[string]bool{}, unacked: -1}
	for _, name := range names {
		q.add(name)
	}
	return q
}

func (q *queues) add(name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	// Each is a question to the broker at each reading; names come from outside.
	if len(q.names) < maxQueues {
		q.names[name] = true
	}
}

// list returns the names, sorted.
func (q *queues) list() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Sorted(maps.Keys(q.names))
}

// set records a reading of the depths; nil forgets the last one, because an old depth is worse than none.
func (q *queues) set(names []string, depths []broker.Depth, unacked int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.depths, q.unacked = make(map[string]broker.Depth, len(depths)), unacked
	for i, depth := range depths {
		q.depths[names[i]] = depth
	}
}

// read returns the last depths and the number of unacknowledged messages, -1 if unknown.
func (q *queues) read() (map[string]broker.Depth, int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.depths, q.unacked
}
