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
	b.send(beat("w@host", 1, 1), event("task-sent", "c@web", 0, sentTo("u", "n", "q")),
		event("task-started", "w@host", 0, of("u")))
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
		t.Error("the worker is still known")
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
	b.send(event("worker-heartbeat", "w@host", -3600, `"active": 1`),
		event("worker-heartbeat", "w@ahead", 3600, `"active": 1`))
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
		`celery_exporter_workers{task_events="off"} 1`, `celery_exporter_workers{task_events="on"} 1`,
		`celery_exporter_workers{task_events="unknown"} 1`)
	b.want("celery_exporter_task_events_enabled")
	got := b.tracker.workers.unheard(b.now, time.Minute)
	if fmt.Sprint(got) != "[idle@b mute@a]" {
		t.Errorf("workers to be asked = %v", got)
	}
	if again := b.tracker.workers.unheard(b.now, time.Minute); len(again) != 0 {
		t.Errorf("asked again at once: %v", again)
	}
	b.send(event("task-started", "mute@a", 0, of("v")), beat("mute@a", 1, 5))
	b.want("celery_exporter_task_events_enabled", "celery_exporter_task_events_enabled 1")
}

func TestQueuesCountWorkersAndProcesses(t *testing.T) {
	b := newBench(t, "-Q", "forced")
	b.send(beat("w1@a", 0, 0), beat("w2@b", 0, 0))
	queue := []wire.Queue{{Name: "emails"}}
	b.tracker.learnQueues(map[string][]wire.Queue{"w1@a": queue, "w2@b": queue, "foreign@c": queue})
	b.tracker.workers.setProcesses("w1@a", 4, b.now)
	b.tracker.workers.setProcesses("w2@b", 2, b.now)
	b.want("celery_active_worker_count", `celery_active_worker_count{queue_name="emails"} 2`)
	b.want("celery_active_process_count", `celery_active_process_count{queue_name="emails"} 6`)
	b.send(event("worker-offline", "w1@a", 0, ""))
	b.want("celery_active_process_count", `celery_active_process_count{queue_name="emails"} 2`)
}

// TestSeriesOfDeadWorkersAreForgotten whatever the last sign of them was.
func TestSeriesOfDeadWorkersAreForgotten(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(*bench)
	}{
		{"killed", func(*bench) {}},
		{"killed, and a child's event comes later", func(b *bench) {
			b.wait(500 * time.Second)
			b.send(event("task-succeeded", "w@host", 500, of("u")))
		}},
		{"stopped", func(b *bench) { b.send(event("worker-offline", "w@host", 0, "")) }},
		{"stopped, and a task ends afterwards", func(b *bench) {
			b.send(event("worker-offline", "w@host", 0, ""), event("task-succeeded", "w@host", 1, of("u")))
		}},
		{"stopped, and a task ends long afterwards", func(b *bench) {
			b.send(event("worker-offline", "w@host", 0, ""))
			b.wait(700 * time.Second)
			b.send(event("task-succeeded", "w@host", 1, of("u")))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.send(beat("w@host", 1, 1), event("task-received", "w@host", 0, named("u", "n")),
				event("task-started", "w@host", 0, of("u")))
			tc.end(b)
			// By what was heard last; each sweep looks every ten seconds.
			for range 62 {
				b.wait(10 * time.Second)
			}
			b.want("celery_task_")
			b.want("celery_worker_up")
			if kept := b.tracker.store.Kept(); kept != 0 {
				t.Errorf("%d series kept", kept)
			}
		})
	}
}

func TestClientsArePurgedByTheirOwnTime(t *testing.T) {
	b := newBench(t, "--purge-idle-client-metrics", "60")
	b.send(beat("w@host", 1, 1), event("task-sent", "c@host", 0, sentTo("u", "n", "q")),
		event("task-started", "w@host", 0, of("u")))
	b.wait(71 * time.Second)
	b.want("celery_task_sent")
	b.want("celery_task_started", `celery_task_started_total{name="n",hostname="host",queue_name="q"} 1`)
}

func TestClientsLeaveRoomForWorkers(t *testing.T) {
	for _, generic := range []bool{false, true} {
		var args []string
		if generic {
			args = append(args, "--generic-hostname-task-sent-metric")
		}
		b := newBench(t, args...)
		for i := range maxHosts + 1 {
			b.send(event("task-sent", fmt.Sprintf("c@web%d", i), 0, sentTo("u", "n", "q")))
		}
		b.send(beat("w@host", 1, 1), event("task-started", "w@host", 0, of("u")))
		b.want("celery_task_started", `celery_task_started_total{name="n",hostname="host",queue_name="q"} 1`)
		if generic {
			b.want("celery_task_sent",
				fmt.Sprintf(`celery_task_sent_total{name="n",hostname="generic",queue_name="q"} %d`, maxHosts+1))
		}
	}
}

func TestTheAgeOfTheLastHeartbeatGrows(t *testing.T) {
	b := newBench(t)
	b.send(beat("w@host", 1, 1), beat("w@other", 1, 1), beat("w@left", 1, 1), event("worker-offline", "w@left", 0, ""))
	b.wait(20 * time.Second)
	b.send(beat("w@other", 1, 1))
	b.wait(time.Second)
	b.want("celery_worker_last_heartbeat_age_seconds",
		`celery_worker_last_heartbeat_age_seconds{hostname="host"} 21`,
		`celery_worker_last_heartbeat_age_seconds{hostname="other"} 1`)
	b.connected.Store(false)
	b.want("celery_worker_last_heartbeat_age_seconds")
}

func TestHostnamesCanBeLeftOut(t *testing.T) {
	for option, want := range map[string][2]string{
		"worker": {"pod-1", "web-1"}, "node": {"emails", "generic"}, "none": {"generic", "generic"},
	} {
		b := newBench(t, "--hostname", option)
		for range 2 {
			b.send(beat("emails@pod-1", 1, 1), event("task-sent", "gen7@web-1", 0, sentTo("u", "n", "q")),
				event("task-started", "emails@pod-1", 0, of("u")))
		}
		b.want("celery_worker_up", fmt.Sprintf(`celery_worker_up{hostname=%q} 1`, want[0]))
		b.want("celery_task_started",
			fmt.Sprintf(`celery_task_started_total{name="n",hostname=%q,queue_name="q"} 2`, want[0]))
		b.want("celery_task_sent", fmt.Sprintf(`celery_task_sent_total{name="n",hostname=%q,queue_name="q"} 2`, want[1]))
	}
	if _, err := ParseOptions([]string{"--broker-url", "redis://localhost", "--hostname", "pod"}, noEnv, nil); err == nil {
		t.Error("an unknown value is accepted")
	}
}

func TestIdleSeriesOfALiveHostExpire(t *testing.T) {
	b := newBench(t, "--purge-idle-task-metrics", "3600")
	b.send(beat("w@host", 1, 1), event("task-received", "w@host", 0, named("u", "idle")))
	for range 8 {
		b.wait(10 * time.Minute)
		b.send(beat("w@host", 1, 1), event("task-received", "w@host", 0, named("v", "busy")))
	}
	b.wait(2 * waitForMore)
	b.want("celery_task_received", `celery_task_received_total{name="busy",hostname="host",queue_name="celery"} 8`)
}
