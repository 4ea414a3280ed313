// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"crypto/sha256"
	"encoding/hex"
	"sync/atomic"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

// taskID is a task's UUID, or a hash of an id that is no UUID.
type taskID [16]byte

// newTaskID is called for each event and allocates nothing for a UUID.
func newTaskID(text []byte) taskID {
	var id taskID
	// Celery's ids are UUIDs unless an application sets its own. Sixteen bytes in place of 36 are
	// half of what a task needs.
	if len(text) == 36 && text[8] == '-' && text[13] == '-' && text[18] == '-' && text[23] == '-' {
		var digits [32]byte
		n := copy(digits[:], text[:8])
		n += copy(digits[n:], text[9:13])
		n += copy(digits[n:], text[14:18])
		n += copy(digits[n:], text[19:23])
		copy(digits[n:], text[24:])
		if _, err := hex.Decode(id[:], digits[:]); err == nil {
			return id
		}
	}
	// Who may publish could choose ids that collide in a weaker hash, and so mix tasks up.
	sum := sha256.Sum256(text)
	copy(id[:], sum[:])
	return id
}

// task is what must be stored from one event of a task to the next. Empty and zero mean unknown.
type task struct {
	id          taskID
	name, queue string
	// When it was sent, or its ETA if that is later, in Unix seconds by the client's clock: of the
	// sends whose start has not come yet, the last four, the oldest first. Retries are often sent
	// before the news of the start that they follow.
	readyAt   [4]float64
	startedAt float64 // Unix seconds by the worker's clock

	prev, next int32
	finished   bool
	outcome    wire.Type // how it finished
}

// sent notes that the task was sent, to be started at that time.
func (t *task) sent(ready float64) {
	for i := range t.readyAt {
		if t.readyAt[i] == 0 {
			t.readyAt[i] = ready
			return
		}
	}
	t.start() // the oldest makes room
	t.readyAt[len(t.readyAt)-1] = ready
}

// start returns since when the task waited, zero if unknown, and uses that up: a redelivery is not
// sent anew.
func (t *task) start() float64 {
	ready := t.readyAt[0]
	copy(t.readyAt[:], t.readyAt[1:])
	t.readyAt[len(t.readyAt)-1] = 0
	return ready
}

// finishedTasks is how many finished tasks are stored, for late and repeated events.
const finishedTasks = 16_384

const (
	chunkSize = 1024
	none      = int32(-1)
)

// taskCache stores tasks: of those that are not finished the most recently used, up to a limit,
// and of the finished the last few. Its cost per event does not depend on the number of tasks. It
// is for one goroutine, but for its counters.
type taskCache struct {
	limit    int
	index    map[taskID]int32
	chunks   [][]task // of fixed size, so that growing copies nothing
	used     int32
	free     int32 // first of the list of free entries
	live     queue
	finished queue

	tracked atomic.Int64
	evicted atomic.Uint64 // tasks forgotten before they were finished
}

// queue is a list of tasks linked by their entries, the oldest first.
type queue struct {
	head, tail int32
	length     int
}

func newTaskCache(limit int) *taskCache {
	return &taskCache{
		limit: limit, index: map[taskID]int32{}, free: none, live: queue{none, none, 0}, finished: queue{none, none, 0},
	}
}

// entry is a chunk and a place in it. Numbers instead of pointers keep the index free of them, so
// that the garbage collector passes over a quarter of a million tasks.
func (c *taskCache) entry(i int32) *task { return &c.chunks[i/chunkSize][i%chunkSize] }

// get returns a task that is stored, or nil.
func (c *taskCache) get(id taskID) *task {
	if i, known := c.index[id]; known {
		return c.entry(i)
	}
	return nil
}

// touch returns the task, new if need be, as the most recently used one. The pointer is valid until
// the next call.
func (c *taskCache) touch(id taskID) *task {
	if i, known := c.index[id]; known {
		t := c.entry(i)
		if !t.finished {
			c.unlink(&c.live, i)
			c.push(&c.live, i)
		}
		return t
	}
	c.makeRoom()
	i := c.allocate()
	*c.entry(i) = task{id: id}
	c.index[id] = i
	c.push(&c.live, i)
	c.tracked.Store(int64(len(c.index)))
	return c.entry(i)
}

// finish marks a task as finished: it no longer counts against the limit.
func (c *taskCache) finish(t *task, outcome wire.Type) {
	t.outcome = outcome
	if t.finished {
		return
	}
	i := c.index[t.id]
	c.unlink(&c.live, i)
	t.finished = true
	c.push(&c.finished, i)
	// Late events of the last few finished tasks still find their names; a worker's events are
	// rarely seconds apart.
	if c.finished.length > finishedTasks {
		c.forget(&c.finished)
	}
}

// resume takes a finished task back: a retry and a redelivery have the same id.
func (c *taskCache) resume(t *task) {
	if !t.finished {
		return
	}
	i := c.index[t.id]
	c.unlink(&c.finished, i)
	c.makeRoom()
	t.finished = false
	c.push(&c.live, i)
}

// makeRoom forgets the least recently used unfinished task if the limit is reached.
func (c *taskCache) makeRoom() {
	if c.live.length >= c.limit {
		c.evicted.Add(1)
		c.forget(&c.live)
	}
}

// forget removes the oldest task of a queue.
func (c *taskCache) forget(q *queue) {
	i := q.head
	c.unlink(q, i)
	delete(c.index, c.entry(i).id)
	*c.entry(i) = task{next: c.free}
	c.free = i
	c.tracked.Store(int64(len(c.index)))
}

func (c *taskCache) allocate() int32 {
	if c.free != none {
		i := c.free
		c.free = c.entry(i).next
		return i
	}
	if int(c.used) == len(c.chunks)*chunkSize {
		// A slice that grows would hold the old and the new array at once, with many tasks in them.
		c.chunks = append(c.chunks, make([]task, chunkSize))
	}
	c.used++
	return c.used - 1
}

func (c *taskCache) push(q *queue, i int32) {
	t := c.entry(i)
	t.prev, t.next = q.tail, none
	if q.tail == none {
		q.head = i
	} else {
		c.entry(q.tail).next = i
	}
	q.tail = i
	q.length++
}

func (c *taskCache) unlink(q *queue, i int32) {
	t := c.entry(i)
	if t.prev == none {
		q.head = t.next
	} else {
		c.entry(t.prev).next = t.next
	}
	if t.next == none {
		q.tail = t.prev
	} else {
		c.entry(t.next).prev = t.prev
	}
	q.length--
}
