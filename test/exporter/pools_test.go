// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"fmt"
	"maps"
	"syscall"
	"testing"
)

func TestPoolsOfOtherKinds(t *testing.T) {
	parts(t)
	for pool, processes := range map[string]float64{"gevent": 4, "threads": 4, "solo": 1} {
		t.Run(pool, func(t *testing.T) {
			port := freePort(t)
			startRedis(t, port)
			broker := fmt.Sprintf("redis://127.0.0.1:%d/0", port)
			c := celery{t, "celery-newest", broker, events}
			c.worker("w@host", "-P", pool, "-c", "4", "-Q", "celery,emails")
			e := startReady(t, broker)
			c.publish(order{"proj.ok", 20, nil}, order{"proj.ok", 10, map[string]any{"queue": "emails"}},
				order{"proj.fail", 5, nil})
			e.becomes("celery_task_", map[string]float64{
				"sent{proj.ok,celery}": 20, "received{proj.ok,celery}": 20, "started{proj.ok,celery}": 20,
				"succeeded{proj.ok,celery}": 20,
				"runtime{proj.ok,celery}":   20, "queue_wait_time{proj.ok,celery}": 20,
				"sent{proj.ok,emails}": 10, "received{proj.ok,emails}": 10, "started{proj.ok,emails}": 10,
				"succeeded{proj.ok,emails}": 10,
				"runtime{proj.ok,emails}":   10, "queue_wait_time{proj.ok,emails}": 10,
				"sent{proj.fail,celery}": 5, "received{proj.fail,celery}": 5, "started{proj.fail,celery}": 5,
				"failed{proj.fail,celery,ValueError}": 5, "failed_runtime{proj.fail,celery}": 5,
				"queue_wait_time{proj.fail,celery}": 5,
			})
			e.becomes("celery_active_", map[string]float64{
				"worker_count{celery}": 1, "worker_count{emails}": 1, "process_count{celery}": processes,
				"process_count{emails}": processes,
			})
		})
	}
}

// A busy solo worker replies to no questions. It is there all the same.
func TestABusySoloWorkerStillCounts(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	broker := fmt.Sprintf("redis://127.0.0.1:%d/0", port)
	c := celery{t, "celery-newest", broker, events}
	c.worker("w@host", "-P", "solo")
	e := startReady(t, broker)
	want := map[string]float64{"worker_count{celery}": 1, "process_count{celery}": 1}
	e.becomes("celery_active_", want)
	c.publish(order{"proj.slow", 1, map[string]any{"args": []any{50}}})
	eventually(t, "the task is received", func() bool {
		return e.counts("celery_task_received")["{proj.slow,celery}"] == 1 ||
			e.counts("celery_task_sent")["{proj.slow,celery}"] == 1
	})
	eventually(t, "it does not reply", func() bool { return e.one("celery_exporter_worker_replies_missing_total") > 0 })
	e.becomes("celery_active_", want)
	e.becomes("celery_task_succeeded", map[string]float64{"{proj.slow,celery}": 1})
}

func TestAcksLateAndPrefetch(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	broker := fmt.Sprintf("redis://127.0.0.1:%d/0", port)
	e := startReady(t, broker)
	conf := map[string]any{"task_acks_late": true, "worker_prefetch_multiplier": 1}
	maps.Copy(conf, events)
	c := celery{t, "celery-newest", broker, conf}
	c.worker("w@host", "-c", "1")
	c.publish(order{"proj.slow", 3, map[string]any{"args": []any{6}}})
	// The one that runs is not acknowledged before its end, and nothing is fetched in advance: all
	// others wait or are done.
	eventually(t, "one is taken", func() bool {
		waiting, done := e.counts("celery_queue_length")["{celery}"], e.counts("celery_task_succeeded")["{proj.slow,celery}"]
		return waiting+done == 2 && e.counts("celery_unacked")["_messages{}"] == 1
	})
	e.becomes("celery_task_succeeded", map[string]float64{"{proj.slow,celery}": 3})
	e.becomes("celery_queue_length", map[string]float64{})
	e.becomes("celery_unacked", map[string]float64{})
}

// A task whose worker dies is delivered to another one. It was sent once, and waited once.
func TestATaskIsDeliveredAgainWhenItsWorkerDies(t *testing.T) {
	server := newRabbit(t)
	server.start(t)
	e := startReady(t, server.URL("shop"))
	conf := map[string]any{"task_acks_late": true, "worker_prefetch_multiplier": 1}
	maps.Copy(conf, events)
	c := celery{t, "celery-newest", server.URL("shop"), conf}
	first := c.worker("w1@host-a", "-c", "1")
	c.publish(order{"proj.slow", 1, map[string]any{"args": []any{12}}})
	e.becomes("celery_task_started", map[string]float64{"{proj.slow,celery}": 1})
	first.stop(syscall.SIGKILL)
	c.worker("w2@host-b", "-c", "1")
	e.becomes("celery_task_", map[string]float64{
		"sent{proj.slow,celery}": 1, "received{proj.slow,celery}": 2, "started{proj.slow,celery}": 2,
		"succeeded{proj.slow,celery}": 1,
		"runtime{proj.slow,celery}":   1, "queue_wait_time{proj.slow,celery}": 1,
	})
}

func TestATaskIsRevokedBeforeItRuns(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	broker := fmt.Sprintf("redis://127.0.0.1:%d/0", port)
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			e := startReady(t, broker)
			c := celery{t, version, broker, events}
			c.worker(version+"@host", "-c", "1")
			// Revoked before it is sent, because whatever is waited for can come too late on a busy
			// machine. The worker does not even say that it received it.
			const id = "5ba8ed9e-0000-4000-8000-000000000001"
			c.python("revoke-early", id)
			c.publish(order{"proj.ok", 1, map[string]any{"task_id": id}})
			e.becomes("celery_task_", map[string]float64{"sent{proj.ok,celery}": 1, "revoked{proj.ok,celery}": 1})
		})
	}
}
