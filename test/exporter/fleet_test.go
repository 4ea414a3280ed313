// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"
)

// fleet replies to remote control as many workers would, over Redis.
type fleet struct {
	client *redis.Client
	nodes  int
	// scheduled is the body that each worker replies to a question for scheduled tasks.
	scheduled string
}

// serve replies to every broadcast until the test ends.
func (f fleet) serve(t testing.TB) {
	t.Helper()
	subscription := f.client.Subscribe(t.Context(), "/0.celery.pidbox")
	if _, err := subscription.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	bodies := f.bodies()
	go func() {
		for message := range subscription.Channel() {
			var envelope struct{ Body []byte }
			var request struct {
				Method, Ticket string
				ReplyTo        struct {
					RoutingKey string `json:"routing_key"`
				} `json:"reply_to"`
			}
			if json.Unmarshal([]byte(message.Payload), &envelope) == nil &&
				json.Unmarshal(envelope.Body, &request) == nil &&
				request.Ticket != "" {
				f.reply(bodies[request.Method], request.Ticket, request.ReplyTo.RoutingKey)
			}
		}
	}()
}

// bodies are all replies by method, encoded beforehand: the exporter waits a second for the next.
func (f fleet) bodies() map[string][]string {
	all := map[string][]string{}
	for method, body := range map[string]string{
		"active_queues": `[{"name": "celery", "routing_key": "celery"}]`,
		"stats":         `{"pool": {"max-concurrency": 2, "processes": [1, 2]}}`,
		"active":        "[]", "reserved": "[]", "scheduled": f.scheduled,
	} {
		for i := range f.nodes {
			text := fmt.Appendf(nil, `{"w%d@host%d": %s}`, i, i, body)
			all[method] = append(all[method], base64.StdEncoding.EncodeToString(text))
		}
	}
	return all
}

func (f fleet) reply(bodies []string, ticket, to string) {
	pipe := f.client.Pipeline()
	for _, body := range bodies {
		pipe.LPush(context.Background(), to+".reply.celery.pidbox", envelope(body, ticket))
	}
	_, _ = pipe.Exec(context.Background()) // the test may be over
}

// enveloped is a message as kombu's Redis transport sends it.
func enveloped(body, ticket string) string {
	return envelope(base64.StdEncoding.EncodeToString([]byte(body)), ticket)
}

// envelope is that of a body in base64.
func envelope(body, ticket string) string {
	return `{"body": "` + body + `", "content-type": "application/json", "content-encoding": "utf-8", ` +
		`"headers": {"ticket": "` + ticket + `"}, "properties": {"body_encoding": "base64"}}`
}

// beats sends a heartbeat of each worker.
func (f fleet) beats(t testing.TB) {
	t.Helper()
	pipe := f.client.Pipeline()
	for i := range f.nodes {
		beat := fmt.Sprintf(
			`{"type": "worker-heartbeat", "hostname": "w%d@host%d", "timestamp": 1, "active": 0, "processed": 0, "freq": 2}`,
			i,
			i,
		)
		pipe.Publish(context.Background(), "/0.celeryev/worker.heartbeat", enveloped(beat, ""))
	}
	if _, err := pipe.Exec(context.Background()); err != nil {
		t.Fatal(err)
	}
}
