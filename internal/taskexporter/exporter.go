// SPDX-License-Identifier: Apache-2.0

// Package taskexporter turns Celery's events into Prometheus metrics, under the names of danihodovic/celery-exporter.
//
// Three goroutines share the work. One reads the broker and never waits for anything else; one owns all state and turns
// messages into counts; one asks the broker for depths and the workers for their queues. A scrape only reads memory.
package taskexporter

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

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
	// wake asks the control goroutine to look at the workers soon.
	wake chan struct{}
}

// New returns an exporter that is not connected yet.
func New(options *Options, b broker.Broker, log *slog.Logger) *Exporter {
	static := make(map[string]string, len(options.Series.Static))
	for _, label := range options.Series.Static {
		static[label.Name] = label.Value
	}
	metrics := newMetrics(options.Series.Prefix, static)
	e := &Exporter{
		options: options, log: log, broker: b, metrics: metrics, tracker: newTracker(options, metrics, log),
		mailbox: newMailbox(options.MaxBacklogBytes), commands: make(chan func(*tracker), 64), wake: make(chan struct{}, 1),
	}
	metrics.wakeControl = e.wakeControl
	metrics.register.MustRegister(newStateCollector(e.tracker, e.mailbox.bytes))
	e.alive.Store(time.Now().Unix())
	return e
}

// Run works until the context ends.
func (e *Exporter) Run(ctx context.Context) {
	done := make(chan struct{}, 3)
	for _, part := range []func(context.Context){e.receive, e.process, e.control} {
		go func() {
			part(ctx)
			done <- struct{}{}
		}()
	}
	for range 3 {
		<-done
	}
}

// Pauses between attempts to connect grow from the shortest to the longest.
const (
	shortestPause = 250 * time.Millisecond
	longestPause  = 15 * time.Second
)

// backoff returns the pause before an attempt, half of it random, so that many exporters do not come back at once.
func backoff(attempt int) time.Duration {
	pause := min(longestPause, shortestPause<<min(attempt, 10))
	return pause/2 + rand.N(pause/2) // #nosec G404 -- jitter is no secret.
}

// receive reads events for ever. Whatever goes wrong, it tries again.
func (e *Exporter) receive(ctx context.Context) {
	first, attempt := true, 0
	for ctx.Err() == nil {
		err := e.broker.Receive(ctx, broker.Sink{
			Subscribed: func() {
				attempt = 0
				if !first {
					e.metrics.reconnects.Inc()
				}
				first = false
				e.subscribed()
			},
			Message: e.put,
			Drained: e.mailbox.announce,
		})
		e.mailbox.announce()
		e.connected.Store(false)
		e.metrics.brokerUp.Set(0)
		if ctx.Err() != nil {
			return
		}
		e.metrics.brokerErrors.Inc()
		pause := backoff(attempt)
		attempt++
		e.log.Warn("no events from the broker, trying again", "error", err, "pause", pause.Round(time.Millisecond))
		sleep(ctx, pause)
	}
}

// subscribed says so before anything else is done.
func (e *Exporter) subscribed() {
	e.log.Info("subscribed to events")
	e.metrics.brokerUp.Set(1)
	// Workers could not be heard while there was no subscription, so their time starts anew.
	e.post(func(t *tracker) { t.workers.refresh(time.Now()) })
	e.connected.Store(true)
	e.wakeControl()
}

// put is called by the reading goroutine and never waits.
func (e *Exporter) put(message []byte, format wire.Format) {
	if !e.mailbox.put(message, format) {
		e.metrics.droppedMessages.Inc()
	}
}

// post hands a command to the processing goroutine.
func (e *Exporter) post(command func(*tracker)) {
	select {
	// The channel is bounded, so that workers which answer without end do not fill the memory.
	case e.commands <- command:
	case <-time.After(longestPause): // it is stuck, which /health tells
	}
}

func (e *Exporter) wakeControl() {
	select {
	case e.wake <- struct{}{}:
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
			e.alive.Store(now.Unix())
		}
	}
}

// work handles the messages that wait, a chunk at a time, and no more than some, so that time and commands get their turn.
func (e *Exporter) work() {
	for range chunksAtOnce {
		e.tracker.now = time.Now()
		taken := e.mailbox.take()
		if taken == nil {
			return
		}
		taken.each(e.tracker.message)
	}
	e.mailbox.announce()
}

// Ready reports whether the broker is connected and events are subscribed to.
func (e *Exporter) Ready() bool { return e.connected.Load() }

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
