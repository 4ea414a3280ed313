// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"bytes"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

// burst publishes events as fast as it goes.
func burst(t *testing.T, client *redis.Client, events int) {
	t.Helper()
	for sent := 0; sent < events; {
		pipe := client.Pipeline()
		for range min(1000, events-sent) {
			pipe.Publish(t.Context(), "/0.celeryev/task.started", fmt.Sprintf(goodEvent, fmt.Sprint("u", sent)))
			sent++
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRedisEndsUsForAFullBuffer(t *testing.T) {
	port := freePort(t)
	startRedis(t, port, "--client-output-buffer-limit", "pubsub 1mb 1mb 1")
	e := startReady(t, fmt.Sprintf("redis://127.0.0.1:%d/0", port))
	client := redisAt(t, port, "")
	e.hears(client)
	before := e.counts("celery_exporter_events")["{task-started}"]
	e.Signal(syscall.SIGSTOP)
	burst(t, client, 60_000) // about 15 MB; the kernel's buffers hold a few
	e.Signal(syscall.SIGCONT)
	eventually(t, "the loss is reported", func() bool {
		return e.one("celery_exporter_reconnects_total") == 1 &&
			bytes.Contains(e.output(), []byte("does not work, trying again"))
	})
	if got := e.counts("celery_exporter_events")["{task-started}"]; got < before {
		t.Errorf("%v events are counted, less than before, %v", got, before)
	}
	e.hears(client)
}

func TestWhatIsDroppedIsCounted(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	e := startReady(t, fmt.Sprintf("redis://127.0.0.1:%d/0", port), "--max-backlog-bytes", "65536")
	const sent = 100_000
	burst(t, redisAt(t, port, ""), sent)
	eventually(t, "each message is counted or counted as dropped", func() bool {
		return e.one("celery_exporter_messages_total")+e.counts("celery_exporter_dropped")["{backlog}"] == sent
	})
	if e.counts("celery_exporter_dropped")["{backlog}"] == 0 {
		t.Error("nothing was dropped, so nothing is shown")
	}
	if got := e.one("celery_exporter_backlog_bytes"); got != 0 {
		t.Errorf("%v bytes of backlog are left", got)
	}
}

func TestAWrongPasswordForRabbitMQIsReportedAndNotShown(t *testing.T) {
	server := newRabbit(t)
	server.start(t)
	e := start(t, strings.Replace(server.URL("shop"), "guest:guest", "guest:wrong-secret", 1))
	eventually(t, "the refusal is reported", func() bool {
		return e.one("celery_exporter_broker_errors_total") >= 1 && bytes.Contains(e.output(), []byte("trying again"))
	})
	if bytes.Contains(e.output(), []byte("secret")) {
		t.Error("the password is in the log")
	}
	if e.status("/ready") == 200 || e.status("/health") != 200 {
		t.Errorf("/ready = %d, /health = %d", e.status("/ready"), e.status("/health"))
	}
	missing := start(t, server.URL("no-such-host"))
	eventually(t, "the missing virtual host is reported", func() bool {
		return bytes.Contains(missing.output(), []byte("trying again"))
	})
}
