// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"math"
	"slices"
	"sync"
	"time"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

// maxWorkers bounds the workers that are stored.
const maxWorkers = 20_000

// silentBeats is after how many heartbeats with more tasks processed, and no event of a task, a
// worker counts as one that does not send task events. One may be a matter of timing.
const silentBeats = 3

// worker is one node. Several nodes may share a host, and so the labels.
type worker struct {
	node, host string
	seen       time.Time // by our own clock, because a worker's may be wrong
	up         bool
	left       bool // it said goodbye
	active     float64
	processed  float64 // NaN before the first heartbeat
	queues     []wire.Queue
	processes  int
	named      bool // replied with its queues
	sized      bool // named its processes
	greetings  int  // since it came up

	sends     bool // events of tasks have come
	sinceBeat bool // since the last heartbeat
	silentFor int  // heartbeats
	askedAt   time.Time
}

// workers knows all nodes. Only the tracker's goroutine changes them, with the lock held; scrapes
// and the control goroutine read with the lock held; the tracker's goroutine itself reads without.
type workers struct {
	mu     sync.Mutex
	byNode map[string]*worker
	// early are nodes that replied before their first heartbeat was read, which comes another way.
	early map[string]*worker
}

func newWorkers() *workers {
	return &workers{byNode: map[string]*worker{}, early: map[string]*worker{}}
}

func (w *workers) get(node []byte) *worker { return w.byNode[string(node)] }

// add returns the worker of that node, new if need be, or nil if there are too many.
func (w *workers) add(node, host string, now time.Time) *worker {
	w.mu.Lock()
	defer w.mu.Unlock()
	if known := w.byNode[node]; known != nil {
		return known
	}
	if len(w.byNode) >= maxWorkers {
		return nil
	}
	added := w.early[node]
	if added == nil {
		added = &worker{node: node}
	}
	delete(w.early, node)
	added.host, added.seen, added.processed = host, now, math.NaN()
	w.byNode[node] = added
	return added
}

// beat records a sign of life, and what it says about the sending of task events.
func (w *workers) beat(k *worker, e *wire.Event, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k.seen, k.up, k.left = now, true, false
	if e.Type == wire.WorkerOnline {
		// A new process: what the one before it did, or was asked, says nothing.
		k.active, k.processed, k.sends, k.silentFor, k.askedAt = 0, 0, false, 0, time.Time{}
		k.named, k.sized, k.greetings = false, false, 0
	}
	if !math.IsNaN(e.Active) {
		k.active = e.Active
	}
	switch {
	case k.sinceBeat:
		k.sends, k.silentFor = true, 0
	// It has processed tasks since the last beat and reported none.
	case e.Processed > k.processed:
		k.silentFor++
	}
	k.sinceBeat = false
	if !math.IsNaN(e.Processed) {
		k.processed = e.Processed
	}
}

// heard notes an event of a task. It locks only when that is news.
func (w *workers) heard(k *worker, now time.Time) {
	// At thousands of events a second the lock would be the work.
	if k.sinceBeat && now.Sub(k.seen) < time.Second {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	k.sinceBeat = true
	// Children may still report tasks after their worker said goodbye; that does not bring it back.
	if k.up {
		k.seen = now
	}
}

// leave records a clean shutdown.
func (w *workers) leave(k *worker) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Shown as down at once, and not as lost: it said that it leaves.
	k.up, k.active, k.left = false, 0, true
}

// refresh gives all workers that were up the whole timeout again, after a time in which nothing
// could be heard of them.
func (w *workers) refresh(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.byNode {
		if k.up {
			k.seen = now
		}
	}
}

// expire takes workers that were not heard of for the timeout as lost, and forgets those that were
// away for the purge time; zero turns either off. It returns the lost.
func (w *workers) expire(now time.Time, timeout, purge time.Duration) (lost []*worker) {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := len(w.byNode)
	for node, k := range w.byNode {
		// Two ages of one silence: first it is down, later it is forgotten.
		away := now.Sub(k.seen)
		if timeout > 0 && k.up && away > timeout {
			k.up, k.active = false, 0
			lost = append(lost, k)
		}
		if purge > 0 && !k.up && away > purge {
			delete(w.byNode, node)
		}
	}
	w.byNode = compact(w.byNode, known-len(w.byNode))
	for node, k := range w.early {
		if now.Sub(k.seen) > earlyTime {
			delete(w.early, node)
		}
	}
	return lost
}

// earlyTime is how long a reply waits for its worker's first heartbeat, which comes every two
// seconds by default.
const earlyTime = time.Minute

// onHosts returns the hosts of all workers.
func (w *workers) onHosts() map[string]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	hosts := make(map[string]bool, len(w.byNode))
	for _, k := range w.byNode {
		hosts[k.host] = true
	}
	return hosts
}

// replied returns the worker of a node that replied, known or not, or nil if there are too many.
func (w *workers) replied(node string, now time.Time) *worker {
	if k := w.byNode[node]; k != nil {
		return k
	}
	k := w.early[node]
	if k == nil && len(w.early) < maxWorkers {
		k = &worker{node: node, seen: now}
		w.early[node] = k
	}
	return k
}

// setQueues records a reply to active_queues.
func (w *workers) setQueues(node string, queues []wire.Queue, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if k := w.replied(node, now); k != nil {
		k.queues, k.named = queues, true
	}
}

// setProcesses records a reply to stats.
func (w *workers) setProcesses(node string, processes int, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if k := w.replied(node, now); k != nil {
		k.processes, k.sized = processes, true
	}
}

// maxGreetings is how often a new worker is asked what is asked once.
const maxGreetings = 5

// toAsk returns the live workers, and those of them that are to be greeted: they came up and have
// not named their queues yet. A worker says that it is there before it listens to remote control.
func (w *workers) toAsk() (live, unnamed []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for node, k := range w.byNode {
		if !k.up {
			continue
		}
		live = append(live, node)
		if !k.named && k.greetings < maxGreetings {
			unnamed = append(unnamed, node)
		}
	}
	slices.Sort(live)
	slices.Sort(unnamed)
	return live, unnamed
}

// asked notes that workers were greeted.
func (w *workers) asked(nodes []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, node := range nodes {
		if k := w.byNode[node]; k != nil {
			k.greetings++
		}
	}
}

// eventsOff returns the first live workers, by name, that process tasks without sending events.
func (w *workers) eventsOff(limit int) (nodes []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for node, k := range w.byNode {
		if k.up && k.silentFor >= silentBeats {
			nodes = append(nodes, node)
		}
	}
	slices.Sort(nodes)
	return nodes[:min(limit, len(nodes))]
}

// onlyQueue returns the queue of a worker that consumes one alone.
func (k *worker) onlyQueue() string {
	if k == nil || len(k.queues) != 1 {
		return ""
	}
	return k.queues[0].Name
}

// queueOf returns the queue that a routing key leads to, as far as the worker's queues show.
func (k *worker) queueOf(routingKey string) string {
	if k == nil {
		return ""
	}
	for _, match := range []func(wire.Queue) string{
		func(q wire.Queue) string { return q.Name }, func(q wire.Queue) string { return q.RoutingKey },
	} {
		for _, q := range k.queues {
			if match(q) == routingKey {
				return q.Name
			}
		}
	}
	return k.onlyQueue()
}

// unheard returns the live workers that sent no task event yet, and marks them as asked, each at
// most once an interval.
func (w *workers) unheard(now time.Time, interval time.Duration) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var nodes []string
	for node, k := range w.byNode {
		if k.up && !k.sinceBeat && (!k.sends || k.silentFor >= silentBeats) && now.Sub(k.askedAt) >= interval {
			k.askedAt = now
			nodes = append(nodes, node)
		}
	}
	slices.Sort(nodes)
	return nodes
}
