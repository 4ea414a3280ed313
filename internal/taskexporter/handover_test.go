// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"obstack.dev/obstack/internal/taskexporter/broker"
	"obstack.dev/obstack/internal/taskexporter/wire"
)

// receive hands events over as a broker does, and counts them.
func (b *bench) receive(events ...string) {
	for _, e := range events {
		b.put([]byte(e), wire.Format{ContentType: "application/json"})
	}
	b.work()
}

func TestHandoverDividesTheEventsBetweenTwoMessages(t *testing.T) {
	b := newBench(t, "--handover", "shop")
	b.receive(
		beat("w@h", 1, 1),
		event("task-sent", "c@web", 0, sentTo("u", "n", "q")),
		event("task-received", "w@h", 0, named("u", "n")),
	)
	b.want("celery_task_")
	b.want("celery_worker_up")
	if !strings.Contains(b.metricsText(), "\ncelery_exporter_broker_up ") {
		t.Error("an exporter that does not count is silent about its broker")
	}
	b.handover.turn(true)
	b.receive(event("task-started", "w@h", 1, of("u")))
	// The name and the queue were learnt before.
	b.want("celery_task_started_total", `celery_task_started_total{name="n",hostname="h",queue_name="q"} 1`)
	b.want("celery_worker_up", `celery_worker_up{hostname="h"} 1`)
	// What was put before the turn ends is counted, however late it is worked off.
	b.put([]byte(event("task-succeeded", "w@h", 2, of("u"))), wire.Format{ContentType: "application/json"})
	b.handover.turn(false)
	b.receive(event("task-retried", "w@h", 2, of("u")))
	b.want("celery_task_succeeded_total", `celery_task_succeeded_total{name="n",hostname="h",queue_name="q"} 1`)
	b.want("celery_task_retried_total")
	b.want("celery_worker_up")
}

func TestHandoverCountsWhatWaitsForItsName(t *testing.T) {
	b := newBench(t, "--handover", "shop")
	b.handover.turn(true)
	b.receive(event("task-failed", "w@h", 2, of("v")+`, "exception": "E()"`))
	b.handover.turn(false)
	b.now = time.Now() // by which work is done
	b.wait(waitForMore)
	b.want("celery_task_failed_total",
		`celery_task_failed_total{name="unknown",hostname="h",queue_name="celery",exception="E"} 1`)
}

// TestHandoverNeedsNoRoom: a turn begins and ends although the mailbox is full.
func TestHandoverNeedsNoRoom(t *testing.T) {
	b := newBench(t, "--handover", "shop", "--max-backlog-bytes", "1048576")
	body := make([]byte, 64<<10)
	for range 100 {
		b.put(body, wire.Format{})
	}
	if b.scrape("celery_exporter_dropped_total{reason=\"backlog\"}") == nil {
		t.Fatal("the mailbox is not full")
	}
	b.handover.turn(true)
	if !b.Status().Counting {
		t.Error("it does not count")
	}
	b.handover.turn(false)
	if b.Status().Counting {
		t.Error("it still counts")
	}
}

func TestMailboxKnowsWhatIsLeftToCount(t *testing.T) {
	m := newMailbox(1 << 20)
	m.put([]byte("another's"), wire.Format{}, false)
	if !m.settled() {
		t.Error("what another counts is left")
	}
	m.put([]byte("ours"), wire.Format{}, true)
	if m.settled() {
		t.Error("nothing is left while a message waits")
	}
	m.take()
	if m.settled() {
		t.Error("nothing is left while a message is worked on")
	}
	m.take()
	if !m.settled() {
		t.Error("something is left")
	}
	m.put([]byte("another's"), wire.Format{}, false) // in a chunk that is used again
	m.take()
	m.take()
	if !m.settled() {
		t.Error("less than nothing is left")
	}
}

func TestHandoverIsSettledWhenTheLastEventOfATurnIsCounted(t *testing.T) {
	var h handover
	m := newMailbox(1 << 20)
	h.init(true)
	now := time.Unix(start, 0)
	h.settle(m, now) // it has stood by for long
	h.turn(true)
	h.settle(m, now)
	m.put([]byte("ours"), wire.Format{}, true)
	h.turn(false)
	h.settle(m, now)
	if h.settled.Load() != 0 {
		t.Error("it is settled while an event waits")
	}
	m.take()
	m.take()
	h.settle(m, now.Add(time.Minute))
	h.settle(m, now.Add(time.Hour))
	if got := time.Unix(0, h.settled.Load()); !got.Equal(now.Add(time.Minute)) {
		t.Errorf("settled at %v, want when the event was counted", got)
	}
}

func TestHandoverIsANameOrNothing(t *testing.T) {
	env := func(string) string { return "" }
	for name, want := range map[string]bool{"": true, "shop.shop-tasks_1": true, "a b": false, "*": false} {
		options, err := ParseOptions([]string{"--broker-url=redis://h", "--handover=" + name}, env, nil)
		if (err == nil) != want || want && options.Transport.Handover != name {
			t.Errorf("--handover=%s: error %v", name, err)
		}
	}
}

func TestReadyOfAStandbyLetsARolloutGoOn(t *testing.T) {
	during(t, &fakeBroker{}, time.Second, func(b *bench) {
		if got := b.get("/ready"); got.Code != http.StatusServiceUnavailable ||
			!strings.HasPrefix(got.Body.String(), "not ready to take over yet\n") {
			t.Errorf("while it learns, /ready = %d %s", got.Code, got.Body)
		}
		time.Sleep(learnFor)
		if got := b.get("/ready"); got.Code != http.StatusOK || !strings.Contains(got.Body.String(), "\nstandby: ") {
			t.Errorf("of a standby, /ready = %d %s", got.Code, got.Body)
		}
		b.handover.turn(true)
		if got := b.get("/ready"); got.Code != http.StatusOK || strings.Contains(got.Body.String(), "standby") {
			t.Errorf("of one that counts, /ready = %d %s", got.Code, got.Body)
		}
	}, "--handover", "shop")
	during(t, &fakeBroker{ours: true}, time.Second, func(b *bench) {
		if got := b.get("/ready"); got.Code != http.StatusOK || !b.Status().Counting {
			t.Errorf("of one that counts at once, /ready = %d %s", got.Code, got.Body)
		}
	}, "--handover", "shop")
	during(t, &fakeBroker{turns: errors.New("publish: connection refused")}, time.Minute, func(b *bench) {
		if got := b.get("/ready"); got.Code != http.StatusServiceUnavailable ||
			!strings.Contains(got.Body.String(), "handover: publish: connection refused") {
			t.Errorf("of a standby that could not take over, /ready = %d %s", got.Code, got.Body)
		}
	}, "--handover", "shop")
}

func TestTurnsAreTriedAgainWithGrowingPauses(t *testing.T) {
	f := &fakeBroker{turns: errRefused{}}
	during(t, f, 10*time.Minute, func(b *bench) {
		if got := len(f.spoke); got < 5 || got > 15 {
			t.Errorf("%d tries in ten minutes", got)
		}
		b.want(`celery_exporter_control_errors_total{question="handover"`,
			`celery_exporter_control_errors_total{question="handover"} `+strconv.Itoa(len(f.spoke)))
	}, "--handover", "shop")
}

// leaving is how an exporter of a group ends: what the broker does when it is asked, and when
// Prometheus scrapes.
func leaving(t *testing.T, b *bench, leave func() error, scrapes ...time.Duration) time.Duration {
	t.Helper()
	b.broker = &fakeBroker{leave: leave}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go b.process(ctx)
	began := time.Now()
	for _, at := range scrapes {
		time.AfterFunc(at, func() { b.get("/metrics") })
	}
	b.Leave()
	return time.Since(began)
}

func TestLeave(t *testing.T) {
	const second, young = time.Second, -1
	handsOver := func(b *bench) error {
		time.Sleep(100 * time.Millisecond)
		b.handover.turn(false)
		return nil
	}
	nobody := func(*bench) error { return nil }
	refused := func(*bench) error { return broker.ErrBlocked }
	for name, tc := range map[string]struct {
		serves      bool // it has counted
		every       time.Duration
		leave       func(*bench) error
		scrapes     []time.Duration
		atLeast, by time.Duration
	}{
		"not before its last count was scraped": {
			true, 10 * second, handsOver, []time.Duration{1 * second, 9 * second, 19 * second}, 9 * second, 10 * second,
		},
		"not for a scrape that does not come": {true, 10 * second, handsOver, nil, 10 * second, 14 * second},
		"at once if nobody scrapes":           {true, 0, handsOver, nil, 0, 5 * second},
		"without another, when it is scraped": {
			true, 30 * second, nobody, []time.Duration{7 * second}, 7 * second, 8 * second,
		},
		"without another and scrapes, at once": {true, 0, nobody, nil, 0, second},
		"young, when it is scraped for the first time": {
			true, young, handsOver, []time.Duration{20 * second}, 20 * second, 21 * second,
		},
		"as a standby, at once": {false, 10 * second, nobody, nil, 0, second},
		"alone, at once":        {true, 10 * second, refused, nil, 0, second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "--handover", "shop")
				b.clock = time.Now
				if tc.serves {
					b.handover.turn(true)
				}
				if tc.every == 0 {
					time.Sleep(usualGap + scrapeSlack)
				}
				for i := 0; tc.every > 0 && i < 6; i++ {
					time.Sleep(tc.every)
					b.get("/metrics")
				}
				took := leaving(t, b, func() error { return tc.leave(b) }, tc.scrapes...)
				if took < tc.atLeast || took > tc.by {
					t.Errorf("it took %v, want %v to %v", took, tc.atLeast, tc.by)
				}
			})
		})
	}
}

// TestLeaveGivesItsTurnToALateStandby: one that comes while the last scrape is waited for.
func TestLeaveGivesItsTurnToALateStandby(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "--handover", "shop")
		b.handover.turn(true)
		b.get("/metrics")
		time.AfterFunc(5*time.Second, func() { b.handover.turn(false) })
		took := leaving(t, b, func() error { return nil }, 7*time.Second, 20*time.Second)
		if took < 20*time.Second || took > 21*time.Second {
			t.Errorf("it took %v, want until it was scraped after its last count", took)
		}
	})
}

func TestLeaveWithoutAGroupDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.get("/metrics")
		if took := leaving(t, b, nil); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}
