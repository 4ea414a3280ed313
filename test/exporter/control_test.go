// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"obstack.dev/obstack/test/testenv"
)

// TestAnAlarmOfRabbitMQ stops publishers. Depths are read all the same, and everything goes on
// afterwards.
func TestAnAlarmOfRabbitMQ(t *testing.T) {
	server := newRabbit(t)
	server.start(t)
	c := celery{t, "celery-newest", server.URL("shop"), events}
	c.worker("w@host", "-c", "1", "-P", "solo")
	c.publish(order{"proj.ok", 3, map[string]any{"queue": "emails"}})
	e := startReady(t, server.URL("shop"), "-Q", "emails")
	e.becomes("celery_queue_length", map[string]float64{"{emails}": 3})
	e.becomes("celery_active_worker_count", map[string]float64{"{celery}": 1})
	server.ctl(t, "set_vm_memory_high_watermark", "0.00001")
	eventually(
		t,
		"the alarm is noticed",
		func() bool { return e.counts("celery_exporter_control_up")["{inspect}"] == 0 },
	)
	channel := channelOf(t, server.URL("shop"))
	if _, err := channel.QueuePurge("emails", false); err != nil {
		t.Fatal(err)
	}
	e.becomes("celery_queue_length", map[string]float64{})
	if e.counts("celery_exporter_control_up")["{queue_lengths}"] != 1 {
		t.Error("depths are not read during the alarm")
	}
	server.ctl(t, "set_vm_memory_high_watermark", "0.4")
	e.becomes("celery_exporter_control_up", map[string]float64{"{queue_lengths}": 1, "{inspect}": 1})
}

func channelOf(t testing.TB, url string) *amqp.Channel {
	t.Helper()
	connection, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	channel, err := connection.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return channel
}

// TestQueuesOfTheExporterAreClassic where the default of the virtual host is another type, and a
// queue that may not be read is absent.
func TestQueuesOfTheExporterAreClassic(t *testing.T) {
	server := newRabbit(t)
	server.start(t)
	server.ctl(t, "add_vhost", "replicated", "--default-queue-type", "quorum")
	server.ctl(t, "set_permissions", "-p", "replicated", "guest", ".*", ".*", ".*")
	channel := channelOf(t, server.URL("replicated"))
	// What a worker makes, so that there is somebody to ask; and what another connection keeps for
	// itself.
	if err := channel.ExchangeDeclare("celery.pidbox", "fanout", false, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	classic := amqp.Table{"x-queue-type": "classic"}
	if _, err := channel.QueueDeclare("locked", false, false, true, false, classic); err != nil {
		t.Fatal(err)
	}
	e := startReady(t, server.URL("replicated"), "-Q", "locked,nowhere")
	eventually(t, "workers are asked", func() bool { return e.counts("celery_exporter_control_up")["{inspect}"] == 1 })
	list := server.ctl(t, "list_queues", "-p", "replicated", "name", "type")
	if strings.Contains(list, "quorum") || !strings.Contains(list, "celeryev.") ||
		!strings.Contains(list, ".reply.celery.pidbox") {
		t.Errorf("queues:\n%s", list)
	}
	for _, metric := range e.scrape()["celery_queue_length"].GetMetric() {
		if labels(metric) != "{nowhere}" || value(metric) != 0 {
			t.Errorf("length %v of the queue %s", value(metric), labels(metric))
		}
	}
	if e.counts("celery_exporter_control_errors")["{queue_lengths}"] == 0 {
		t.Error("the queue that cannot be read is not counted")
	}
}

// TestRepliesInPickleAreRefused: nothing is claimed of workers whose replies are not read.
func TestRepliesInPickleAreRefused(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	broker := fmt.Sprintf("redis://127.0.0.1:%d/0", port)
	e := startReady(t, broker, "-Q", "celery")
	c := celery{t, "celery-newest", broker, map[string]any{
		"worker_send_task_events": true, "task_serializer": "pickle", "accept_content": []string{"pickle", "json"},
	}}
	c.worker("w@host", "-c", "1", "-P", "solo")
	e.becomes("celery_worker_up", map[string]float64{"{}": 1})
	eventually(
		t,
		"the replies are counted",
		func() bool { return e.counts("celery_exporter_malformed")["{content_type}"] > 0 },
	)
	for _, name := range []string{"celery_active_worker_count", "celery_active_process_count"} {
		if got := e.scrape()[name]; got != nil {
			t.Errorf("%s = %v", name, got)
		}
	}
	eventually(
		t,
		"the inspection counts as failed",
		func() bool { return e.counts("celery_exporter_control_up")["{inspect}"] == 0 },
	)
	if got := bytes.Count(e.output(), []byte("task_serializer")); got != 1 {
		t.Errorf("the log says %d times what to do", got)
	}
}

// TestAKeyOfAnotherTypeIsNoQueue: its length is absent and not zero, and that of others is read.
func TestAKeyOfAnotherTypeIsNoQueue(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	if err := redisAt(t, port, "").Set(t.Context(), "other", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	e := startReady(t, fmt.Sprintf("redis://127.0.0.1:%d/0", port), "-Q", "celery,other")
	eventually(
		t,
		"it is counted",
		func() bool { return e.counts("celery_exporter_control_errors")["{queue_lengths}"] > 0 },
	)
	lengths := e.scrape()["celery_queue_length"].GetMetric()
	if len(lengths) != 1 || labels(lengths[0]) != "{celery}" {
		t.Errorf("lengths %v, want that of celery alone", lengths)
	}
	if !bytes.Contains(e.output(), []byte("WRONGTYPE")) {
		t.Error("the log does not say why")
	}
}

// TestManyWorkersAtADistanceAreAllHeard: 300 that reply to five questions each, 2 ms away.
func TestManyWorkersAtADistanceAreAllHeard(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	f := fleet{redisAt(t, port, ""), 300, "[]"}
	f.serve(t)
	p := startProxy(t, port)
	p.moveAway(time.Millisecond)
	e := startReady(t, fmt.Sprintf("redis://127.0.0.1:%d/0", p.port), "--inspect-interval", "3600")
	f.beats(t)
	eventually(t, "all are heard", func() bool { return e.counts("celery_active_worker_count")["{celery}"] == 300 })
	e.becomes("celery_active_", map[string]float64{"worker_count{celery}": 300, "process_count{celery}": 600})
	// More if the subscription had to be made again on a machine that is busy.
	if got := e.one("celery_exporter_worker_replies_total"); got < 1500 {
		t.Errorf("%v replies, want five of each", got)
	}
	if got := e.one("celery_exporter_worker_replies_missing_total"); got != 0 {
		t.Errorf("%v replies are missing", got)
	}
}

// scheduledTasks is what a worker replies that holds so many tasks with an ETA, whose arguments
// have so many bytes.
func scheduledTasks(count, bytes int) string {
	one := `{"eta": "2030-01-01T00:00:00+00:00", "priority": 6, "request": {
		"id": "6f2c8b1e-95a3-4b6e-8a0f-0c2d4e6f8a1b", "name": "proj.ok",
		"args": [], "kwargs": {}, "type": "proj.ok", "hostname": "w0@host0",
		"delivery_info": {"exchange": "", "routing_key": "celery", "priority": 0, "redelivered": false},
		"acknowledged": false, "time_start": null, "worker_pid": null, "padding": "` + strings.Repeat("x", bytes) + `"}}`
	return "[" + strings.Repeat(one+",", count-1) + one + "]"
}

// TestLargeRepliesCostNoMemory: a worker that holds 20,000 tasks lists each of them when asked.
func TestLargeRepliesCostNoMemory(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	f := fleet{redisAt(t, port, ""), 3, scheduledTasks(20_000, 250)}
	f.serve(t)
	f.beats(t)
	e := startReady(t, fmt.Sprintf("redis://127.0.0.1:%d/0", port), "--inspect-interval", "3600")
	f.beats(t)
	e.becomes("celery_active_", map[string]float64{"worker_count{celery}": 3, "process_count{celery}": 6})
	eventually(
		t,
		"the large replies are counted",
		func() bool { return e.counts("celery_exporter_dropped")["{large_reply}"] == 3 },
	)
	e.needsLittleMemory(t)
}

// TestManyLargeRepliesAreReadOneByOne: 64 that are not too large, 120 MB in all.
func TestManyLargeRepliesAreReadOneByOne(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	f := fleet{redisAt(t, port, ""), 64, scheduledTasks(240, 5600)}
	f.serve(t)
	f.beats(t)
	e := startReady(t, fmt.Sprintf("redis://127.0.0.1:%d/0", port), "--inspect-interval", "3600")
	f.beats(t)
	eventually(t, "all replies are read", func() bool { return e.one("celery_exporter_worker_replies_total") == 5*64 })
	if got := e.counts("celery_exporter_dropped"); len(got) > 0 {
		t.Errorf("dropped: %v", got)
	}
	e.needsLittleMemory(t)
}

func (e *running) needsLittleMemory(t *testing.T) {
	t.Helper()
	rss := e.one("process_resident_memory_bytes") / (1 << 20)
	t.Logf("%.0f MiB", rss)
	if rss > 45 {
		t.Errorf("%.0f MiB of memory", rss)
	}
}

// TestLargeRepliesOverRabbitMQ are refused by the server, and the others come.
func TestLargeRepliesOverRabbitMQ(t *testing.T) {
	server := newRabbit(t)
	server.start(t)
	channel := channelOf(t, server.URL("shop"))
	if err := channel.ExchangeDeclare("celery.pidbox", "fanout", false, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	queue, err := channel.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := channel.QueueBind(queue.Name, "", "celery.pidbox", false, nil); err != nil {
		t.Fatal(err)
	}
	requests, err := channel.Consume(queue.Name, "", true, true, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := startReady(t, server.URL("shop"), "--inspect-interval", "3600")
	bodies := map[string]string{
		"active_queues": `[{"name": "celery"}]`, "stats": `{"pool": {"processes": [1]}}`,
		"active": "[]", "reserved": "[]", "scheduled": scheduledTasks(20_000, 250),
	}
	publish := func(exchange, key, ticket, body string) {
		if err := channel.PublishWithContext(t.Context(), exchange, key, false, false, amqp.Publishing{
			ContentType: "application/json", Headers: amqp.Table{"ticket": ticket}, Body: []byte(body),
		}); err != nil {
			t.Error(err)
		}
	}
	publish("celeryev", "worker.heartbeat", "", `{"type": "worker-heartbeat", "hostname": "w@host", "timestamp": 1}`)
	for range 6 { // a heartbeat and five questions
		var request struct {
			Method, Ticket string
			ReplyTo        struct {
				RoutingKey string `json:"routing_key"`
			} `json:"reply_to"`
		}
		select {
		case message := <-requests:
			if err := json.Unmarshal(message.Body, &request); err != nil {
				t.Fatalf("%s: %v", message.Body, err)
			}
		case <-time.After(testenv.Timeout):
			t.Fatal("no question comes")
		}
		if body := bodies[request.Method]; body != "" {
			publish(
				"reply.celery.pidbox",
				request.ReplyTo.RoutingKey,
				request.Ticket,
				fmt.Sprintf(`{"w@host": %s}`, body),
			)
		}
	}
	e.becomes("celery_active_", map[string]float64{"worker_count{celery}": 1, "process_count{celery}": 1})
	e.becomes("celery_exporter_worker_replies_total", map[string]float64{"{}": 4})
	e.needsLittleMemory(t)
}
