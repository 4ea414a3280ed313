// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"errors"
	"log/slog"
	"math"
	"time"

	"obstack.dev/obstack/internal/taskexporter/series"
	"obstack.dev/obstack/internal/taskexporter/wire"
)

const (
	// unknownName stands for the name of a task whose first events were missed and which no worker
	// could name.
	unknownName = "unknown"
	// genericHost replaces host names if so asked, as with the peer.
	genericHost = "generic"
	// unknownException as with the peer.
	unknownException = "UnknownException"
)

// tracker turns events into counts. It belongs to one goroutine; others see its parts that lock for
// themselves.
type tracker struct {
	options *Options
	log     *slog.Logger
	metrics *metrics
	store   *series.Store
	decoder wire.Decoder
	labels  *interner
	tasks   *taskCache
	workers *workers
	queues  *queues
	waiting waitingRoom
	now     time.Time
	// handover is whether this exporter counts what comes, and counted whether the message at hand.
	handover handover
	counted  bool
	// warnedOfPickle is set once the log says what to do.
	warnedOfPickle bool
	minute         minute

	workerHosts, clientHosts *hosts
	purged                   int // series of workers, since memory was given back
	// greet is called when a worker came up, which is to be asked what it does.
	greet func()
}

func newTracker(options *Options, metrics *metrics, log *slog.Logger) *tracker {
	t := &tracker{
		options: options, log: log, metrics: metrics, store: series.New(options.Series),
		labels: newInterner(options.MaxLabelLength),
		tasks:  newTaskCache(options.MaxTasks), workers: newWorkers(), queues: newQueues(options.Queues),
		waiting: newWaitingRoom(), workerHosts: newHosts(), clientHosts: newHosts(), greet: func() {},
		counted: true,
	}
	t.handover.init(options.Transport.Handover != "")
	return t
}

// inTurn handles one message of the broker, which is ours to count, or only to learn from.
func (t *tracker) inTurn(body []byte, format wire.Format, counted bool) {
	t.counted = counted
	t.message(body, format)
}

// message handles one message of the broker.
func (t *tracker) message(body []byte, format wire.Format) {
	t.metrics.messages.Inc()
	// A message that is not understood costs a count and nothing else. The peer ends for most of
	// them.
	events, refused, err := t.decoder.Decode(body, format)
	if err != nil {
		t.metrics.malformed(err)
		if errors.Is(err, wire.ErrPickle) && !t.warnedOfPickle {
			t.warnedOfPickle = true
			t.log.Warn("events are refused", "error", err)
		}
		return
	}
	t.metrics.malformedEvents.Add(float64(refused))
	for i := range events {
		t.event(&events[i])
	}
	if n := len(events); n > 0 {
		t.metrics.lag(t.now, events[n-1].Timestamp)
	}
}

func (t *tracker) event(e *wire.Event) {
	t.metrics.events[e.Type].Inc()
	t.minute.total.Add(1)
	if e.Malformed > 0 {
		t.metrics.malformedFields.Add(float64(e.Malformed))
	}
	switch {
	case e.Type == wire.TaskSent:
		t.sent(e)
	case e.Type.OfTask():
		t.ofTask(e)
	case e.Type != wire.Unknown:
		t.ofWorker(e)
	}
}

// workerHost returns the label of a worker's host, and notes that it was heard of.
func (t *tracker) workerHost(e *wire.Event) string {
	return t.workerHosts.seen(t.labels.label(t.options.Hostname.of(e.Hostname)), t.now)
}

// clientHost is the same for a client. Hosts that are not shown need not be stored. What is before
// the "@" of a client's node name is made of its process id.
func (t *tracker) clientHost(e *wire.Event) string {
	if t.options.GenericClientHost || t.options.Hostname != HostOfWorker {
		return genericHost
	}
	return t.clientHosts.seen(t.labels.label(HostOfWorker.of(e.Hostname)), t.now)
}

// sent handles a client's task-sent, the one event that knows the queue.
func (t *tracker) sent(e *wire.Event) {
	// A retry is sent under the id of the task that it tries again, so the task may be a finished
	// one.
	task := t.tasks.touch(newTaskID(e.UUID))
	t.tasks.resume(task)
	name, queue := unknownName, t.options.DefaultQueue
	if len(e.Name) > 0 {
		name = t.labels.label(e.Name)
		task.name = name
	}
	if len(e.Queue) > 0 {
		queue = t.labels.label(e.Queue)
		t.queues.use(queue, t.now)
	}
	task.queue = queue
	task.sent(readyAt(t.timestamp(e), e.ETA))
	t.waiting.sent(name)
	// Only task_sent gets the client's host. The peer makes seven empty counters more for each.
	if !t.counted {
		return
	}
	t.store.Sent(series.Key{Name: name, Hostname: t.clientHost(e), Queue: queue})
}

// readyAt is when a task could be started: when it was sent, or at its ETA if that is later.
func readyAt(sent, eta float64) float64 {
	if eta > sent { // false if the ETA is NaN
		return eta
	}
	return sent
}

// timestamp is the sender's time, or ours if that is unknown.
func (t *tracker) timestamp(e *wire.Event) float64 {
	if math.IsNaN(e.Timestamp) {
		return float64(t.now.UnixNano()) / 1e9
	}
	return e.Timestamp
}

// ofTask handles an event of a task that a worker sends.
func (t *tracker) ofTask(e *wire.Event) {
	// Events of tasks do not make a worker known: what is shown of workers begins with a heartbeat,
	// as with the peer. They are a sign of life of one that is known.
	from := t.workers.get(e.Hostname)
	if from != nil {
		t.workers.heard(from, t.now)
	}
	task := t.tasks.touch(newTaskID(e.UUID))
	if repeated(task, e.Type) {
		t.metrics.droppedRepeated.Inc()
		return
	}
	o := occurrence{
		counted: t.counted,
		kind:    e.Type, id: task.id, from: from, host: t.workerHost(e), at: t.timestamp(e), runtime: e.Runtime,
		deadline: t.now.Add(waitForMore),
	}
	t.learn(task, e, &o)
	if len(e.Exception) > 0 {
		o.exception = t.labels.label(e.Exception)
	}
	o.load(task)
	// Counters cannot be taken back, so an event whose labels may be learnt in a moment is not
	// counted yet.
	if t.waiting.wanted(&o) {
		if oldest, full := t.waiting.put(o); full {
			t.settle(oldest)
		}
		return
	}
	t.count(&o)
}

// repeated reports whether an event says again how a task finished: newer releases of Celery report
// a hard time limit twice. Several workers may revoke one task, as with the peer, so that counts
// each time.
func repeated(t *task, kind wire.Type) bool {
	return t.finished && t.outcome == kind && kind != wire.TaskRevoked
}

// learn updates what is stored of a task by one of its events.
func (t *tracker) learn(task *task, e *wire.Event, o *occurrence) {
	switch e.Type {
	// The only event of a worker that has the name.
	case wire.TaskReceived:
		t.tasks.resume(task)
		if len(e.Name) > 0 {
			task.name = t.labels.label(e.Name)
		}
	case wire.TaskStarted:
		t.tasks.resume(task)
		task.startedAt = o.at
	case wire.TaskFailed:
		// A task that the worker does not know has no task-received before, and its name only in
		// the exception's text.
		if task.name == "" && len(e.Unregistered) > 0 {
			task.name = t.labels.label(e.Unregistered)
		}
		// Both times are by the worker's clock, so no other clock can make this wrong.
		if task.startedAt > 0 {
			o.runtime = max(0, o.at-task.startedAt)
		}
		t.tasks.finish(task, e.Type)
	case wire.TaskSucceeded, wire.TaskRejected, wire.TaskRevoked:
		t.tasks.finish(task, e.Type)
	}
}

// settle counts an occurrence that waited for its task's name or queue, with what is known by now.
func (t *tracker) settle(o occurrence) {
	if task := t.tasks.get(o.id); task != nil {
		o.load(task)
	}
	t.waiting.missed(&o)
	t.count(&o)
}

// labelsOf returns the label set that an occurrence is counted under.
func (t *tracker) labelsOf(o *occurrence) series.Key {
	key := series.Key{Name: o.name, Hostname: o.host, Queue: o.queue}
	if key.Name == "" {
		key.Name = unknownName
	}
	if key.Queue == "" {
		// Without task-sent nothing names the queue; but most workers consume one alone.
		key.Queue = o.from.onlyQueue()
	}
	if key.Queue == "" {
		key.Queue = t.options.DefaultQueue
	}
	if t.options.GenericWorkerHost {
		key.Hostname = genericHost
	}
	return key
}

var counters = map[wire.Type]series.Counter{
	wire.TaskReceived: series.Received, wire.TaskStarted: series.Started, wire.TaskSucceeded: series.Succeeded,
	wire.TaskRejected: series.Rejected, wire.TaskRevoked: series.Revoked, wire.TaskRetried: series.Retried,
	wire.TaskCancelled: series.Cancelled,
}

// count adds to the series. It is the only place that does, so that every event passes the limits
// of series once.
func (t *tracker) count(o *occurrence) {
	if !o.counted { // by us: it is another's
		return
	}
	entry := t.store.Task(t.labelsOf(o))
	if o.kind == wire.TaskFailed {
		if o.exception == "" {
			o.exception = unknownException
		}
		entry.Fail(o.exception)
		if !math.IsNaN(o.runtime) {
			entry.ObserveFailedRuntime(o.runtime)
		}
		return
	}
	entry.Inc(counters[o.kind])
	switch {
	case o.kind == wire.TaskSucceeded && !math.IsNaN(o.runtime):
		entry.ObserveRuntime(o.runtime)
	case o.kind == wire.TaskStarted && o.readyAt > 0:
		// Sent by one clock and started by another: a wait of less than nothing is one of nothing.
		entry.ObserveWait(max(0, o.at-o.readyAt))
	}
}
