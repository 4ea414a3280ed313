// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// ControlExchange is the fanout exchange of remote control requests to an application with that
// control_exchange (kombu/pidbox.py).
func ControlExchange(application string) string { return application + ".pidbox" }

// ReplyExchange is the direct exchange of the replies.
func ReplyExchange(application string) string { return "reply." + ControlExchange(application) }

// Request is a remote control command to workers.
type Request struct {
	// Application is its control_exchange, "celery" unless it sets another.
	Application string
	// Method is the command, such as active_queues.
	Method string
	// Destination are the node names that shall obey, all if empty.
	Destination []string
	// WantsReply is whether workers shall reply. Then Ticket marks the replies, and ReplyTo is the
	// routing key that they are sent to.
	WantsReply      bool
	Ticket, ReplyTo string
}

// Body returns the request as JSON.
func (r Request) Body() []byte {
	message := map[string]any{
		"method": r.Method, "arguments": map[string]any{}, "destination": nil, "pattern": nil, "matcher": nil,
	}
	if len(r.Destination) > 0 {
		message["destination"] = r.Destination
	}
	if r.WantsReply {
		message["ticket"] = r.Ticket
		message["reply_to"] = map[string]string{"exchange": ReplyExchange(r.Application), "routing_key": r.ReplyTo}
	}
	return mustMarshal(message)
}

// Headers are those of the request's message. Without "expires" the clocks of the two sides need
// not agree.
func (r Request) Headers() map[string]any { return map[string]any{"clock": int32(1)} }

// Envelope returns the request in kombu's envelope for the Redis transport. The tag must be unique.
func (r Request) Envelope(tag string) []byte {
	return mustMarshal(map[string]any{
		"body": base64.StdEncoding.EncodeToString(r.Body()), "content-encoding": "utf-8",
		"content-type": "application/json", "headers": r.Headers(),
		"properties": map[string]any{
			"delivery_mode": 2, "delivery_info": map[string]any{"exchange": ControlExchange(r.Application), "routing_key": ""},
			"priority": 0, "body_encoding": "base64", "delivery_tag": tag,
		},
	})
}

// mustMarshal encodes what consists of strings, numbers and maps only, which cannot fail.
func mustMarshal(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// Queue is a queue that a worker consumes.
type Queue struct {
	Name       string `json:"name"`
	RoutingKey string `json:"routing_key"`
}

// Stats is the part of a worker's reply to stats that says the size of its pool.
type Stats struct {
	Pool struct {
		MaxConcurrency int               `json:"max-concurrency"`
		Processes      []json.RawMessage `json:"processes"`
	} `json:"pool"`
}

// Processes is the number of tasks that the worker can run at once. A threads pool lists no
// processes.
func (s Stats) Processes() int {
	if len(s.Pool.Processes) > 0 {
		return len(s.Pool.Processes)
	}
	return max(0, s.Pool.MaxConcurrency)
}

// KnownTask is a task that a worker holds; its arguments are not read.
type KnownTask struct {
	ID           TaskID `json:"id"`
	Name         string `json:"name"`
	Hostname     string `json:"hostname"`
	DeliveryInfo struct {
		RoutingKey string `json:"routing_key"`
	} `json:"delivery_info"`
}

// TaskID is a task's id, which may be written as an object (see scanner.id).
type TaskID string

// UnmarshalJSON reads both forms. Any other value is no id, and no reason to drop the other tasks
// of a reply.
func (id *TaskID) UnmarshalJSON(text []byte) error {
	var s scanner
	s.reset(text)
	*id = TaskID(s.id())
	return nil
}

// scheduledTask is how tasks with an ETA are listed.
type scheduledTask struct {
	KnownTask
	Request KnownTask `json:"request"`
}

// ParseActiveQueues reads the body of a reply to active_queues: the queues by node name.
func ParseActiveQueues(body []byte) (map[string][]Queue, error) { return parseReply[[]Queue](body) }

// ParseStats reads the body of a reply to stats, by node name.
func ParseStats(body []byte) (map[string]Stats, error) { return parseReply[Stats](body) }

// ParseTasks reads the body of a reply to active, reserved or scheduled: the tasks by node name.
func ParseTasks(body []byte) (map[string][]KnownTask, error) {
	replies, err := parseReply[[]scheduledTask](body)
	tasks := make(map[string][]KnownTask, len(replies))
	for node, list := range replies {
		tasks[node] = make([]KnownTask, 0, len(list))
		for _, task := range list {
			if task.ID == "" {
				task.KnownTask = task.Request
			}
			tasks[node] = append(tasks[node], task.KnownTask)
		}
	}
	return tasks, err
}

// parseReply reads {"node name": T}. A worker that failed returns {"error": ...} for T, which is no
// T.
func parseReply[T any](body []byte) (map[string]T, error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, fmt.Errorf("decode a reply of a worker: %w", ErrBody)
	}
	replies := make(map[string]T, len(raw))
	for node, text := range raw {
		var reply T
		if err := json.Unmarshal(text, &reply); err != nil {
			return nil, fmt.Errorf("decode a reply of a worker: %w", ErrBody)
		}
		replies[node] = reply
	}
	return replies, nil
}
