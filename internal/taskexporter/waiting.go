// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"time"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

const (
	// waitForMore is how long an occurrence is held back when its task's name or queue is unknown.
	// A client publishes task-sent after the task itself, so a worker's first events often overtake
	// it; and after a start, workers are asked for the names of the tasks that they hold.
	waitForMore = 2 * time.Second
	// maxWaiting bounds the occurrences held back.
	maxWaiting = 16_384
	// missesAllowed is how many occurrences of a task name wait in vain for a task-sent before no
	// more do.
	missesAllowed = 8
)

// occurrence is one event of a worker about a task, on its way to being counted.
type occurrence struct {
	// counted is false for what another exporter of the group counts, and this one only learns
	// from.
	counted   bool
	kind      wire.Type
	id        taskID
	from      *worker // nil if the worker is not known
	host      string
	exception string
	at        float64 // Unix seconds
	runtime   float64 // seconds, NaN if unknown
	deadline  time.Time

	// What the task's other events said.
	name, queue string
	readyAt     float64
}

// load fills in what is stored of the task.
func (o *occurrence) load(t *task) {
	o.name, o.queue = t.name, t.queue
	if o.kind == wire.TaskStarted && o.readyAt == 0 {
		o.readyAt = t.start()
	}
}

// waitingRoom holds occurrences until more is known of their tasks, or their time is over.
type waitingRoom struct {
	held  []occurrence // a ring once it is full
	first int
	count int
	// misses counts, by task name, the occurrences that waited for a task-sent in vain since the
	// last that came.
	misses map[string]int
}

func newWaitingRoom() waitingRoom { return waitingRoom{misses: map[string]int{}} }

// wanted reports whether it pays to wait: the name is unknown, or the queue or when a task that
// starts was sent, and tasks of this name may have been sent by a client that sends events.
func (r *waitingRoom) wanted(o *occurrence) bool {
	unsent := o.queue == "" || o.kind == wire.TaskStarted && o.readyAt == 0
	return o.name == "" || unsent && r.misses[o.name] < missesAllowed
}

// sent notes that clients report sending tasks of that name.
func (r *waitingRoom) sent(name string) {
	if len(r.misses) > 0 {
		delete(r.misses, name)
	}
}

// missed notes that an occurrence waited, and whether that was in vain.
func (r *waitingRoom) missed(o *occurrence) {
	if o.name == "" || o.queue != "" {
		return
	}
	if len(r.misses) >= maxInterned {
		clear(r.misses)
	}
	r.misses[o.name]++
}

// put adds an occurrence. If the room is full, the oldest has to leave, and is returned.
func (r *waitingRoom) put(o occurrence) (oldest occurrence, full bool) {
	if r.count == maxWaiting {
		oldest, full = r.pop(), true
	}
	if r.count == len(r.held) {
		r.grow()
	}
	r.held[(r.first+r.count)%len(r.held)] = o
	r.count++
	return oldest, full
}

func (r *waitingRoom) grow() {
	larger := make([]occurrence, min(maxWaiting, max(64, 2*len(r.held))))
	for i := range r.count {
		larger[i] = r.held[(r.first+i)%len(r.held)]
	}
	r.held, r.first = larger, 0
}

// due returns the next occurrence whose time is over.
func (r *waitingRoom) due(now time.Time) (occurrence, bool) {
	if r.count == 0 || now.Before(r.held[r.first].deadline) {
		return occurrence{}, false
	}
	return r.pop(), true
}

func (r *waitingRoom) pop() occurrence {
	o := r.held[r.first]
	r.held[r.first] = occurrence{}
	r.first = (r.first + 1) % len(r.held)
	r.count--
	return o
}
