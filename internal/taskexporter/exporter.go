// SPDX-License-Identifier: Apache-2.0

// Package taskexporter turns Celery's events into Prometheus metrics, under the names of
// danihodovic/celery-exporter.
//
// Four goroutines share the work. One reads the broker and never waits for anything else; one owns
// all state and turns messages into counts; one asks the broker for depths, and one the workers for
// their queues. A fifth speaks to other exporters of its group. A scrape only reads memory.
package taskexporter

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"obstack.dev/obstack/internal/brokerurl"
	"obstack.dev/obstack/internal/taskexporter/broker"
	"obstack.dev/obstack/internal/taskexporter/wire"
)

// Exporter is one running exporter.
type Exporter struct {
	options *Options
	log     *slog.Logger
	broker  broker.Broker
	metrics *metrics
	tracker *tracker
	mailbox *mailbox

	connected atomic.Bool
	alive     atomic.Int64 // Unix seconds of the last turn of the processing goroutine
	// commands are carried out by the goroutine that owns the tracker.
	commands chan func(*tracker)

	// events, depthsLink and workersLink are the connections; lengths, unacked and workers are the
	// questions, nil for those that are turned off.
	events, depthsLink, workersLink *state
	lengths, unacked, workers       *state
	// reachable is whether the last try to connect for events came through.
	reachable atomic.Bool
	// subscriptions counts those that were made.
	subscriptions atomic.Int64
	agenda        *agenda
	handover      *handover
	turns         *state // of a group that has to speak over the broker, else nil
	scrapes       scrapes
	replied       atomic.Int64 // Unix nanoseconds of the last reply of a worker
	inspected     atomic.Int64 // Unix nanoseconds of the last round that all workers replied to
	// greetings wakes the goroutine that asks workers, newQueues the one that reads depths.
	greetings, newQueues chan struct{}
	started              time.Time
	clock                func() time.Time
	// writeTimeout is how long a reader may take for a response.
	writeTimeout time.Duration
}

// New returns an exporter that is not connected yet.
func New(options *Options, b broker.Broker, log *slog.Logger) *Exporter {
	static := make(map[string]string, len(options.Series.Static))
	for _, label := range options.Series.Static {
		static[label.Name] = label.Value
	}
	metrics := newMetrics(options.Series.Prefix, options.Version, static)
	e := &Exporter{
		options: options, log: log, broker: b, metrics: metrics, tracker: newTracker(options, metrics, log),
		mailbox: newMailbox(options.MaxBacklogBytes), commands: make(chan func(*tracker), 64),
		events: newState("connection", "events", log), depthsLink: newState("connection", "depths", log),
		workersLink: newState("connection", "workers", log), agenda: newAgenda(options.InspectInterval),
		greetings: make(chan struct{}, 1), newQueues: make(chan struct{}, 1),
		started: time.Now(), clock: time.Now, writeTimeout: writeTimeout,
	}
	e.scrapes.start = e.started
	e.handover = &e.tracker.handover
	if !options.NoQueueLengths {
		e.lengths = newState("question", "queue_lengths", log)
	}
	// RabbitMQ does not say.
	if !options.NoUnacked && options.Address.Kind != brokerurl.RabbitMQ {
		e.unacked = newState("question", "unacked", log)
	}
	if !options.NoInspect {
		e.workers = newState("question", "inspect", log)
	}
	// RabbitMQ itself says whose turn it is.
	if e.handover.grouped && options.Address.Kind != brokerurl.RabbitMQ {
		e.turns = newState("question", "handover", log)
	}
	for _, question := range e.questions() {
		metrics.controlErrors.WithLabelValues(question.Name) // at zero, or the first error were no increase
	}
	e.tracker.greet = func() {
		e.agenda.greet(time.Now(), false)
		wake(e.greetings)
	}
	metrics.register.MustRegister(newStateCollector(e))
	e.alive.Store(time.Now().Unix())
	return e
}

// Run works until the context ends.
func (e *Exporter) Run(ctx context.Context) {
	parts := []func(context.Context){e.receive, e.process}
	if e.lengths != nil || e.unacked != nil {
		parts = append(parts, e.watchDepths)
	}
	if e.workers != nil {
		parts = append(parts, e.inspect)
	}
	if e.turns != nil {
		parts = append(parts, e.takeTurns)
	}
	var running sync.WaitGroup
	for _, part := range parts {
		running.Go(func() { part(ctx) })
	}
	running.Wait()
}

// receive reads events for ever. Whatever goes wrong, it tries again.
func (e *Exporter) receive(ctx context.Context) {
	first := true
	for ctx.Err() == nil {
		began := time.Now()
		err := e.broker.Receive(ctx, broker.Sink{
			Subscribed: func() {
				if !first {
					e.metrics.reconnects.Inc()
				}
				first = false
				e.subscribed()
			},
			Message: e.put,
			Drained: e.mailbox.signal,
			Turn:    e.handover.turn,
		})
		e.mailbox.signal()
		e.connected.Store(false)
		e.metrics.brokerUp.Set(0)
		if ctx.Err() != nil {
			return
		}
		// One that ends as soon as it is made is no better than none.
		if time.Since(began) > longestPause {
			e.events.renew()
		}
		var unreachable *broker.ConnectError
		e.reachable.Store(!errors.As(err, &unreachable))
		e.metrics.brokerErrors.Inc()
		sleep(ctx, e.events.fail(err))
	}
}

// subscribed says so before anything else is done.
func (e *Exporter) subscribed() {
	e.log.Info("subscribed to events")
	e.metrics.brokerUp.Set(1)
	e.events.work()
	// Workers could not be heard while there was no subscription, so their time starts anew.
	e.post(func(t *tracker) { t.workers.refresh(time.Now()) })
	e.agenda.greet(time.Now(), true)
	e.subscriptions.Add(1)
	e.handover.subscribed.Store(time.Now().UnixNano())
	e.reachable.Store(true)
	e.connected.Store(true)
	wake(e.greetings)
	wake(e.newQueues)
}

// put is called by the reading goroutine and never waits.
func (e *Exporter) put(message []byte, format wire.Format) {
	if !e.mailbox.put(message, format, e.handover.counting.Load()) {
		e.metrics.droppedMessages.Inc()
	}
}

// post hands a command to the processing goroutine.
func (e *Exporter) post(command func(*tracker)) {
	select {
	// The channel is bounded, so that workers which reply without end do not fill the memory.
	case e.commands <- command:
	case <-time.After(longestPause): // it is stuck, which /health shows
	}
}

// wake leaves a token, unless there is one already.
func wake(sleeper chan struct{}) {
	select {
	case sleeper <- struct{}{}:
	default:
	}
}

// chunksAtOnce are about a tenth of a second's work.
const chunksAtOnce = 128

// process owns the tracker.
func (e *Exporter) process(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.mailbox.ready:
			e.work()
		case command := <-e.commands:
			e.tracker.now = time.Now()
			command(e.tracker)
		case now := <-ticker.C:
			e.tracker.tick(now, e.connected.Load())
			e.tracker.minute.tick()
			e.handover.settle(e.mailbox, now)
			e.alive.Store(now.Unix())
		}
	}
}

// work handles the messages that wait, a chunk at a time, and no more than some, so that time and
// commands get their turn.
func (e *Exporter) work() {
	for range chunksAtOnce {
		e.tracker.now = time.Now()
		taken := e.mailbox.take()
		if taken == nil {
			return
		}
		taken.each(e.tracker.inTurn)
	}
	e.mailbox.signal()
}

// Ready reports whether the broker is connected, events are subscribed to, and this exporter counts
// or could take over from the one that does.
func (e *Exporter) Ready() bool {
	return e.connected.Load() && e.handover.ready() && (e.turns == nil || e.handover.counting.Load() || e.turns.read().Up)
}

// stuckAfter is how long the processing goroutine may be busy before the process counts as ill.
const stuckAfter = 60 * time.Second

// Healthy reports whether the process works, whatever the broker does.
func (e *Exporter) Healthy() bool {
	return time.Since(time.Unix(e.alive.Load(), 0)) < stuckAfter
}

func sleep(ctx context.Context, pause time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}

// connections returns how the connections fare that are wanted.
func (e *Exporter) connections() []reading {
	all := []reading{e.events.read()}
	if e.lengths != nil || e.unacked != nil {
		all = append(all, e.depthsLink.read())
	}
	if e.workers != nil {
		all = append(all, e.workersLink.read())
	}
	return all
}

// questions returns how the questions fare that are asked.
func (e *Exporter) questions() (all []reading) {
	for _, question := range []*state{e.lengths, e.unacked, e.workers, e.turns} {
		if question != nil {
			all = append(all, question.read())
		}
	}
	return all
}
