// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func difference(want, got map[string]float64) string { return cmp.Diff(want, got) }

var versions = []string{"celery-oldest", "celery-newest"}

// events are the settings with which workers and clients send events of tasks.
var events = map[string]any{"worker_send_task_events": true, "task_send_sent_event": true}

// everything is one of each thing that can happen to a task, and what must be counted for it.
func everything() ([]order, map[string]float64) {
	orders := []order{
		{"proj.ok", 5, nil},
		{"proj.ok", 2, map[string]any{"queue": "emails"}},
		{"proj.fail", 3, nil},
		{"proj.flaky", 1, nil},
		{"proj.rejected", 1, nil},
		{"proj.hard", 1, nil},
		{"proj.killed", 1, nil},
		{"proj.gone", 1, nil},
		{"proj.ok", 1, map[string]any{"queue": "emails", "countdown": 2}},
	}
	want := map[string]float64{
		"sent{proj.ok,celery}": 5, "received{proj.ok,celery}": 5, "started{proj.ok,celery}": 5,
		"succeeded{proj.ok,celery}": 5,
		"sent{proj.ok,emails}":      3, "received{proj.ok,emails}": 3, "started{proj.ok,emails}": 3,
		"succeeded{proj.ok,emails}": 3,
		"sent{proj.fail,celery}":    3, "received{proj.fail,celery}": 3, "started{proj.fail,celery}": 3,
		"failed{proj.fail,celery,ValueError}": 3,
		"sent{proj.flaky,celery}":             3, "received{proj.flaky,celery}": 3, "started{proj.flaky,celery}": 3,
		"retried{proj.flaky,celery}": 2, "succeeded{proj.flaky,celery}": 1,
		"sent{proj.rejected,celery}": 1, "received{proj.rejected,celery}": 1, "started{proj.rejected,celery}": 1,
		"rejected{proj.rejected,celery}": 1,
		"sent{proj.hard,celery}":         1, "received{proj.hard,celery}": 1, "started{proj.hard,celery}": 1,
		"failed{proj.hard,celery,TimeLimitExceeded}": 1,
		"sent{proj.killed,celery}":                   1, "received{proj.killed,celery}": 1, "started{proj.killed,celery}": 1,
		"failed{proj.killed,celery,WorkerLostError}": 1,
		"sent{proj.gone,celery}":                     1, "failed{proj.gone,celery,NotRegistered}": 1,
	}
	addHistograms(want)
	return orders, want
}

// addHistograms adds what the histograms must have counted: runtimes of successes and failures that
// began, waits of starts.
func addHistograms(want map[string]float64) {
	for _, tc := range []struct {
		task                string
		runs, failed, waits float64
	}{
		{"proj.ok,celery", 5, 0, 5}, {"proj.ok,emails", 3, 0, 3}, {"proj.fail,celery", 0, 3, 3},
		{"proj.flaky,celery", 1, 0, 3},
		{"proj.rejected,celery", 0, 0, 1}, {"proj.hard,celery", 0, 1, 1}, {"proj.killed,celery", 0, 1, 1},
	} {
		for name, n := range map[string]float64{
			"runtime": tc.runs, "failed_runtime": tc.failed, "queue_wait_time": tc.waits,
		} {
			if n > 0 {
				want[fmt.Sprintf("%s{%s}", name, tc.task)] = n
			}
		}
	}
}

func TestCountersEqualWhatHappened(t *testing.T) {
	parts(t)
	for _, version := range versions {
		t.Run("redis/"+version, func(t *testing.T) {
			port := freePort(t)
			startRedis(t, port)
			countEverything(t, version, fmt.Sprintf("redis://127.0.0.1:%d/1", port))
		})
	}
	server := newRabbit(t)
	server.start(t)
	for _, version := range versions {
		t.Run("rabbitmq/"+version, func(t *testing.T) { countEverything(t, version, server.URL("shop")) })
	}
}

func countEverything(t *testing.T, version, broker string) {
	c := celery{t, version, broker, events}
	c.worker("w1@host", "-c", "3", "-Q", "celery,emails")
	e := startReady(t, broker)
	orders, want := everything()
	if broker[:5] == "redis" {
		// RabbitMQ may drop by itself what is expired.
		orders = append(orders, order{"proj.slow", 1, map[string]any{"expires": -10}})
		want["sent{proj.slow,celery}"], want["revoked{proj.slow,celery}"] = 1, 1
	}
	if version == "celery-newest" {
		// Since 5.7 a worker also reports a rejected task that is not queued again as failed.
		want["failed{proj.rejected,celery,Reject}"], want["failed_runtime{proj.rejected,celery}"] = 1, 1
	}
	c.publish(orders...)
	e.becomes("celery_task_", want)
	e.becomes("celery_active_", activeCounts(broker, "celery", "emails"))
	if got := e.counts("celery_exporter_malformed"); len(got) != 0 {
		t.Errorf("malformed: %v", got)
	}
}

func activeCounts(broker string, queues ...string) map[string]float64 {
	want := map[string]float64{}
	for _, queue := range queues {
		want["worker_count{"+queue+"}"] = 1
		want["process_count{"+queue+"}"] = 3
		if broker[:4] == "amqp" {
			want["consumer_count{"+queue+"}"] = 1
		}
	}
	return want
}

func TestWithoutTaskSentTheQueueOfTheWorkerCounts(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	broker := fmt.Sprintf("redis://127.0.0.1:%d/0", port)
	c := celery{t, "celery-newest", broker, map[string]any{"worker_send_task_events": true}}
	c.worker("w@host", "-P", "solo", "-Q", "emails")
	e := startReady(t, broker)
	e.becomes("celery_active_worker_count", map[string]float64{"{emails}": 1})
	c.publish(order{"proj.ok", 4, map[string]any{"queue": "emails"}})
	e.becomes("celery_task_", map[string]float64{
		"received{proj.ok,emails}": 4, "started{proj.ok,emails}": 4, "succeeded{proj.ok,emails}": 4,
		"runtime{proj.ok,emails}": 4,
	})
}

func TestATaskThatIsTerminatedIsRevoked(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	broker := fmt.Sprintf("redis://127.0.0.1:%d/0", port)
	e := startReady(t, broker)
	c := celery{t, "celery-newest", broker, events}
	c.worker("w@host", "-c", "1")
	ids := c.publish(order{"proj.slow", 1, nil})
	eventually(t, "the task runs", func() bool { return e.counts("celery_task_")["started{proj.slow,celery}"] == 1 })
	c.python("revoke", ids[0])
	e.becomes("celery_task_revoked", map[string]float64{"{proj.slow,celery}": 1})
}

func TestTasksThatRunAtTheStartGetTheirNames(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	broker := fmt.Sprintf("redis://127.0.0.1:%d/0", port)
	c := celery{t, "celery-newest", broker, events}
	c.worker("w@host", "-c", "2", "-Q", "celery,emails")
	c.publish(order{"proj.slow", 2, map[string]any{"queue": "emails", "args": []any{15}}},
		order{"proj.slow", 1, map[string]any{"args": []any{15}}})
	time.Sleep(2 * time.Second)
	e := startReady(t, broker)
	e.becomes("celery_task_succeeded", map[string]float64{"{proj.slow,emails}": 2, "{proj.slow,celery}": 1})
}

func TestEventsAreEnabledIfAskedFor(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	broker := fmt.Sprintf("redis://127.0.0.1:%d/0", port)
	mute := celery{t, "celery-newest", broker, map[string]any{}}
	mute.worker("mute@host", "-c", "1")
	e := startReady(t, broker)
	eventually(t, "the mute worker is found", func() bool {
		mute.publish(order{"proj.ok", 1, nil})
		return e.counts("celery_exporter_workers")["{off}"] == 1
	})
	if got := e.one("celery_exporter_task_events_enabled"); got != 0 {
		t.Errorf("task events enabled = %v, want 0", got)
	}
	e.terminate()
	e = startReady(t, broker, "--enable-events")
	eventually(t, "the worker sends events", func() bool {
		mute.publish(order{"proj.ok", 1, nil})
		return e.counts("celery_task_")["received{proj.ok,celery}"] > 0
	})
	for line := range bytes.Lines(e.output()) {
		if bytes.Contains(line, []byte("mute@host")) && !bytes.Contains(line, []byte("level=DEBUG")) {
			t.Errorf("the log names workers that are asked again and again: %s", line)
		}
	}
}

func TestAKilledWorkerIsLost(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	broker := fmt.Sprintf("redis://127.0.0.1:%d/0", port)
	e := startReady(t, broker, "--worker-timeout", "8", "--purge-offline-worker-metrics", "16")
	c := celery{t, "celery-newest", broker, events}
	worker := c.worker("w@host", "-c", "1")
	eventually(t, "the worker is up", func() bool { return e.counts("celery_worker_up")["{}"] == 1 })
	worker.stop(9)
	eventually(t, "the worker is lost", func() bool {
		return e.one("celery_worker_lost_total") == 1 && e.counts("celery_worker_up")["{}"] == 0
	})
	eventually(t, "its series are purged", func() bool { return e.scrape()["celery_worker_up"] == nil })
	if got := e.one("celery_worker_lost_total"); got != 1 {
		t.Errorf("lost workers = %v, want 1", got)
	}
}

func TestQueueLengthCountsAllPrioritiesAndUnacked(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	broker := fmt.Sprintf("redis://127.0.0.1:%d/0", port)
	e := startReady(t, broker, "-Q", "prio")
	c := celery{t, "celery-newest", broker, events}
	for priority := range 10 {
		c.publish(order{"proj.slow", 1, map[string]any{"queue": "prio", "priority": priority}})
	}
	e.becomes("celery_queue_length", map[string]float64{"{prio}": 10})
	c.worker("w@host", "-c", "1", "-Q", "prio", "--prefetch-multiplier", "4")
	// Of the ten, one runs, and was acknowledged when it began; the worker took some more, and the
	// rest waits.
	eventually(t, "the worker has taken some", func() bool {
		waiting, taken := e.counts("celery_queue_length")["{prio}"], e.counts("celery_unacked")["_messages{}"]
		return waiting+taken == 9 && taken >= 1
	})
}
