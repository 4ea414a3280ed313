// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"obstack.dev/obstack/test/bench/kit"
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

// streamEvents is the length of a stream that is played again and again: 150,000 tasks, nine times
// as many finished ones as the exporter keeps.
const streamEvents = 600_000

// generator makes streams like those of real prefork workers: per task a task-sent from the client,
// then task-received and task-started in one list and the outcome in another, or for every third
// task all three in one (real workers sent 1,465, 1,720 and 1,365 lists of one, two and three); 90
// % succeed, 5 % fail and 5 % are retried, with tracebacks.
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
func (g *generator) stream(events int) (messages []message) {
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

// phase returns the messages of one step of a task. Of every third one the worker sends nothing
// before it is over.
func (g *generator) phase(i, phase int) []message {
	const call = `"name": %q, "root_id": %q, "parent_id": null, "args": "(%d, 'some text', [1, 2, 3])", ` +
		`"kwargs": "{'key': 'value'}", "retries": 0, "eta": null, "expires": null`
	name, queue, quick := fmt.Sprint("proj.tasks.task", i%g.names), fmt.Sprint("queue", i%4), i%3 == 0
	node := "celery@worker" + strconv.Itoa(i/g.names%g.workers)
	outcome := func() []byte {
		switch i % 20 {
		case 0:
			return g.event("task-failed", i, node, `"exception": "ValueError('it broke')", "traceback": "%s"`, traceback)
		case 1:
			return g.event("task-retried", i, node, `"exception": "OSError('again')", "traceback": "%s"`, traceback)
		}
		return g.event("task-succeeded", i, node, `"result": "'the result of task %d'", "runtime": 0.0%d`, i, 1+i%9)
	}
	switch {
	case phase == 0:
		return []message{{"task.sent", g.event("task-sent", i, "gen4711@client",
			call+`, "queue": %q, "exchange": "", "routing_key": %q`, name, g.uuid(i), i, queue, queue), 1}}
	case phase == 1:
		events := [][]byte{
			g.event("task-received", i, node, call, name, g.uuid(i), i), g.event("task-started", i, node, `"pid": 17`),
		}
		if quick {
			events = append(events, outcome())
		}
		return g.list(events...)
	case quick:
		return nil
	}
	return g.list(outcome())
}

func (g *generator) uuid(i int) string { return fmt.Sprintf("%s-20f3-4667-9dfb-%012x", g.salt, i) }

func (g *generator) event(kind string, i int, node, fields string, values ...any) []byte {
	const head = `{"hostname": %q, "utcoffset": 0, "pid": 22980, "clock": %d, "uuid": %q, `
	const tail = `, "timestamp": %.6f, "type": %q}`
	text := fmt.Appendf(fmt.Appendf(nil, head, node, i, g.uuid(i)), fields, values...)
	return fmt.Appendf(text, tail, float64(time.Now().UnixMicro())/1e6, kind)
}

// list puts events into one message as workers with an event hub do, or into one each.
func (g *generator) list(events ...[]byte) (messages []message) {
	if !g.single {
		return []message{{"task.multi", fmt.Appendf(nil, "[%s]", bytes.Join(events, []byte(", "))), len(events)}}
	}
	for _, e := range events {
		messages = append(messages, message{"task.event", e, 1})
	}
	return messages
}

// block is a piece of a stream that is sent at once, ready for the wire, so that making it takes no
// time meanwhile.
type block struct {
	data   []byte
	events int
}

// blockEvents is how many events a block has, about: at 100,000 events/s, ten milliseconds' worth.
const blockEvents = 1000

// render prepares a stream for Redis, in blocks of about that many events.
func render(messages []message, size int) (blocks []block) {
	var now block
	for i, m := range messages {
		now.data = appendPublish(now.data, m)
		if now.events += m.events; now.events >= size || i == len(messages)-1 {
			blocks = append(blocks, now)
			now = block{data: make([]byte, 0, len(now.data))}
		}
	}
	return blocks
}

// appendPublish appends the Redis command that publishes a message in kombu's envelope.
func appendPublish(out []byte, m message) []byte {
	payload := fmt.Appendf(nil, `{"body": "%s", "content-encoding": "utf-8", "content-type": "application/json", `+
		`"headers": {"hostname": "celery@worker"}, "properties": {"delivery_mode": 1, `+
		`"delivery_info": {"exchange": "celeryev", "routing_key": %q}, "priority": 0, "body_encoding": "base64", `+
		`"delivery_tag": "8f9e847b-9089-461f-a343-3dcc90cacbc1"}}`, base64.StdEncoding.EncodeToString(m.body), m.key)
	channel := "/0.celeryev/" + m.key
	const command = "*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n"
	return fmt.Appendf(out, command, len(channel), channel, len(payload), payload)
}

// play sends what it is given until so many events are sent, from the start again if there are
// fewer, at a rate in events/s, 0 for as fast as the receiver takes them. By the time a task's id
// comes again it was forgotten long ago.
func play[T any](all []T, events int, rate float64, send func(T) int) (sent int) {
	began := time.Now()
	for i := 0; sent < events; i++ {
		sent += send(all[i%len(all)])
		if rate > 0 {
			time.Sleep(time.Until(began.Add(time.Duration(float64(sent) / rate * float64(time.Second)))))
		}
	}
	return sent
}

// publishRedis plays blocks to a Redis of this machine and returns the events sent.
func publishRedis(port int, blocks []block, events int, rate float64) int {
	connection := kit.Must(net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)))
	defer connection.Close()
	kit.Must(io.WriteString(connection, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n"))
	sent := play(blocks, events, rate, func(b block) int {
		kit.Must(connection.Write(b.data))
		return b.events
	})
	// The server must have read everything before the connection goes.
	kit.Must(io.WriteString(connection, "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n*1\r\n$4\r\nPING\r\n"))
	kit.Must(connection.Read(make([]byte, 64)))
	return sent
}
