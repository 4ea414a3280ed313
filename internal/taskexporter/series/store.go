// SPDX-License-Identifier: Apache-2.0

// Package series keeps the counters and histograms of tasks, in bounded number, and writes them for
// Prometheus. One goroutine changes them; a scrape reads them at any time without ever making that
// goroutine wait.
package series

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Counter is one of the counters that each label set of a worker's task has.
type Counter int

// The counters, named after the events that they count. Failures are counted apart, by exception.
const (
	Received Counter = iota
	Started
	Succeeded
	Rejected
	Revoked
	Retried
	Cancelled
	counterCount
)

// Config says what the store keeps and how it is named.
type Config struct {
	// Prefix of all metric names, "celery_" by default.
	Prefix string
	// Static labels are carried by every series.
	Static []Label
	// RuntimeBuckets and WaitBuckets are upper bounds in seconds, ascending, without +Inf.
	RuntimeBuckets, WaitBuckets []float64
	// MaxSeries bounds the series kept, counted as Prometheus counts them: a fifth for what clients
	// sent, the others for what workers did. Label sets beyond it are folded into Overflow.
	MaxSeries int
	// MaxIdle is after which time without an event a label set is forgotten; zero for never.
	MaxIdle time.Duration
	// Native adds native histograms to the classic ones, for scrapes in the protobuf format.
	Native bool
}

// Store holds the series. Its methods that change it are for one goroutine.
type Store struct {
	config Config
	static string

	sent     table[Key, sent]
	tasks    table[Key, Task]
	failures table[failureKey, failure]
	overflow *Task // counts what found no room; shown, like any other, once it was needed

	clients, workers budget
	refused          atomic.Uint64
	// minute is the time, as far as idle label sets go, in minutes.
	minute uint32
}

// sent is a label set of the client side, which has only this counter.
type sent struct {
	key    Key
	labels string
	used   uint32 // in the minute
	count  atomic.Uint64
}

// Task is one label set of the worker side.
type Task struct {
	store    *Store
	key      Key
	labels   string
	used     uint32 // in the minute
	counters [counterCount]atomic.Uint64

	runtime, failedRuntime, wait atomic.Pointer[histogram]
}

// failureKey is a label set of a failure. Exceptions are few for each task, so they are not part of
// Key, which every event would have to hash.
type failureKey struct {
	task      *Task
	exception string
}

type failure struct {
	failureKey
	labels string
	count  atomic.Uint64
}

// budget is how many series may be kept of one kind. Clients must not take the place of workers.
type budget struct {
	kept  atomic.Int64
	limit int64
}

// New returns an empty store.
func New(config Config) *Store {
	s := &Store{config: config, static: renderStatic(config.Static)}
	s.clients.limit = int64(config.MaxSeries / 5)
	s.workers.limit = int64(config.MaxSeries) - s.clients.limit
	s.overflow = s.newTask(overflowKey)
	return s
}

// Kept returns the number of series held, Overflow's not included.
func (s *Store) Kept() int { return int(s.clients.kept.Load() + s.workers.kept.Load()) }

// Refused returns how often something was counted under Overflow because the limit was reached.
func (s *Store) Refused() uint64 { return s.refused.Load() }

// reserve takes n series out of a budget, and counts a refusal if they are not there.
func (s *Store) reserve(from *budget, n int) bool {
	if from.kept.Load()+int64(n) > from.limit {
		s.refused.Add(1)
		return false
	}
	from.kept.Add(int64(n))
	return true
}

// Sent counts a task sent by a client.
func (s *Store) Sent(key Key) {
	entry := s.sent.get(key)
	if entry == nil && !s.reserve(&s.clients, 1) {
		key = overflowKey
		entry = s.sent.get(key)
	}
	if entry == nil {
		entry = &sent{key: key, labels: key.render(s.static)}
		s.sent.add(key, entry)
	}
	entry.used = s.minute
	entry.count.Add(1)
}

// taskCost is the series of a label set without histograms: its counters and the failures without
// an exception.
const taskCost = int(counterCount) + 1

// Task returns the label set, which is made with all its counters at zero if it is new.
func (s *Store) Task(key Key) *Task {
	task := s.tasks.get(key)
	if task != nil {
		task.used = s.minute
		return task
	}
	if !s.reserve(&s.workers, taskCost) {
		return s.spill()
	}
	task = s.newTask(key)
	task.used = s.minute
	s.show(task)
	return task
}

// show makes a label set visible. The peer has a series exception="" of zero beside the failures of
// each, and sums over exceptions count on it.
func (s *Store) show(task *Task) {
	s.tasks.add(task.key, task)
	s.addFailure(task, "")
}

// spill returns the label set for what found no room.
func (s *Store) spill() *Task {
	if s.tasks.get(overflowKey) == nil {
		s.show(s.overflow)
	}
	return s.overflow
}

// newTask makes a label set with its labels as text, because each scrape writes them forty times.
func (s *Store) newTask(key Key) *Task {
	return &Task{store: s, key: key, labels: key.render(s.static)}
}

func (s *Store) addFailure(task *Task, exception string) *failure {
	key := failureKey{task, exception}
	entry := &failure{failureKey: key, labels: task.labels + renderStatic([]Label{{"exception", exception}})}
	s.failures.add(key, entry)
	return entry
}

// Inc adds one to a counter.
func (t *Task) Inc(c Counter) { t.counters[c].Add(1) }

// Fail counts a failure by its exception's class.
func (t *Task) Fail(exception string) {
	entry := t.store.failures.get(failureKey{t, exception})
	if entry == nil {
		if exception != Overflow && !t.store.reserve(&t.store.workers, 1) {
			t.Fail(Overflow)
			return
		}
		entry = t.store.addFailure(t, exception)
	}
	entry.count.Add(1)
}

// ObserveRuntime records how long a task ran until it succeeded, in seconds.
func (t *Task) ObserveRuntime(seconds float64) {
	t.observe(runtimeFamily, seconds)
}

// ObserveFailedRuntime records how long a task ran until it failed, in seconds.
func (t *Task) ObserveFailedRuntime(seconds float64) {
	t.observe(failedRuntimeFamily, seconds)
}

// ObserveWait records how long a task waited in its queue, in seconds.
func (t *Task) ObserveWait(seconds float64) {
	t.observe(waitFamily, seconds)
}

// observe makes the histogram with its first observation: most tasks never fail, and each histogram
// is 17 series.
func (t *Task) observe(family *histogramFamily, seconds float64) {
	stored := family.of(t)
	h := stored.Load()
	if h == nil {
		bounds := family.bounds(&t.store.config)
		if t != t.store.overflow && !t.store.reserve(&t.store.workers, t.store.cost(bounds)) {
			t.store.spill().observe(family, seconds)
			return
		}
		h = newHistogram(bounds, t.store.native(family, t.key))
		stored.Store(h)
	}
	h.observe(seconds)
}

// native returns a native histogram of the label set, or nil if none are asked for.
func (s *Store) native(family *histogramFamily, key Key) prometheus.Histogram {
	if !s.config.Native {
		return nil
	}
	labels := prometheus.Labels{"name": key.Name, "hostname": key.Hostname, "queue_name": key.Queue}
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: s.config.Prefix + family.name, Help: family.help, ConstLabels: labels, Buckets: family.bounds(&s.config),
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: nativeBuckets,
	})
}

// Expire forgets the label sets that had no event for too long. It looks once a minute at most.
func (s *Store) Expire(now time.Time) {
	minute := uint32(now.Unix() / 60) // #nosec G115 -- there is room for 8,000 years.
	if minute == s.minute {
		return
	}
	if s.minute == 0 { // What was counted before the first look is new.
		s.purgeSent(func(entry *sent) bool { entry.used = minute; return false })
		s.purge(func(task *Task) bool { task.used = minute; return false })
	}
	s.minute = minute
	if idle := uint32(s.config.MaxIdle.Minutes()); idle > 0 {
		s.purgeSent(func(entry *sent) bool { return minute-entry.used > idle })
		s.purge(func(task *Task) bool { return task != s.overflow && minute-task.used > idle })
	}
}

// PurgeClients forgets what the hosts of these names have sent, and returns the series to the
// budget.
func (s *Store) PurgeClients(hosts map[string]bool) {
	s.purgeSent(func(entry *sent) bool { return hosts[entry.key.Hostname] })
}

func (s *Store) purgeSent(unwanted func(*sent) bool) {
	// What is purged may still be read by a scrape that began before; it holds its own list.
	freed := s.sent.removeIf(func(key Key, entry *sent) bool { return key != overflowKey && unwanted(entry) })
	s.clients.kept.Add(-int64(freed))
}

// PurgeWorkers forgets the tasks of these hosts, and returns how many series that were.
func (s *Store) PurgeWorkers(hosts map[string]bool) (freed int) {
	return s.purge(func(task *Task) bool { return task != s.overflow && hosts[task.key.Hostname] })
}

// purge forgets label sets of tasks.
func (s *Store) purge(unwanted func(*Task) bool) (freed int) {
	s.failures.removeIf(func(key failureKey, _ *failure) bool {
		if !unwanted(key.task) {
			return false
		}
		if key.exception != "" && key.exception != Overflow {
			freed++
		}
		return true
	})
	s.tasks.removeIf(func(_ Key, task *Task) bool {
		if !unwanted(task) {
			return false
		}
		freed += taskCost
		for _, family := range histogramFamilies {
			if h := family.of(task).Load(); h != nil {
				freed += s.cost(h.bounds)
			}
		}
		return true
	})
	s.workers.kept.Add(-int64(freed))
	return freed
}
