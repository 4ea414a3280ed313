// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"obstack.dev/obstack/internal/taskexporter/broker"
	"obstack.dev/obstack/internal/taskexporter/wire"
)

func take(id string) broker.Claim { return broker.Claim{ID: id} }

func keep(id string) broker.Claim { return broker.Claim{ID: id, Keep: true} }

func TestHandoverClaimsAreDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h handover
		h.init("me")
		want := func(when string, want broker.Claim, wantDue bool) {
			t.Helper()
			got, due := h.due(time.Now())
			if due != wantDue || due && got != want {
				t.Fatalf("%s: claim %+v, due %v, want %+v, %v", when, got, due, want, wantDue)
			}
			if due {
				h.claimed.Store(time.Now().UnixNano())
				h.renew.Store(false)
			}
		}
		h.resubscribed(time.Now())
		want("while it learns", broker.Claim{}, false)
		time.Sleep(learnFor)
		want("when it has learnt", take("me"), true)
		want("while the claim is under way", broker.Claim{}, false)
		h.read(take("me").Bytes(), time.Now())
		want("soon after it took over", broker.Claim{}, false)
		time.Sleep(keepEvery)
		want("a sign of life", keep("me"), true)
		h.resubscribed(time.Now())
		want("after an interruption", take("me"), true)
		h.read(take("other").Bytes(), time.Now())
		time.Sleep(silentFor - time.Second)
		h.read(keep("other").Bytes(), time.Now())
		time.Sleep(silentFor - time.Second)
		want("while the other lives", broker.Claim{}, false)
		time.Sleep(time.Second)
		want("when the other is silent", take("me"), true)
		time.Sleep(silentFor)
		h.leaving.Store(true)
		want("when it leaves", broker.Claim{}, false)
	})
}

func TestHandoverFollowsTheClaims(t *testing.T) {
	var h handover
	h.init("me")
	for _, step := range []struct {
		claim string
		want  bool
	}{
		{"keep other", false}, {"take me", true}, {"keep other", true}, {"take", true}, {"nonsense other", true},
		{"take other", false}, {"keep me", false}, {"take me", true},
	} {
		h.read([]byte(step.claim), time.Now())
		if got := h.counting.Load(); got != step.want {
			t.Errorf("after %q it counts: %v, want %v", step.claim, got, step.want)
		}
	}
}

func TestHandoverDividesTheEventsAtTheClaim(t *testing.T) {
	b := newBench(t, "--handover", "shop")
	claim := func(id string) {
		b.tracker.message(take(id).Bytes(), wire.Format{ContentType: broker.ClaimType})
	}
	own := b.handover.id
	b.send(
		beat("w@h", 1, 1),
		event("task-sent", "c@web", 0, sentTo("u", "n", "q")),
		event("task-received", "w@h", 0, named("u", "n")),
	)
	b.want("celery_task_")
	b.want("celery_worker_up")
	if !strings.Contains(b.metricsText(), "\ncelery_exporter_broker_up ") {
		t.Error("an exporter that does not count is silent about its broker")
	}
	claim(own)
	b.send(event("task-started", "w@h", 1, of("u")))
	// The name and the queue were learnt before.
	b.want("celery_task_started_total", `celery_task_started_total{name="n",hostname="h",queue_name="q"} 1`)
	b.want("celery_worker_up", `celery_worker_up{hostname="h"} 1`)
	b.send(event("task-failed", "w@h", 2, of("v")+`, "exception": "E()"`)) // waits for its name
	claim("other")
	b.send(event("task-succeeded", "w@h", 2, of("u")))
	b.wait(waitForMore)
	b.want("celery_task_succeeded_total")
	b.want("celery_worker_up")
	b.want("celery_task_failed_total",
		`celery_task_failed_total{name="unknown",hostname="h",queue_name="celery",exception="E"} 1`)
}

func TestClaimsWithoutAGroupAreMalformed(t *testing.T) {
	b := newBench(t)
	b.tracker.message(take("other").Bytes(), wire.Format{ContentType: broker.ClaimType})
	b.want("celery_exporter_malformed_total", `celery_exporter_malformed_total{reason="content_type"} 1`)
	if !b.handover.counting.Load() {
		t.Error("it no longer counts")
	}
}

func TestHandoverWithoutThePermissionCountsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "--handover", "shop")
		b.broker = &fakeBroker{refuseClaims: broker.ErrBlocked}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		b.handover.resubscribed(time.Now())
		go b.process(ctx)
		b.handOver(ctx)
		synctest.Wait()
		if !b.handover.counting.Load() || !b.Ready() {
			t.Error("it does not count")
		}
		began := time.Now()
		if b.Leave(); time.Since(began) != 0 {
			t.Error("it waits for a successor that cannot take over")
		}
	})
}

func TestLeaveWaitsForTheLastScrape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &Exporter{handover: &handover{}}
		e.handover.init("me")
		e.handover.read(take("me").Bytes(), time.Now())
		began := time.Now()
		left := make(chan time.Duration, 1)
		go func() {
			e.Leave()
			left <- time.Since(began)
		}()
		e.handover.scraped.Store(time.Now().UnixNano())
		time.Sleep(5 * time.Second)
		e.handover.read(take("other").Bytes(), time.Now())
		time.Sleep(waitForMore + 2*time.Second)
		e.handover.scraped.Store(time.Now().UnixNano())
		if took := <-left; took < 5*time.Second+waitForMore || took > 12*time.Second {
			t.Errorf("left after %v, want when it was scraped after its last count", took)
		}
		e.handover.read(take("me").Bytes(), time.Now())
		began = time.Now()
		e.Leave()
		if took := time.Since(began); took < successorWait || took > successorWait+time.Second {
			t.Errorf("left after %v without a successor, want %v", took, successorWait)
		}
		e.handover.init("")
		began = time.Now()
		if e.Leave(); time.Since(began) != 0 {
			t.Error("one without a group waits")
		}
	})
}
