// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"sync"
	"time"
)

const (
	// broadcastGap is the least time between two rounds of questions to workers: every broadcast
	// reaches all of them.
	broadcastGap = 30 * time.Second
	// settleTime is how long a worker that says hello may take until it listens to remote control.
	// Others that start at the same time are asked with it.
	settleTime = 2 * time.Second
)

// agenda decides when workers are asked. It may be used from any goroutine.
type agenda struct {
	interval time.Duration

	mu       sync.Mutex
	round    time.Time // the last one began
	everyone time.Time // the last one that asked all workers began
	greeting time.Time // a worker wants to be asked, since then; zero for none
	greetAll bool      // nothing was heard of any worker before
}

func newAgenda(interval time.Duration) *agenda {
	return &agenda{interval: interval}
}

// greet asks for a round soon; all is for everyone and at once.
func (a *agenda) greet(now time.Time, all bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.greeting.IsZero() {
		a.greeting = now
	}
	if all {
		a.greetAll, a.greeting = true, now.Add(-settleTime)
	}
}

// next returns when the next round shall begin.
func (a *agenda) next() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	due := a.everyone.Add(a.interval)
	if greeting := a.greeting.Add(settleTime); !a.greeting.IsZero() && greeting.Before(due) {
		due = greeting
	}
	if soonest := a.round.Add(broadcastGap); due.Before(soonest) {
		return soonest
	}
	return due
}

// begin begins a round and returns whom to ask: everyone for what is asked regularly, and for what
// is asked once.
func (a *agenda) begin(now time.Time) (everyone, greetAll bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	everyone, greetAll = a.greetAll || now.Sub(a.everyone) >= a.interval, a.greetAll
	a.round, a.greeting, a.greetAll = now, time.Time{}, false
	if everyone {
		a.everyone = now
	}
	return everyone, greetAll
}
