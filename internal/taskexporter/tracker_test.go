// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

func TestALifeOfATask(t *testing.T) {
	b := newBench(t)
	b.send(
		event("task-sent", "gen7@web", 0, sentTo("u", "n", "emails")),
		event("task-received", "w1@host", 1, named("u", "n")),
		event("task-started", "w1@host", 1.5, of("u")),
		event("task-succeeded", "w1@host", 2, of("u")+`, "runtime": 0.5`),
	)
	b.want("celery_task_",
		`celery_task_queue_wait_time_count{name="n",hostname="host",queue_name="emails"} 1`,
		`celery_task_queue_wait_time_sum{name="n",hostname="host",queue_name="emails"} 1.5`,
		`celery_task_received_total{name="n",hostname="host",queue_name="emails"} 1`,
		`celery_task_runtime_count{name="n",hostname="host",queue_name="emails"} 1`,
		`celery_task_runtime_sum{name="n",hostname="host",queue_name="emails"} 0.5`,
		`celery_task_sent_total{name="n",hostname="web",queue_name="emails"} 1`,
		`celery_task_started_total{name="n",hostname="host",queue_name="emails"} 1`,
		`celery_task_succeeded_total{name="n",hostname="host",queue_name="emails"} 1`,
	)
}

func TestAllCountersOfAKnownTaskAreThereAtZero(t *testing.T) {
	b := newBench(t)
	b.send(event("task-sent", "c@web", 0, sentTo("u", "n", "q")), event("task-received", "w@host", 1, of("u")))
	text := b.metricsText()
	for _, state := range []string{"started", "succeeded", "rejected", "revoked", "retried", "cancelled"} {
		if line := fmt.Sprintf("celery_task_%s_total{name=\"n\",hostname=\"host\",queue_name=\"q\"} 0\n",
			state); !strings.Contains(text, line) {
			t.Errorf("%q is missing", line)
		}
	}
	if strings.Contains(text, `celery_task_started_total{name="n",hostname="web"`) {
		t.Error("the client's host has counters of workers")
	}
}

func TestAFailureIsCountedByExceptionAndTimed(t *testing.T) {
	b := newBench(t)
	b.send(
		event("task-sent", "c@web", 0, sentTo("u", "n", "q")),
		event("task-started", "w@host", 1, of("u")),
		event("task-failed", "w@host", 4, of("u")+`, "exception": "ValueError('secret')", "traceback": "secret"`),
	)
	b.want("celery_task_failed",
		`celery_task_failed_runtime_count{name="n",hostname="host",queue_name="q"} 1`,
		`celery_task_failed_runtime_sum{name="n",hostname="host",queue_name="q"} 3`,
		`celery_task_failed_total{name="n",hostname="host",queue_name="q",exception="ValueError"} 1`,
	)
	if strings.Contains(b.metricsText(), "secret") {
		t.Error("the exception's text is exposed")
	}
}

func TestAnOutcomeThatIsReportedTwiceCountsOnce(t *testing.T) {
	b := newBench(t)
	failed := event("task-failed", "w@host", 2, of("u")+`, "exception": "E()"`)
	b.send(event("task-sent", "c@web", 0, sentTo("u", "n", "q")), event("task-started", "w@host", 1, of("u")), failed,
		failed)
	b.want("celery_task_failed_total", `celery_task_failed_total{name="n",hostname="host",queue_name="q",exception="E"} 1`)
	b.want("celery_exporter_dropped", `celery_exporter_dropped_total{reason="repeated"} 1`)
	b.send(event("task-started", "w@host", 3, of("u")), failed)
	b.want("celery_task_failed_total", `celery_task_failed_total{name="n",hostname="host",queue_name="q",exception="E"} 2`)
}

func TestATaskSentThatComesLateStillNamesTheQueue(t *testing.T) {
	b := newBench(t)
	b.send(
		event("task-received", "w@host", 0.1, named("u", "n")),
		event("task-started", "w@host", 0.2, of("u")),
		event("task-succeeded", "w@host", 0.3, of("u")+`, "runtime": 0.1`),
		event("task-sent", "c@web", 0, sentTo("u", "n", "emails")),
	)
	b.want("celery_task_started_total")
	b.wait(waitForMore)
	b.want("celery_task_started_total", `celery_task_started_total{name="n",hostname="host",queue_name="emails"} 1`)
	b.want("celery_task_queue_wait_time_count",
		`celery_task_queue_wait_time_count{name="n",hostname="host",queue_name="emails"} 1`)
}

func TestWithoutTaskSentEventsAreSoonCountedAtOnce(t *testing.T) {
	b := newBench(t)
	for i := range missesAllowed {
		b.send(event("task-received", "w@host", 0, named(fmt.Sprint("u", i), "n")))
	}
	b.wait(waitForMore)
	b.send(event("task-received", "w@host", 3, named("last", "n")))
	b.want("celery_task_received_total",
		fmt.Sprintf(`celery_task_received_total{name="n",hostname="host",queue_name="celery"} %d`, missesAllowed+1))
}

func TestTheQueueOfAWorkerWithOneQueueIsKnown(t *testing.T) {
	b := newBench(t)
	b.send(event("worker-online", "w@host", 0, ""))
	b.tracker.learnQueues(map[string][]wire.Queue{"w@host": {{Name: "emails"}}})
	b.send(event("task-received", "w@host", 0, named("u", "n")))
	b.wait(waitForMore)
	b.want("celery_task_received_total", `celery_task_received_total{name="n",hostname="host",queue_name="emails"} 1`)
}

func TestTasksThatAWorkerHoldsAreNamedByIt(t *testing.T) {
	b := newBench(t)
	b.send(event("worker-online", "w@host", 0, ""))
	b.tracker.learnQueues(map[string][]wire.Queue{"w@host": {{Name: "emails", RoutingKey: "mail"}, {Name: "celery"}}})
	b.send(event("task-succeeded", "w@host", 0, of("u")+`, "runtime": 1`))
	held := wire.KnownTask{ID: "u", Name: "n", Hostname: "w@host"}
	held.DeliveryInfo.RoutingKey = "mail"
	b.tracker.known(held)
	b.wait(waitForMore)
	b.want("celery_task_succeeded_total", `celery_task_succeeded_total{name="n",hostname="host",queue_name="emails"} 1`)
}

func TestTasksWithoutANameAreNeverNone(t *testing.T) {
	b := newBench(t)
	b.send(
		event("task-failed", "w@host", 0, of("u")+`, "exception": "NotRegistered('proj.gone')"`),
		event("task-revoked", "w@host", 0, of("v")+`, "expired": true`),
	)
	b.wait(waitForMore)
	b.want("celery_task_failed_total",
		`celery_task_failed_total{name="proj.gone",hostname="host",queue_name="celery",exception="NotRegistered"} 1`)
	b.want("celery_task_revoked_total", `celery_task_revoked_total{name="unknown",hostname="host",queue_name="celery"} 1`)
}

func TestWaitsLeaveOutTheETAAndEachStartOnlyOnce(t *testing.T) {
	b := newBench(t)
	eta := time.Unix(start+60, 0).UTC().Format(time.RFC3339)
	b.send(
		event("task-sent", "c@web", 0, sentTo("u", "n", "q")+fmt.Sprintf(`, "eta": %q`, eta)),
		event("task-started", "w@host", 62, of("u")),
		event("task-retried", "w@host", 63, of("u")),
		event("task-received", "w@host", 100, named("u", "n")),
		event("task-started", "w@host", 200, of("u")),
	)
	b.want("celery_task_queue_wait_time",
		`celery_task_queue_wait_time_count{name="n",hostname="host",queue_name="q"} 1`,
		`celery_task_queue_wait_time_sum{name="n",hostname="host",queue_name="q"} 2`)
}

func TestARetrySentBeforeTheNewsOfItsStartIsTimedToo(t *testing.T) {
	b := newBench(t)
	b.send(
		event("task-sent", "c@web", 0, sentTo("u", "n", "q")),
		event("task-sent", "c@web", 10, sentTo("u", "n", "q")),
		event("task-started", "w@host", 1, of("u")),
		event("task-started", "w@host", 12, of("u")),
	)
	b.want("celery_task_queue_wait_time",
		`celery_task_queue_wait_time_count{name="n",hostname="host",queue_name="q"} 2`,
		`celery_task_queue_wait_time_sum{name="n",hostname="host",queue_name="q"} 3`)
}

func TestAHeldStartLeavesTheRetriesTheirTimes(t *testing.T) {
	b := newBench(t)
	// The first start overtakes the client's events, and waits for its queue meanwhile.
	b.send(
		event("task-received", "w@host", 0, named("u", "n")),
		event("task-started", "w@host", 1, of("u")),
		event("task-sent", "c@web", 0, sentTo("u", "n", "q")),
		event("task-sent", "c@web", 10, sentTo("u", "n", "q")),
		event("task-sent", "c@web", 20, sentTo("u", "n", "q")),
		event("task-started", "w@host", 11, of("u")),
		event("task-started", "w@host", 21, of("u")),
	)
	b.wait(waitForMore)
	b.want("celery_task_queue_wait_time_count",
		`celery_task_queue_wait_time_count{name="n",hostname="host",queue_name="q"} 3`)
}

func TestAStartThatOvertakesTheNewsOfItsRetryIsTimedToo(t *testing.T) {
	b := newBench(t)
	b.send(
		event("task-sent", "c@web", 0, sentTo("u", "n", "q")),
		event("task-started", "w@host", 1, of("u")),
		event("task-started", "w@host", 12, of("u")),
		event("task-sent", "w@host", 10, sentTo("u", "n", "q")),
	)
	b.wait(waitForMore)
	b.want("celery_task_queue_wait_time",
		`celery_task_queue_wait_time_count{name="n",hostname="host",queue_name="q"} 2`,
		`celery_task_queue_wait_time_sum{name="n",hostname="host",queue_name="q"} 3`)
}

func TestABacklogKeepsItsNamesAndQueues(t *testing.T) {
	b := newBench(t)
	const tasks = 15_000
	for _, step := range []struct{ kind, node string }{
		{"task-sent", "c@web"}, {"task-received", "w@host"}, {"task-started", "w@host"}, {"task-succeeded", "w@host"},
	} {
		for i := range tasks {
			more := of(fmt.Sprint("u", i))
			if step.kind == "task-sent" {
				more = sentTo(fmt.Sprint("u", i), "n", "emails")
			}
			b.send(event(step.kind, step.node, float64(i), more))
		}
	}
	b.want("celery_task_succeeded_total",
		fmt.Sprintf(`celery_task_succeeded_total{name="n",hostname="host",queue_name="emails"} %d`, tasks))
	b.want("celery_task_queue_wait_time_count",
		fmt.Sprintf(`celery_task_queue_wait_time_count{name="n",hostname="host",queue_name="emails"} %d`, tasks))
}

func TestGenericHostNames(t *testing.T) {
	b := newBench(t, "--generic-hostname-task-sent-metric", "--generic-hostname-worker-task-metric")
	b.send(event("task-sent", "c@web", 0, sentTo("u", "n", "q")), event("task-started", "w@host", 1, of("u")))
	b.want("celery_task_sent", `celery_task_sent_total{name="n",hostname="generic",queue_name="q"} 1`)
	b.want("celery_task_started", `celery_task_started_total{name="n",hostname="generic",queue_name="q"} 1`)
}

func TestSeriesBeyondTheLimitAreFolded(t *testing.T) {
	b := newBench(t, "--max-series", "30")
	for i := range 100 {
		uuid := fmt.Sprint("u", i)
		b.send(
			event("task-sent", "c@web", 0, sentTo(uuid, fmt.Sprint("n", i), "q")),
			event("task-started", "w@host", 0, of(uuid)),
			event("task-failed", "w@host", 0, of(uuid)+fmt.Sprintf(`, "exception": "E%d()"`, i)),
		)
	}
	if kept := b.tracker.store.Kept(); kept > 30 {
		t.Errorf("%d series kept", kept)
	}
	if lines := strings.Count(b.metricsText(), "\ncelery_task_"); lines > 30+100 {
		t.Errorf("%d lines of tasks", lines)
	}
	started := 0
	for _, line := range b.scrape("celery_task_started_total") {
		var n int
		if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &n); err != nil {
			t.Fatal(err)
		}
		started += n
	}
	if started != 100 {
		t.Errorf("%d starts counted, want 100", started)
	}
	if b.tracker.store.Refused() == 0 {
		t.Error("no refusal is counted")
	}
}

func TestLongAndInvalidLabelsAreCutAndEscaped(t *testing.T) {
	b := newBench(t)
	long := strings.Repeat("ä", 1<<20)
	b.send(
		event("task-sent", "c@web", 0, sentTo("u", long, "q")),
		event("task-sent", "c@web", 0, `"uuid": "v", "name": "a\ud800b", "queue": "q\"\\\n"`),
	)
	b.want("celery_task_sent_total",
		`celery_task_sent_total{name="a`+"\uFFFD"+`b",hostname="web",queue_name="q\"\\\n"} 1`,
		fmt.Sprintf(`celery_task_sent_total{name="%s",hostname="web",queue_name="q"} 1`, strings.Repeat("ä", 100)))
}

// TestCapturedStreamIsCounted feeds the exporter what real workers sent and compares with a plain
// count of the events.
func TestCapturedStreamIsCounted(t *testing.T) {
	b := newBench(t)
	want := map[string]int{}
	for _, line := range capturedRedis(t) {
		b.tracker.message([]byte(line.Raw), wire.Format{Enveloped: true})
		for _, kind := range line.EventTypes {
			if kind != "task-progress" {
				want[kind]++
			}
		}
	}
	b.wait(waitForMore)
	sums := map[string]int{}
	lines := bufio.NewScanner(strings.NewReader(b.metricsText()))
	for lines.Scan() {
		var n int
		name, _, _ := strings.Cut(lines.Text(), "{")
		if state, found := strings.CutPrefix(name, "celery_task_"); found && strings.HasSuffix(state, "_total") {
			if _, err := fmt.Sscan(lines.Text()[strings.LastIndexByte(lines.Text(), ' ')+1:], &n); err != nil {
				t.Fatal(err)
			}
			sums["task-"+strings.TrimSuffix(state, "_total")] += n
		}
	}
	for kind, n := range want {
		if strings.HasPrefix(kind, "task-") && sums[kind] != n {
			t.Errorf("%s: %d counted, want %d", kind, sums[kind], n)
		}
	}
}

func TestPickleIsRefusedAndTheLogSaysWhatToDoOnce(t *testing.T) {
	b := newBench(t)
	var log bytes.Buffer
	b.tracker.log = slog.New(slog.NewTextHandler(&log, nil))
	for range 2 {
		b.tracker.message([]byte("\x80\x04}."),
			wire.Format{ContentType: "application/x-python-serialize", ContentEncoding: "binary"})
	}
	b.want("celery_exporter_malformed_total", `celery_exporter_malformed_total{reason="content_type"} 2`)
	if got := strings.Count(log.String(), "set event_serializer"); got != 1 {
		t.Errorf("said %d times what to do, want once: %s", got, log.String())
	}
}
