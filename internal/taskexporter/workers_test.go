// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"fmt"
	"testing"
	"time"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

func beat(node string, active, processed int) string {
	return event("worker-heartbeat", node, 0, fmt.Sprintf(`"active": %d, "processed": %d, "freq": 2.0`, active, processed))
}

func TestTwoWorkersOfAHostAreOneSeries(t *testing.T) {
	b := newBench(t)
	b.send(beat("w1@host", 5, 9), beat("w2@host", 3, 9))
	b.want("celery_worker_tasks_active", `celery_worker_tasks_active{hostname="host"} 8`)
	b.send(event("worker-offline", "w1@host", 0, ""))
	b.want("celery_worker_tasks_active", `celery_worker_tasks_active{hostname="host"} 3`)
	b.want("celery_worker_up", `celery_worker_up{hostname="host"} 1`)
}

func TestAKilledWorkerIsLostAndLaterPurged(t *testing.T) {
	b := newBench(t)
	b.send(beat("w@host", 1, 1), event("task-sent", "c@web", 0, sentTo("u", "n", "q")), event("task-started", "w@host", 0, of("u")))
	b.wait(300 * time.Second)
	b.want("celery_worker_up", `celery_worker_up{hostname="host"} 1`)
	b.wait(time.Second)
	b.want("celery_worker_up")
	b.want("celery_worker_lost", `celery_worker_lost_total 1`)
	b.want("celery_task_started", `celery_task_started_total{name="n",hostname="host",queue_name="q"} 1`)
	b.wait(300 * time.Second)
	b.want("celery_task_started")
	b.want("celery_worker_lost", `celery_worker_lost_total 1`)
	b.want("celery_task_sent", `celery_task_sent_total{name="n",hostname="web",queue_name="q"} 1`)
}

func TestAWorkerThatSaysGoodbyeIsNotLost(t *testing.T) {
	b := newBench(t)
	b.send(beat("w@host", 1, 1), event("worker-offline", "w@host", 0, ""))
	b.want("celery_worker_up")
	b.wait(time.Hour)
	b.want("celery_worker_lost")
	if len(b.tracker.workers.byNode) != 0 {
		t.Error("the worker is still remembered")
	}
}

func TestWorkersAreNotLostWhileTheBrokerIsAway(t *testing.T) {
	b := newBench(t)
	b.send(beat("w@host", 1, 1))
	b.connected.Store(false)
	b.wait(time.Hour)
	b.connected.Store(true)
	b.tracker.workers.refresh(b.now)
	b.wait(299 * time.Second)
	b.want("celery_worker_lost")
	b.want("celery_worker_up", `celery_worker_up{hostname="host"} 1`)
}

func TestZeroTurnsTimeoutAndPurgeOff(t *testing.T) {
	b := newBench(t, "--worker-timeout", "0", "--purge-offline-worker-metrics", "0")
	b.send(beat("w@host", 1, 1), event("task-sent", "c@web", 0, sentTo("u", "n", "q")))
	b.wait(1000 * time.Hour)
	b.want("celery_worker_up", `celery_worker_up{hostname="host"} 1`)
	b.want("celery_task_sent", `celery_task_sent_total{name="n",hostname="web",queue_name="q"} 1`)
}

func TestAWorkersClockDoesNotMatter(t *testing.T) {
	b := newBench(t)
	b.send(event("worker-heartbeat", "w@host", -3600, `"active": 1`), event("worker-heartbeat", "w@ahead", 3600, `"active": 1`))
	b.wait(time.Second)
	b.want("celery_worker_up", `celery_worker_up{hostname="ahead"} 1`, `celery_worker_up{hostname="host"} 1`)
}

func TestIdleClientsArePurgedAfterADay(t *testing.T) {
	b := newBench(t)
	b.send(event("task-sent", "c@web", 0, sentTo("u", "n", "q")))
	b.wait(24*time.Hour + time.Minute)
	b.want("celery_task_sent")
	if kept := b.tracker.store.Kept(); kept != 0 {
		t.Errorf("%d series kept", kept)
	}
}

func TestAHeartbeatOnDemandKeepsTheActiveTasks(t *testing.T) {
	b := newBench(t)
	b.send(beat("w@host", 4, 4), event("worker-heartbeat", "w@host", 0, `"freq": 5`))
	b.want("celery_worker_tasks_active", `celery_worker_tasks_active{hostname="host"} 4`)
}

func TestWorkersWithoutTaskEventsAreFound(t *testing.T) {
	b := newBench(t)
	b.send(beat("mute@a", 0, 0), beat("idle@b", 0, 7), beat("good@c", 0, 0))
	b.want("celery_exporter_workers", `celery_exporter_workers{task_events="unknown"} 3`)
	for i := range silentBeats {
		b.send(event("task-started", "good@c", 0, of("u")))
		b.send(beat("mute@a", 1, i+1), beat("idle@b", 0, 7), beat("good@c", 1, i+1))
	}
	b.want("celery_exporter_workers",
		`celery_exporter_workers{task_events="off"} 1`, `celery_exporter_workers{task_events="on"} 1`, `celery_exporter_workers{task_events="unknown"} 1`)
	b.want("celery_exporter_task_events_enabled")
	got := b.tracker.workers.unheard(b.now, time.Minute)
	if fmt.Sprint(got) != "[idle@b mute@a]" {
		t.Errorf("workers to be told = %v", got)
	}
	if again := b.tracker.workers.unheard(b.now, time.Minute); len(again) != 0 {
		t.Errorf("told again at once: %v", again)
	}
	b.send(event("task-started", "mute@a", 0, of("v")), beat("mute@a", 1, 5))
	b.want("celery_exporter_task_events_enabled", "celery_exporter_task_events_enabled 1")
}

func TestQueuesCountWorkersAndProcesses(t *testing.T) {
	b := newBench(t, "-Q", "forced")
	b.send(beat("w1@a", 0, 0), beat("w2@b", 0, 0))
	queue := []wire.Queue{{Name: "emails"}}
	b.tracker.learnQueues(map[string][]wire.Queue{"w1@a": queue, "w2@b": queue, "stranger@c": queue})
	b.tracker.workers.setProcesses("w1@a", 4)
	b.tracker.workers.setProcesses("w2@b", 2)
	b.want("celery_active_worker_count", `celery_active_worker_count{queue_name="emails"} 2`)
	b.want("celery_active_process_count", `celery_active_process_count{queue_name="emails"} 6`)
	b.send(event("worker-offline", "w1@a", 0, ""))
	b.want("celery_active_process_count", `celery_active_process_count{queue_name="emails"} 2`)
}
