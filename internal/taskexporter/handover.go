// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"context"
	"sync/atomic"
	"time"

	"obstack.dev/obstack/internal/taskexporter/broker"
)

const (
	// learnFor is how long a new exporter reads events before it takes over, so that it knows the
	// names and queues of tasks that run meanwhile.
	learnFor = 3 * time.Second
	// keepEvery is the time between signs of life of the exporter that counts, and silentFor the
	// silence after which another takes over.
	keepEvery = 5 * time.Second
	silentFor = 20 * time.Second
	// successorWait is how long an exporter that was asked to end waits for one that takes over,
	// and to be scraped after its last count.
	successorWait = 45 * time.Second
)

// handover lets one exporter of a group count at a time. All see the claims at the same place among
// the events, so one stops exactly where another begins. The zero handover is of an exporter
// without a group, which always counts.
type handover struct {
	id string // empty without a group

	// counting is whether gauges are shown and events counted; served, whether it ever was.
	counting, served atomic.Bool
	leaving          atomic.Bool
	// alone is set where the broker's user may not make claims.
	alone atomic.Bool
	// subscribed, claimed, heard, ended and scraped are Unix nanoseconds: of the subscription, our
	// last claim, the last one of another, the last count, and the end of the last scrape.
	subscribed, claimed, heard, ended, scraped atomic.Int64
	// renew is set while a claim is to be made at once.
	renew atomic.Bool
}

// init makes an exporter of a group wait for its turn.
func (h *handover) init(id string) {
	h.id = id
	h.setCounting(id == "", time.Now())
}

func (h *handover) setCounting(counting bool, now time.Time) {
	if counting {
		h.served.Store(true)
	} else if h.counting.Load() {
		h.ended.Store(now.UnixNano())
	}
	h.counting.Store(counting)
}

// read acts on a claim, at its place among the events.
func (h *handover) read(text []byte, now time.Time) {
	claim, ok := broker.ParseClaim(text)
	switch {
	case !ok:
	case claim.ID != h.id:
		h.heard.Store(now.UnixNano())
		if !claim.Keep {
			h.setCounting(false, now)
		}
	case !claim.Keep:
		h.setCounting(true, now)
	}
}

// resubscribed asks for a claim: another may have taken over while nothing could be heard.
func (h *handover) resubscribed(now time.Time) {
	h.subscribed.Store(now.UnixNano())
	h.renew.Store(h.counting.Load())
}

// due returns the claim that is to be made now, if there is one.
func (h *handover) due(now time.Time) (claim broker.Claim, due bool) {
	since := func(at *atomic.Int64) time.Duration { return now.Sub(time.Unix(0, at.Load())) }
	switch {
	case h.counting.Load() && h.renew.Load() && !h.leaving.Load():
		return broker.Claim{ID: h.id}, true
	case h.counting.Load():
		return broker.Claim{ID: h.id, Keep: true}, since(&h.claimed) >= keepEvery
	case h.leaving.Load() || since(&h.subscribed) < learnFor || since(&h.claimed) < keepEvery:
		return broker.Claim{}, false
	}
	return broker.Claim{ID: h.id}, h.claimed.Load() == 0 || since(&h.heard) >= silentFor
}

// handOver makes claims until the context ends.
func (e *Exporter) handOver(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		claim, due := e.handover.due(time.Now())
		if !due || !e.connected.Load() {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, keepEvery)
		err := e.broker.Claim(bounded, claim)
		cancel()
		switch {
		case err == nil:
			e.handover.claimed.Store(time.Now().UnixNano())
			e.handover.renew.Store(false)
		case broker.Refused(err):
			// Without claims it is one among others that count, as without a group.
			e.log.Warn("cannot take over from another exporter or hand over to one: this one counts by itself", "error", err)
			e.handover.alone.Store(true)
			e.post(func(*tracker) { e.handover.setCounting(true, time.Now()) })
			return
		default:
			e.log.Debug("claim not published, trying again", "error", err)
		}
	}
}

// Leave returns when the exporter may end: at once without a group or claims, else when another has
// taken over and this one was scraped after its last count, or the time is up.
func (e *Exporter) Leave() {
	if e.handover.id == "" || e.handover.alone.Load() || !e.handover.served.Load() {
		return
	}
	e.handover.leaving.Store(true)
	for deadline := time.Now().Add(successorWait); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		last := time.Unix(0, e.handover.ended.Load()).Add(waitForMore + time.Second) // for what waits for a name
		if !e.handover.counting.Load() && time.Unix(0, e.handover.scraped.Load()).After(last) {
			return
		}
	}
}
