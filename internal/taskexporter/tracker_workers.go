// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"runtime/debug"
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
		if from = t.workers.add(node, t.workerHost(e), t.now); from == nil {
			t.metrics.droppedWorkers.Inc()
			return
		}
		t.greet()
	}
	if e.Type == wire.WorkerOffline {
		t.workers.leave(from)
		return
	}
	// Its queues and its pool may have changed while it was restarted.
	if e.Type == wire.WorkerOnline {
		t.greet()
	}
	t.workers.beat(from, e, t.now)
}

// known records a task that a worker named when asked.
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

// tick does what time demands, about once a second; connected is whether workers can be heard at
// all.
func (t *tracker) tick(now time.Time, connected bool) {
	t.now = now
	t.store.Expire(now)
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
	for _, k := range t.workers.expire(now, t.options.WorkerTimeout, t.options.PurgeAfter) {
		if t.handover.counting.Load() {
			t.metrics.lost.Inc()
		}
		t.log.Warn("worker lost: no heartbeat within the timeout", "worker", k.node, "timeout", t.options.WorkerTimeout)
	}
	// A host's series outlive its last worker: children send their last events after the worker's
	// goodbye.
	if idle := t.workerHosts.expire(now, t.options.PurgeAfter, t.workers.onHosts); len(idle) > 0 {
		t.release(t.store.PurgeWorkers(idle))
		t.labels.empty() // of names that nobody uses any more
		t.log.Debug("metrics of workers' hosts purged", "hosts", len(idle))
	}
	if idle := t.clientHosts.expire(now, t.options.PurgeClientsAfter, func() map[string]bool {
		return nil
	}); len(idle) > 0 {
		t.store.PurgeClients(idle)
		t.log.Debug("metrics of clients' hosts purged", "hosts", len(idle))
	}
	t.queues.expire(now, t.options.PurgeAfter, t.options.PurgeClientsAfter, func() map[string]queueWorkers {
		return t.workers.picture(now).queues
	})
}

// releaseAfter is how many purged series are worth a collection of garbage, about 500 KiB.
const releaseAfter = 10_000

// release gives memory back to the system after many series were purged. Go would hold it for
// minutes, and a process with little to do collects its garbage every other one.
func (t *tracker) release(purged int) {
	if t.purged += purged; t.purged >= releaseAfter {
		t.purged = 0
		go debug.FreeOSMemory()
	}
}
