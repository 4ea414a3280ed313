// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"obstack.dev/obstack/internal/taskexporter/broker"
	"obstack.dev/obstack/internal/taskexporter/wire"
)

// live is one worker's life between two moments: heartbeats, a reply, and some tasks.
func (b *bench) live(node string, tasks int) {
	b.send(beat(node, 1, tasks))
	b.tracker.learnQueues(map[string][]wire.Queue{node: {{Name: "celery"}, {Name: node + ".dq"}, {Name: "own-" + node}}})
	b.tracker.workers.setProcesses(node, 4, b.now)
	for i := range tasks {
		// Each task is another one, so that as many are kept before the churn as after it.
		uuid := fmt.Sprint(node, i, b.now)
		id := of(uuid)
		b.send(event("task-received", node, 0, named(uuid, fmt.Sprint("task", i))), event("task-started", node, 0, id))
		b.send(event("task-succeeded", node, 1, id+`, "runtime": 0.1`),
			event("task-failed", node, 1, id+`, "exception": "E()"`))
	}
	sent := fmt.Sprint("sent", node, b.now)
	b.send(event("task-sent", "client@"+node, 0, sentTo(sent, "task0", "celery")),
		event("task-revoked", node, 0, of(sent)))
}

// TestChurnLeavesNothing: after 5,000 workers that came and went, series and memory are as before.
func TestChurnLeavesNothing(t *testing.T) {
	b := newBench(t, "--purge-idle-client-metrics", "3600")
	steady := func() {
		for i := range 20 {
			b.live(fmt.Sprintf("steady@steady%d", i), 6)
		}
		// The broker has none of the workers' own queues any more.
		for _, name := range b.tracker.queues.due(b.now) {
			if strings.HasPrefix(name, "own-w@") {
				b.tracker.queues.set([]string{name}, []broker.Depth{{Missing: true}}, b.now)
			}
		}
		b.wait(30 * time.Second)
	}
	measure := func() (series int, heap uint64) {
		for range 130 { // more than the hour of clients
			steady()
		}
		return strings.Count(b.metricsText(), "\n"), heapSize()
	}
	seriesBefore, heapBefore := measure()
	for i := range 5000 {
		node := fmt.Sprintf("w@worker-%d", i)
		b.live(node, 3)
		b.send(event("worker-offline", node, 0, ""), event("task-succeeded", node, 1, of("late")+`, "runtime": 0.1`))
		if i%100 == 0 {
			steady()
		}
	}
	seriesPeak, heapPeak := strings.Count(b.metricsText(), "\n"), heapSize()
	seriesAfter, heapAfter := measure()
	runtime.KeepAlive(b)
	t.Logf("series %d, %d at the peak, %d after; heap %d KiB, %d at the peak, %d after",
		seriesBefore, seriesPeak, seriesAfter, heapBefore>>10, heapPeak>>10, heapAfter>>10)
	if seriesPeak < 10*seriesBefore {
		t.Error("the churn made too few series to show anything")
	}
	if float64(seriesAfter) > 1.1*float64(seriesBefore) {
		t.Errorf("%d series, %d before the churn", seriesAfter, seriesBefore)
	}
	if float64(heapAfter) > 1.1*float64(heapBefore) {
		t.Errorf("%d KiB of heap, %d before the churn", heapAfter>>10, heapBefore>>10)
	}
}
