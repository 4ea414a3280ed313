// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"crypto/rand"
	"sync"
	"time"
)

// turns is one exporter's part in deciding which of a group counts, where the broker does not
// decide. All publish on one channel, whose messages the broker puts at one place among the events:
// one stops counting exactly where another begins.
//
//	         nobody counts, or who does leaves: take
//	standby ────────────────────────────────────────► counting
//	  ▲ ▲                another takes                 │    │
//	  │ └──────────────────────────────────────────────┘    │ the exporter is to end
//	  │                  another takes                      ▼
//	  └────────────────────────────────────────────────── leaving
//
// What is said is said again until it is heard, so that nothing depends on one message. If two
// count, as after a connection was lost, both hear it and take anew, and the later one has it.
type turns struct {
	id string
	// wake holds a token while there may be something to say.
	wake chan struct{}

	mu    sync.Mutex
	turn  func(ours bool)
	phase phase
	// alone is why there are no turns, nil otherwise: each exporter counts for itself then.
	alone error
	// joined is when the channel was subscribed to, zero while it is not, and joins is how often.
	joined time.Time
	joins  int
	// heard is when another that counts was last heard, zero if not since we joined.
	heard time.Time
	spoke time.Time
	// taking is set while a take is repeated until it is heard; urgent, while what is to be said does
	// not wait for its time.
	taking, urgent bool
	// ended is set when the exporter is to end, and released is closed when it may.
	ended    bool
	released chan struct{}
}

type phase int

const (
	standsBy phase = iota
	counts
	leaves // and counts
)

const (
	keepEvery = 5 * time.Second
	// silentFor is the silence after which another takes over from the one that counts.
	silentFor = 20 * time.Second
	// repeatEvery is the time between messages that wait for one of the others.
	repeatEvery = 500 * time.Millisecond
	// askFor is how long a new exporter waits for one that counts.
	askFor = 2 * time.Second
)

func newTurns() *turns {
	return &turns{id: rand.Text(), wake: make(chan struct{}, 1), released: make(chan struct{})}
}

// join begins after a subscription. What was said before it is not known.
func (t *turns) join(turn func(ours bool), now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn, t.joined, t.heard = turn, now, time.Time{}
	t.joins++
	t.speak()
	if t.alone != nil {
		t.count()
	}
}

// part ends what join began.
func (t *turns) part() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.joined = time.Time{}
}

// session returns which subscription is there, zero if none is.
func (t *turns) session() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.joined.IsZero() {
		return 0
	}
	return t.joins
}

// await returns the subscription once there is one.
func (t *turns) await(ctx context.Context) (session int, err error) {
	for {
		if session := t.session(); session != 0 {
			return session, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-t.wake:
		}
	}
}

// read acts on a message of the channel, at its place among the events.
func (t *turns) read(text []byte, now time.Time) {
	c, ok := parseClaim(text)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.id == t.id {
		if c.kind == take {
			t.count()
		}
		return
	}
	switch c.kind {
	case take:
		t.heard = now
		t.stop()
	case keep:
		t.heard = now
		if t.taking = false; t.phase == counts {
			t.take()
		}
	case leave:
		if t.phase != leaves {
			t.take()
		}
	case ask:
		if t.phase != standsBy {
			t.speak()
		}
	}
}

// count begins our turn.
func (t *turns) count() {
	t.taking, t.phase = false, counts
	if t.ended {
		t.phase = leaves
	}
	t.turn(true)
}

// stop ends our turn.
func (t *turns) stop() {
	t.taking, t.phase = false, standsBy
	t.release()
	t.turn(false)
}

func (t *turns) take() {
	t.taking = true
	t.speak()
}

func (t *turns) speak() {
	t.urgent = true
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// release lets the exporter end, if it is to.
func (t *turns) release() {
	if t.ended {
		select {
		case <-t.released:
		default:
			close(t.released)
		}
	}
}

// due returns what is to be said now, if there is anything.
func (t *turns) due(now time.Time) (c claim, due bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.joined.IsZero() {
		return claim{}, false
	}
	var every time.Duration
	switch {
	case t.phase == leaves:
		c.kind, every = leave, repeatEvery
	case t.phase == standsBy && t.ended:
		return claim{}, false
	case t.taking || t.phase == standsBy && t.abandoned(now):
		t.taking = true
		c.kind, every = take, repeatEvery
	case t.phase == counts:
		c.kind, every = keep, keepEvery
	case t.heard.IsZero():
		c.kind, every = ask, repeatEvery
	default:
		return claim{}, false
	}
	if !t.urgent && now.Sub(t.spoke) < every {
		return claim{}, false
	}
	t.urgent, t.spoke, c.id = false, now, t.id
	return c, true
}

// abandoned reports whether nobody counts, as far as a standby can hear.
func (t *turns) abandoned(now time.Time) bool {
	if t.heard.IsZero() {
		return now.Sub(t.joined) >= askFor
	}
	return now.Sub(t.heard) >= silentFor
}

// said notes that a message reached so many, ourselves among them. Nobody else means that there is
// nobody to wait for.
func (t *turns) said(c claim, reached int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.alone != nil {
		t.alone = nil
		t.speak()
	}
	switch {
	case c.kind == ask && reached == 1 && t.phase == standsBy && t.heard.IsZero():
		t.take()
	case c.kind == leave && reached <= 1:
		t.release()
	}
}

// refused makes the exporter count for itself, because it cannot speak to others.
func (t *turns) refused(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.alone = err
	t.release()
	if !t.joined.IsZero() && t.phase == standsBy {
		t.count()
	}
}

// end is called when the exporter is to end. It may as soon as the channel is closed. The error is
// why it takes no turns.
func (t *turns) end() (released <-chan struct{}, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	switch {
	case t.alone != nil || t.phase == standsBy && !t.taking:
		t.release()
	case t.phase == standsBy: // what is on its way may stop another
	default:
		t.phase = leaves
		t.speak()
	}
	return t.released, t.alone
}
