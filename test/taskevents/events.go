// SPDX-License-Identifier: Apache-2.0

// Package taskevents makes the events that Celery's clients and workers send of tasks, and
// publishes them as kombu does, faster than they could.
package taskevents

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Message is one message to publish: its routing key and the JSON of its events.
type Message struct {
	Key    string
	Body   []byte
	Events int
}

// Envelope is the message in kombu's envelope, as its Redis transport sends it.
func (m Message) Envelope() []byte {
	return fmt.Appendf(nil, `{"body": "%s", "content-encoding": "utf-8", "content-type": "application/json", `+
		`"headers": {"hostname": "celery@worker"}, "properties": {"delivery_mode": 1, `+
		`"delivery_info": {"exchange": "celeryev", "routing_key": %q}, "priority": 0, "body_encoding": "base64", `+
		`"delivery_tag": "8f9e847b-9089-461f-a343-3dcc90cacbc1"}}`, base64.StdEncoding.EncodeToString(m.Body), m.Key)
}

// Shape says what a stream is made of.
type Shape struct {
	Names, Workers int
	Single         bool // one event a message
}

// Usual is the shape of most streams.
var Usual = Shape{Names: 50, Workers: 20}

// Generator makes streams like those of real prefork workers: per task a task-sent from the client,
// then task-received and task-started in one list and the outcome in another, or for every third
// task all three in one (real workers sent 1,465, 1,720 and 1,365 lists of one, two and three); 90
// % succeed, 5 % fail and 5 % are retried, with tracebacks.
type Generator struct {
	Shape
	tasks int // made so far
	salt  string
}

// NewGenerator makes one whose tasks have ids that no other's have.
func NewGenerator(s Shape) *Generator {
	return &Generator{Shape: s, salt: fmt.Sprintf("%08x", uint32(time.Now().UnixNano()))}
}

// interleaved is how many tasks are under way at the same time.
const interleaved = 40

// Stream returns messages of at least that many events, of which each task has four.
func (g *Generator) Stream(events int) (messages []Message) {
	for end := g.tasks + (events+3)/4; g.tasks < end; g.tasks += interleaved {
		for phase := range 3 {
			for i := range interleaved {
				messages = append(messages, g.phase(g.tasks+i, phase)...)
			}
		}
	}
	return messages
}

// phase returns the messages of one step of a task. Of every third one the worker sends nothing
// before it is over.
func (g *Generator) phase(i, phase int) []Message {
	quick, outcome := i%3 == 0, succeeded
	switch i % 20 {
	case 0:
		outcome = failed
	case 1:
		outcome = retried
	}
	switch {
	case phase == 0:
		return []Message{{"task.sent", g.event(sent, i), 1}}
	case phase == 1 && quick:
		return g.list(i, received, started, outcome)
	case phase == 1:
		return g.list(i, received, started)
	case quick:
		return nil
	}
	return g.list(i, outcome)
}

// list puts events of a task into one message as workers with an event hub do, or into one each.
func (g *Generator) list(i int, kinds ...int) (messages []Message) {
	var events [][]byte
	for _, kind := range kinds {
		event := g.event(kind, i)
		events, messages = append(events, event), append(messages, Message{"task.event", event, 1})
	}
	if g.Single {
		return messages
	}
	return []Message{{"task.multi", fmt.Appendf(nil, "[%s]", bytes.Join(events, []byte(", "))), len(events)}}
}

// The kinds of events, by their lines of the file.
const (
	sent = iota
	received
	started
	succeeded
	failed
	retried
)

var (
	//go:embed events.jsonl
	lines     string
	events    = strings.Split(lines, "\n")
	traceback = strings.Repeat(`  File \"/app/proj/tasks.py\", line 42, in run\n    return step(value)\n`, 8)
)

// event is one of a task's, made now.
func (g *Generator) event(kind, i int) []byte {
	node := fmt.Sprint("celery@worker", i/g.Names%g.Workers)
	if kind == sent {
		node = "gen4711@client"
	}
	return []byte(strings.NewReplacer(
		"<node>", node, "<number>", strconv.Itoa(i), "<id>", fmt.Sprintf("%s-20f3-4667-9dfb-%012x", g.salt, i),
		"<name>", fmt.Sprint("proj.tasks.task", i%g.Names), "<queue>", fmt.Sprint("queue", i%4),
		"<seconds>", fmt.Sprint("0.0", 1+i%9), "<traceback>", traceback,
		"<now>", fmt.Sprintf("%.6f", float64(time.Now().UnixMicro())/1e6),
	).Replace(events[kind]))
}
