// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"obstack.dev/obstack/test/integration"
	"obstack.dev/obstack/test/testenv"
)

// live publishes a worker's life: it beats, runs three tasks and says goodbye, and the last task
// ends after that.
func live(t testing.TB, client *redis.Client, node string, leaves bool) {
	t.Helper()
	pipe := client.Pipeline()
	publish := func(kind, more string) {
		body := fmt.Sprintf(`{"type": %q, "hostname": %q, "timestamp": %d%s}`, kind, node, time.Now().Unix(), more)
		pipe.Publish(context.Background(), "/0.celeryev/"+kind, enveloped(body, ""))
	}
	publish("worker-heartbeat", `, "active": 1, "processed": 3, "freq": 2`)
	for i := range 3 {
		id := fmt.Sprintf(`, "uuid": "%s-%d-%d"`, node, i, time.Now().UnixNano())
		publish("task-received", id+fmt.Sprintf(`, "name": "proj.task%d"`, i))
		publish("task-started", id)
		if leaves && i == 2 {
			publish("worker-offline", "")
		}
		publish("task-succeeded", id+`, "runtime": 0.1`)
	}
	if _, err := pipe.Exec(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// TestChurnOfWorkersLeavesNothing: after 5,000 worker names, series and memory are back once the
// purge time has passed.
func TestChurnOfWorkersLeavesNothing(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	e := startReady(
		t,
		fmt.Sprintf("redis://127.0.0.1:%d/0", port),
		"--purge-offline-worker-metrics",
		"20",
		"--log-level",
		"INFO",
	)
	client := redisAt(t, port, "")
	steady := func() {
		for i := range 20 {
			live(t, client, fmt.Sprintf("celery@steady-%d", i), false)
		}
	}
	// As many tasks as are kept, so that this is no difference.
	for range 300 {
		steady()
	}
	series := func() float64 { return e.one("celery_exporter_series") }
	memory := func() float64 { return e.one("process_resident_memory_bytes") / (1 << 20) }
	eventually(t, "all is counted", func() bool { return e.one("celery_exporter_backlog_bytes") == 0 })
	time.Sleep(5 * time.Second)
	seriesBefore, memoryBefore := series(), memory()
	for i := range 5000 {
		live(t, client, fmt.Sprintf("celery@pod-%d", i), true)
		if i%100 == 0 {
			steady()
		}
	}
	seriesPeak, memoryPeak := series(), memory()
	began := time.Now()
	err := integration.WaitFor("series and memory are back", testenv.Timeout, func() bool {
		steady()
		time.Sleep(time.Second)
		return series() <= 1.1*seriesBefore && memory() <= 1.1*memoryBefore
	})
	if err != nil {
		t.Error(err)
	}
	t.Logf("series %v, %v at the peak, %v after; memory %.1f MiB, %.1f at the peak, %.1f after; in %v",
		seriesBefore, seriesPeak, series(), memoryBefore, memoryPeak, memory(), time.Since(began).Round(time.Second))
	if seriesPeak < 10*seriesBefore {
		t.Error("the churn made too few series to show anything")
	}
}
