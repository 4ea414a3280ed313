// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"fmt"
	"maps"
	"strings"
	"syscall"
	"testing"
)

// TestEventsAndRepliesInOtherSerializers: workers reply to questions in the serializer of their
// tasks.
func TestEventsAndRepliesInOtherSerializers(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	server := newRabbit(t)
	server.start(t)
	for kind, broker := range map[string]string{
		"redis": fmt.Sprintf("redis://127.0.0.1:%d/0", port), "rabbitmq": server.URL("shop"),
	} {
		for _, serializer := range []string{"msgpack", "yaml"} {
			t.Run(kind+"/"+serializer, func(t *testing.T) {
				c := celery{t, "celery-newest", broker, map[string]any{
					"worker_send_task_events": true, "task_send_sent_event": true, "event_serializer": serializer,
					"task_serializer": serializer, "accept_content": []string{serializer, "json"},
				}}
				worker := c.worker("w@host", "-c", "3", "-Q", "celery,emails")
				e := startReady(t, broker)
				active := activeCounts(broker, "celery", "emails")
				// Celery fails to write its pool's statistics as YAML, which has no form for a Counter.
				maps.DeleteFunc(active, func(name string, _ float64) bool {
					return serializer == "yaml" && strings.HasPrefix(name, "process_count")
				})
				e.becomes("celery_active_", active)
				c.publish(order{"proj.ok", 4, map[string]any{"queue": "emails"}}, order{"proj.fail", 1, nil})
				e.becomes("celery_task_", map[string]float64{
					"sent{proj.ok,emails}": 4, "received{proj.ok,emails}": 4, "started{proj.ok,emails}": 4,
					"succeeded{proj.ok,emails}": 4, "runtime{proj.ok,emails}": 4, "queue_wait_time{proj.ok,emails}": 4,
					"sent{proj.fail,celery}": 1, "received{proj.fail,celery}": 1, "started{proj.fail,celery}": 1,
					"failed{proj.fail,celery,ValueError}": 1, "failed_runtime{proj.fail,celery}": 1,
					"queue_wait_time{proj.fail,celery}": 1,
				})
				if got := e.counts("celery_exporter_malformed"); len(got) != 0 {
					t.Errorf("malformed: %v", got)
				}
				e.terminate()
				worker.stop(syscall.SIGTERM) // the next one has its name
			})
		}
	}
}
