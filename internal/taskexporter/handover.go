// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"context"
	"sync/atomic"
	"time"

	"obstack.dev/obstack/internal/taskexporter/broker"
)

const (
	// learnFor is how long a standby reads events before it is ready, so that it knows the names and
	// queues of tasks that run when it takes over.
	learnFor = 3 * time.Second
	// longestLeave is how long it may take to end in all. The operator gives it a minute.
	longestLeave = 55 * time.Second
)

// handover is whether this exporter counts. Of a group, one does at a time; the broker calls turn
// between two messages, so one stops exactly where another begins.
type handover struct {
	grouped bool
	// counting is whether gauges are shown and events counted; served, whether they ever were.
	counting, served atomic.Bool
	// settled is when the last event of our turn was counted, in Unix nanoseconds, zero before.
	settled atomic.Int64
	// subscribed is when events were last subscribed to, in Unix nanoseconds.
	subscribed atomic.Int64
}

// init makes an exporter of a group wait for its turn.
func (h *handover) init(grouped bool) {
	h.grouped = grouped
	h.counting.Store(!grouped)
}

// turn is called by the goroutine that reads.
func (h *handover) turn(ours bool) {
	if ours {
		h.served.Store(true)
		h.settled.Store(0)
	}
	h.counting.Store(ours)
}

// settle notes when nothing of our turn is left to be counted.
func (h *handover) settle(waiting *mailbox, now time.Time) {
	if !h.counting.Load() && h.settled.Load() == 0 && waiting.settled() {
		h.settled.Store(now.UnixNano())
	}
}

// ready reports whether this exporter counts, or knows enough to take over.
func (h *handover) ready() bool {
	return h.counting.Load() || time.Since(time.Unix(0, h.subscribed.Load())) >= learnFor
}

// takeTurns works until the context ends, or the broker needs nothing of us.
func (e *Exporter) takeTurns(ctx context.Context) {
	for ctx.Err() == nil {
		err := e.broker.TakeTurns(ctx, e.turns.succeed)
		if ctx.Err() != nil {
			return
		}
		e.metrics.controlErrors.WithLabelValues(e.turns.name).Inc()
		sleep(ctx, e.turns.fail(err))
	}
}

// Leave returns when the exporter may end. Without a group that is at once. In one, another takes
// over first, and the last count is scraped; where there is no other, this one counts until it is
// scraped again. Nobody waits for a scrape that is not to be expected.
func (e *Exporter) Leave() {
	if !e.handover.grouped {
		return
	}
	began := time.Now()
	bounded, cancel := context.WithTimeout(context.Background(), longestLeave)
	defer cancel()
	if err := e.broker.Leave(bounded); broker.Refused(err) || !e.handover.served.Load() {
		return
	}
	const poll = 50 * time.Millisecond
	for end := began.Add(longestLeave); !e.mayEnd(began, time.Now()) && time.Now().Before(end); {
		time.Sleep(poll)
	}
}

// mayEnd reports whether what was counted is scraped, or will not be.
func (e *Exporter) mayEnd(began, now time.Time) bool {
	if e.handover.counting.Load() {
		return e.scrapes.seen(began, now)
	}
	settled := e.handover.settled.Load()
	// Events may wait for their tasks' names before they are counted.
	return settled != 0 && e.scrapes.seen(time.Unix(0, settled).Add(waitForMore+time.Second), now)
}
