// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"obstack.dev/obstack/test/integration"
)

// redisAt is a client of a Redis server, for what the test does to it.
func redisAt(t testing.TB, port int, password string) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", port), Password: password})
	t.Cleanup(func() { client.Close() })
	return client
}

// goodEvent is a task-received without kombu's base64, and badEvents are messages that are not
// understood.
const goodEvent = `{"body": "{\"type\": \"task-started\", \"hostname\": \"w@h\", \"uuid\": \"%s\", ` +
	`\"timestamp\": 1}", ` +
	`"content-type": "application/json", "content-encoding": "utf-8", "properties": {}}`

var badEvents = []string{
	"", "null", "5", "[]", "{}", "hello", "\xff\xfe",
	`{"body": "%%%", "content-type": "application/json", "properties": {"body_encoding": "base64"}}`,
	`{"body": "5", "content-type": "application/json", "properties": {}}`,
	`{"body": "{}", "content-type": "application/x-python-serialize", "properties": {}}`,
}

func send(t testing.TB, client *redis.Client, message string) {
	t.Helper()
	if err := client.Publish(context.Background(), "/0.celeryev/task.started", message).Err(); err != nil {
		t.Fatal(err)
	}
}

// hears waits until an event sent now is counted. It sends the next one when that did not come, not
// before: a test that goes on with the count must not meet a late one.
func (e *running) hears(client *redis.Client) {
	e.t.Helper()
	before := e.counts("celery_exporter_events")["{task-started}"]
	eventually(e.t, "an event is heard", func() bool {
		send(e.t, client, fmt.Sprintf(goodEvent, "u"))
		return integration.WaitFor("it", 5*time.Second, func() bool {
			return e.counts("celery_exporter_events")["{task-started}"] > before
		}) == nil
	})
}

// outage is how long a broker is away: long enough that the exporter tries again as rarely as it
// ever does.
const outage = 2 * time.Minute

// serves watches an exporter without a broker for the whole outage: it goes on to serve what it has
// counted.
func (e *running) serves(metric, series string, want float64) {
	e.t.Helper()
	for end := time.Now().Add(outage); time.Now().Before(end); time.Sleep(time.Second) {
		if got := e.counts(metric)[series]; got != want {
			e.t.Fatalf("%s%s = %v while the broker is away, want %v", metric, series, got, want)
		}
		if ready, health := e.status("/ready"), e.status("/health"); ready != http.StatusServiceUnavailable ||
			health != http.StatusOK {
			e.t.Fatalf("while the broker is away /ready = %d and /health = %d", ready, health)
		}
	}
}

func TestRedisComesLateAndGoesAway(t *testing.T) {
	t.Parallel() // with the other outage
	port := freePort(t)
	e := start(t, fmt.Sprintf("redis://127.0.0.1:%d/0", port))
	if got := e.status("/ready"); got != http.StatusServiceUnavailable {
		t.Errorf("/ready without a broker = %d", got)
	}
	if got := e.one("celery_exporter_broker_up"); got != 0 {
		t.Errorf("broker up = %v without a broker", got)
	}
	server := startRedis(t, port)
	e.ready()
	client := redisAt(t, port, "")
	e.hears(client)
	before := e.counts("celery_exporter_events")["{task-started}"]

	server.stop(syscall.SIGKILL)
	eventually(t, "the loss is noticed", func() bool { return e.status("/ready") != http.StatusOK })
	e.serves("celery_exporter_events", "{task-started}", before)
	startRedis(t, port)
	e.ready()
	e.hears(client)
	if got := e.one("celery_exporter_reconnects_total"); got != 1 {
		t.Errorf("%v reconnects, want 1", got)
	}
}

func TestRedisEndsTheSubscription(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	e := startReady(t, fmt.Sprintf("redis://127.0.0.1:%d/0", port))
	client := redisAt(t, port, "")
	if err := client.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the subscription is made again", func() bool { return e.one("celery_exporter_reconnects_total") == 1 })
	e.hears(client)
}

func TestRedisPasswordChanges(t *testing.T) {
	port := freePort(t)
	startRedis(t, port, "--requirepass", "first-secret")
	e := startReady(t, fmt.Sprintf("redis://:first-secret@127.0.0.1:%d/0", port))
	client := redisAt(t, port, "first-secret")
	if err := client.ConfigSet(t.Context(), "requirepass", "second-secret").Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the refusal is reported", func() bool {
		return e.status("/ready") != http.StatusOK && bytes.Contains(e.output(), []byte("WRONGPASS"))
	})
	if err := redisAt(t, port, "second-secret").ConfigSet(t.Context(), "requirepass", "first-secret").Err(); err != nil {
		t.Fatal(err)
	}
	e.ready()
	if bytes.Contains(e.output(), []byte("secret")) {
		t.Error("the password is in the log")
	}
}

func TestAFrozenRedisIsNoticed(t *testing.T) {
	port := freePort(t)
	server := startRedis(t, port)
	e := startReady(t, fmt.Sprintf("redis://127.0.0.1:%d/0", port))
	time.Sleep(17 * time.Second) // nothing is sent, but pings get their replies
	if got := e.one("celery_exporter_broker_errors_total"); got != 0 {
		t.Errorf("%v errors on a quiet connection", got)
	}
	server.Signal(syscall.SIGSTOP)
	eventually(t, "the silence is noticed", func() bool { return e.status("/ready") != http.StatusOK })
	if got := e.status("/metrics"); got != http.StatusOK {
		t.Errorf("/metrics = %d", got)
	}
	server.Signal(syscall.SIGCONT)
	e.ready()
	e.hears(redisAt(t, port, ""))
}

func TestMalformedMessagesOnlyCount(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	e := startReady(t, fmt.Sprintf("redis://127.0.0.1:%d/0", port))
	client := redisAt(t, port, "")
	for i, message := range badEvents {
		send(t, client, message)
		send(t, client, fmt.Sprintf(goodEvent, fmt.Sprint("u", i)))
	}
	want := float64(len(badEvents))
	eventually(t, "the good events are counted", func() bool {
		return e.counts("celery_exporter_events")["{task-started}"] == want
	})
	if got := total(e.counts("celery_exporter_malformed")); got != want {
		t.Errorf("%v malformed, want %v", got, want)
	}
}

func TestSIGTERMEndsAtOnce(t *testing.T) {
	// It needs less than a second of a machine that has nothing else to do.
	const limit = 5 * time.Second
	port := freePort(t)
	startRedis(t, port)
	e := startReady(t, fmt.Sprintf("redis://127.0.0.1:%d/0", port))
	if took := e.terminate(); took > limit {
		t.Errorf("took %v", took)
	}
	if code := e.ExitCode(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	away := start(t, fmt.Sprintf("redis://127.0.0.1:%d/0", freePort(t)))
	if took := away.terminate(); took > limit {
		t.Errorf("without a broker it took %v", took)
	}
}

func TestRabbitMQComesLateAndGoesAway(t *testing.T) {
	t.Parallel() // with the other outage
	server := newRabbit(t)
	e := start(t, server.URL("shop"))
	if got := e.status("/ready"); got != http.StatusServiceUnavailable {
		t.Errorf("/ready without a broker = %d", got)
	}
	p := server.start(t)
	e.ready()
	c := celery{t, "celery-newest", server.URL("shop"), events}
	c.publish(order{"proj.ok", 3, nil})
	e.becomes("celery_task_", map[string]float64{"sent{proj.ok,celery}": 3})
	e.becomes("celery_queue_length", map[string]float64{"{celery}": 3})
	p.stop(syscall.SIGTERM)
	eventually(t, "the loss is noticed", func() bool { return e.status("/ready") != http.StatusOK })
	e.serves("celery_task_sent", "{proj.ok,celery}", 3)
	server.start(t)
	e.ready()
	c.publish(order{"proj.ok", 2, nil})
	e.becomes("celery_task_", map[string]float64{"sent{proj.ok,celery}": 5})
	if took := e.terminate(); took > time.Second {
		t.Errorf("the end took %v", took)
	}
}

// TestRabbitMQHasASecondServer with a user and a virtual host of its own, as kombu takes it.
func TestRabbitMQHasASecondServer(t *testing.T) {
	first, second := newRabbit(t), newRabbit(t)
	p := first.start(t)
	second.start(t)
	second.ctl(t, "add_user", "exporter", "pw")
	second.ctl(t, "set_permissions", "-p", "/", "exporter", ".*", ".*", ".*")
	e := startReady(t, first.URL("shop")+fmt.Sprintf(";amqp://exporter:pw@127.0.0.1:%d//", second.Port))
	count := func(url string, n int) {
		t.Helper()
		celery{t, "celery-newest", url, events}.publish(order{"proj.ok", n, nil})
	}
	count(first.URL("shop"), 3)
	e.becomes("celery_task_", map[string]float64{"sent{proj.ok,celery}": 3})
	e.becomes("celery_queue_length", map[string]float64{"{celery}": 3})
	p.stop(syscall.SIGTERM)
	eventually(t, "it goes to the second", func() bool { return e.one("celery_exporter_reconnects_total") == 1 })
	e.ready()
	count(second.URL("%2F"), 2)
	e.becomes("celery_task_", map[string]float64{"sent{proj.ok,celery}": 5})
	e.becomes("celery_queue_length", map[string]float64{"{celery}": 2})
}
