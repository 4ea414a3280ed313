// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"time"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

// ofWorker handles the life of a worker: online, heartbeats, offline.
func (t *tracker) ofWorker(e *wire.Event) {
	from := t.workers.get(e.Hostname)
	if from == nil {
		// Its goodbye is all that we would ever know of it.
		if e.Type == wire.WorkerOffline {
			return
		}
		node := string(t.labels.cut(e.Hostname))
		if from = t.workers.add(node, t.host(e), t.now); from == nil {
			t.metrics.droppedWorkers.Inc()
			return
		}
		t.metrics.wakeControl()
	}
	if e.Type == wire.WorkerOffline {
		t.workers.leave(from)
		return
	}
	// Its queues and its pool may have changed while it was restarted.
	if e.Type == wire.WorkerOnline {
		t.metrics.wakeControl()
	}
	t.workers.beat(from, e, t.now)
}

// known records a task that a worker told of when asked.
func (t *tracker) known(k wire.KnownTask) {
	if k.ID == "" {
		return
	}
	task := t.tasks.touch(newTaskID([]byte(k.ID)))
	if task.name == "" {
		task.name = t.labels.label([]byte(k.Name))
	}
	if task.queue == "" {
		task.queue = t.workers.byNode[k.Hostname].queueOf(k.DeliveryInfo.RoutingKey)
	}
}

// tick does what time demands, about once a second; connected tells whether workers can be heard at all.
func (t *tracker) tick(now time.Time, connected bool) {
	t.now = now
	for {
		o, due := t.waiting.due(now)
		if !due {
			break
		}
		t.settle(o)
	}
	// Nobody can be heard while the broker is away, which is not the workers' fault.
	if !connected {
		return
	}
	lost, emptied := t.workers.expire(now, t.options.WorkerTimeout, t.options.PurgeAfter)
	for _, k := range lost {
		t.metrics.lost.Inc()
		t.log.Warn("worker lost: no heartbeat within the timeout", "worker", k.node, "timeout", t.options.WorkerTimeout)
	}
	for _, host := range append(emptied, t.hosts.idle(now, t.options.PurgeClientsAfter)...) {
		// A host may have workers of other names, or clients, that are alive.
		if t.hosts.heardWithin(host, now, t.options.PurgeAfter) || t.workers.hasHost(host) {
			continue
		}
		t.hosts.forget(host)
		t.store.PurgeHost(host)
		t.log.Debug("metrics purged", "hostname", host)
	}
}
