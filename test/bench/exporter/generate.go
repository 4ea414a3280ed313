// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// message is one message to publish: its routing key and the JSON of its events.
type message struct {
	key    string
	body   []byte
	events int
}

// shape says what a stream is made of.
type shape struct {
	names, workers int
	single         bool // one event a message
}

var usual = shape{names: 50, workers: 20}

// generator makes streams like those of real prefork workers: per task a task-sent from the client, then task-received
// and task-started in one list and the outcome in another, or for every third task all three in one (real workers sent 1,465, 1,720 and 1,365 lists of one, two and three); 90 % succeed, 5 % fail
// and 5 % are retried, with tracebacks. That makes lists of one to three events, and 1.5 events a message.
type generator struct {
	shape
	tasks int // made so far
	salt  string
}

func newGenerator(s shape) *generator {
	return &generator{shape: s, salt: fmt.Sprintf("%08x", uint32(time.Now().UnixNano()))}
}

// interleaved is how many tasks are under way at the same time.
const interleaved = 40

var traceback = strings.Repeat(`  File \"/app/proj/tasks.py\", line 42, in run\n    return step(value)\n`, 8)

// stream returns messages of at least that many events.
func (g *generator) stream(events int) []message {
	var messages []message
	for made := 0; made < events; {
		first := g.tasks
		g.tasks += interleaved
		for phase := range 3 {
			for i := first; i < g.tasks; i++ {
				for _, m := range g.phase(i, phase) {
					messages = append(messages, m)
					made += m.events
				}
			}
		}
	}
	return messages
}

// phase returns the messages of one step of a task.
func (g *generator) phase(i, phase int) []message {
	switch phase {
	case 0:
		sent := g.event("task-sent", i, "gen4711@client", `"name": %q, "root_id": %q, "parent_id": null, "args": "(%d, 'some text', [1, 2, 3])", "kwargs": "{'key': 'value'}", "retries": 0, "eta": null, "expires": null, "queue": %q, "exchange": "", "routing_key": %q`,
			g.name(i), g.uuid(i), i, g.queue(i), g.queue(i))
		return []message{{"task.sent", sent, 1}}
	case 1:
		events := [][]byte{
			g.event("task-received", i, g.node(i), `"name": %q, "args": "(%d, 'some text', [1, 2, 3])", "kwargs": "{'key': 'value'}", "root_id": %q, "parent_id": null, "retries": 0, "eta": null, "expires": null`, g.name(i), i, g.uuid(i)),
			g.event("task-started", i, g.node(i), `"pid": 17`),
		}
		if g.quick(i) {
			events = append(events, g.outcome(i))
		}
		return g.list(events...)
	}
	if g.quick(i) {
		return nil
	}
	return g.list(g.outcome(i))
}

// quick tells whether a task is over before its worker sends anything of it.
func (g *generator) quick(i int) bool { return i%3 == 0 }

func (g *generator) outcome(i int) []byte {
	switch i % 20 {
	case 0:
		return g.event("task-failed", i, g.node(i), `"exception": "ValueError('it broke')", "traceback": "%s"`, traceback)
	case 1:
		return g.event("task-retried", i, g.node(i), `"exception": "OSError('again')", "traceback": "%s"`, traceback)
	}
	return g.event("task-succeeded", i, g.node(i), `"result": "'the result of task %d'", "runtime": 0.0%d`, i, 1+i%9)
}

func (g *generator) name(i int) string  { return "proj.tasks.task" + strconv.Itoa(i%g.names) }
func (g *generator) queue(i int) string { return "queue" + strconv.Itoa(i%4) }
func (g *generator) node(i int) string {
	w := strconv.Itoa(i / g.names % g.workers)
	return "celery@worker" + w
}
func (g *generator) uuid(i int) string { return fmt.Sprintf("%s-20f3-4667-9dfb-%012x", g.salt, i) }

func (g *generator) event(kind string, i int, node, fields string, values ...any) []byte {
	text := fmt.Appendf(nil, `{"hostname": %q, "utcoffset": 0, "pid": 22980, "clock": %d, "uuid": %q, `, node, i, g.uuid(i))
	text = fmt.Appendf(text, fields, values...)
	return fmt.Appendf(text, `, "timestamp": %.6f, "type": %q}`, float64(time.Now().UnixMicro())/1e6, kind)
}

// list puts events into one message as workers with an event hub do, or into one each.
func (g *generator) list(events ...[]byte) []message {
	if g.single {
		var messages []message
		for _, e := range events {
			messages = append(messages, message{"task.event", e, 1})
		}
		return messages
	}
	body := []byte("[")
	for i, e := range events {
		if i > 0 {
			body = append(body, ", "...)
		}
		body = append(body, e...)
	}
	return []message{{"task.multi", append(body, ']'), len(events)}}
}

// appendPublish appends the Redis command that publishes a message in kombu's envelope.
func appendPublish(out []byte, m message) []byte {
	payload := fmt.Appendf(nil, `{"body": "%s", "content-encoding": "utf-8", "content-type": "application/json", "headers": {"hostname": "celery@worker"}, "properties": {"delivery_mode": 1, "delivery_info": {"exchange": "celeryev", "routing_key": %q}, "priority": 0, "body_encoding": "base64", "delivery_tag": "8f9e847b-9089-461f-a343-3dcc90cacbc1"}}`,
		base64.StdEncoding.EncodeToString(m.body), m.key)
	channel := "/0.celeryev/" + m.key
	out = fmt.Appendf(out, "*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n$%d\r\n", len(channel), channel, len(payload))
	out = append(out, payload...)
	return append(out, "\r\n"...)
}
