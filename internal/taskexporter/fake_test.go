// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"obstack.dev/obstack/internal/taskexporter/broker"
	"obstack.dev/obstack/internal/taskexporter/wire"
)

// fakeBroker is one whose replies the test chooses. Time is that of a synctest bubble.
type fakeBroker struct {
	receive func() error
	lengths func(queues []string) ([]broker.Depth, error)
	unacked func() (int64, error)
	replies func(wire.Request) []broker.Reply
	refuse  error // of every broadcast
	// ours is whether it is our turn at once, in a group.
	ours bool
	// turns is what taking turns ends with, nil for ever, and leave what leaving comes to.
	turns error
	leave func() error
	away  error         // of every connection for questions
	lasts time.Duration // a subscription, zero for ever

	mu         sync.Mutex
	connects   []time.Time
	spoke      []time.Time // tries to take turns
	subscribed int
	asked      map[string][]time.Time // broadcasts by method
	last       map[string]wire.Request
}

// note adds the time to a list; several goroutines connect.
func (f *fakeBroker) note(times *[]time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*times = append(*times, time.Now())
}

func (f *fakeBroker) Receive(ctx context.Context, to broker.Sink) error {
	f.note(&f.connects)
	if f.receive != nil {
		return f.receive()
	}
	f.subscribed++
	to.Subscribed()
	if f.ours {
		to.Turn(true)
	}
	if f.lasts > 0 {
		time.Sleep(f.lasts)
		return errors.New("receive: connection reset by peer")
	}
	<-ctx.Done()
	return ctx.Err()
}

func (f *fakeBroker) Depths(context.Context) (broker.Depths, error) { return f.connect() }

func (f *fakeBroker) Workers(context.Context) (broker.Workers, error) { return f.connect() }

func (f *fakeBroker) TakeTurns(ctx context.Context, spoken func()) error {
	f.note(&f.spoke)
	if f.turns != nil {
		return f.turns
	}
	spoken()
	<-ctx.Done()
	return ctx.Err()
}

func (f *fakeBroker) Leave(context.Context) error { return f.leave() }

func (f *fakeBroker) connect() (*fakeBroker, error) {
	f.note(&f.connects)
	return f, f.away
}

func (f *fakeBroker) Close() {}

func (f *fakeBroker) Lengths(_ context.Context, queues []string) ([]broker.Depth, error) {
	if f.lengths == nil {
		return make([]broker.Depth, len(queues)), nil
	}
	return f.lengths(queues)
}

func (f *fakeBroker) Unacked(context.Context) (int64, error) {
	if f.unacked == nil {
		return 0, nil
	}
	return f.unacked()
}

func (f *fakeBroker) Ask(_ context.Context, requests []wire.Request, handle func(broker.Reply)) error {
	for _, request := range requests {
		if f.asked == nil {
			f.asked, f.last = map[string][]time.Time{}, map[string]wire.Request{}
		}
		f.asked[request.Method] = append(f.asked[request.Method], time.Now())
		f.last[request.Method] = request
		if f.refuse != nil {
			return f.refuse
		}
		if f.replies == nil {
			continue
		}
		for _, reply := range f.replies(request) {
			handle(reply)
		}
	}
	time.Sleep(time.Second)
	return nil
}

// during runs the exporter with a broker for a time, and lets the test act meanwhile.
func during(t *testing.T, f *fakeBroker, span time.Duration, act func(*bench), args ...string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, args...)
		b.connected.Store(false)
		b.broker, b.clock = f, time.Now
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			b.Run(ctx)
			close(done)
		}()
		time.Sleep(span)
		synctest.Wait()
		if act != nil {
			act(b)
		}
		cancel()
		<-done
	})
}
