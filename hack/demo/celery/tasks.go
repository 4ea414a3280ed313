// SPDX-License-Identifier: Apache-2.0

package celery

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"
	"k8s.io/apimachinery/pkg/util/uuid"
)

// task of the application.
type task struct {
	name, queue string
	// every is the time between two of them; each takes from shortest to twice that.
	every, shortest time.Duration
	// burst is how many are sent at once.
	burst int
	// fails is how an attempt ends, by its number; empty if it succeeds.
	fails func(n int) exception
}

// exception of Python, and what the worker makes of it.
type exception struct {
	repr  string
	retry bool
}

var tasks = []task{
	{
		"shop.tasks.send_confirmation", "emails", 300 * time.Millisecond, 80 * time.Millisecond, 1,
		fifth(exception{repr: "SMTPServerDisconnected('Connection unexpectedly closed')"}),
	},
	{"shop.tasks.update_stock", "celery", 250 * time.Millisecond, 20 * time.Millisecond, 1, never},
	{
		"shop.tasks.render_invoice", "celery", time.Second, 300 * time.Millisecond, 1,
		fifth(exception{repr: "TimeoutError('the renderer did not respond')", retry: true}),
	},
	// More than the workers take at once, so that a queue grows, and is worked off before the next.
	{"shop.tasks.send_newsletter", "emails", time.Minute, 200 * time.Millisecond, 150, never},
}

func never(int) exception { return exception{} }

// fifth is of every five attempts one.
func fifth(e exception) func(int) exception {
	return func(n int) exception {
		if n%5 == 3 {
			return e
		}
		return exception{}
	}
}

func taskOf(name string) (task, bool) {
	for _, t := range tasks {
		if t.name == name {
			return t, true
		}
	}
	return task{}, false
}

// message is a task in a queue, as kombu keeps it; Number counts what the client sent.
type message struct {
	Headers struct {
		Task    string `json:"task"`
		ID      string `json:"id"`
		Retries int    `json:"retries"`
		Number  int    `json:"number"`
	} `json:"headers"`
	Properties struct {
		DeliveryInfo struct {
			RoutingKey string `json:"routing_key"`
		} `json:"delivery_info"`
	} `json:"properties"`
}

// send is a client that sends a task again and again, and says so.
func send(ctx context.Context, client *redis.Client, t task) error {
	// Not all at the same moment, as if by chance.
	ticker := time.NewTicker(t.every - time.Duration(rand.N(1000))*time.Microsecond)
	defer ticker.Stop()
	for n := 0; ; n++ {
		id := string(uuid.NewUUID())
		if err := enqueue(ctx, client, t, id, n, 0); err != nil {
			return err
		}
		err := publish(ctx, client, "task.sent", map[string]any{
			"type": "task-sent", "hostname": "gen1@shop-api", "uuid": id, "name": t.name, "queue": t.queue, "retries": 0,
		})
		if err != nil {
			return err
		}
		if (n+1)%t.burst > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// enqueue puts a task into its queue.
func enqueue(ctx context.Context, client *redis.Client, t task, id string, number, retries int) error {
	headers := map[string]any{"task": t.name, "id": id, "retries": retries, "number": number, "lang": "py"}
	content, err := envelope([]any{[]any{}, map[string]any{}, map[string]any{}}, headers, "", t.queue)
	if err != nil {
		return err
	}
	if err := client.LPush(ctx, t.queue, content).Err(); err != nil {
		return fmt.Errorf("send %s: %w", t.name, err)
	}
	return nil
}

// publish sends an event to whoever listens. The routing key is its type, or task.multi for a list.
func publish(ctx context.Context, client *redis.Client, key string, event map[string]any) error {
	event["timestamp"] = float64(time.Now().UnixMicro()) / 1e6
	event["utcoffset"], event["pid"] = 0, 1
	var body any = event
	if key == "task.multi" {
		body = []any{event}
	}
	content, err := envelope(body, map[string]any{"hostname": event["hostname"]}, "celeryev", key)
	if err != nil {
		return err
	}
	if err := client.Publish(ctx, "/0.celeryev/"+key, content).Err(); err != nil {
		return fmt.Errorf("publish %s: %w", event["type"], err)
	}
	return nil
}

// envelope is kombu's of a message on Redis (kombu/transport/virtual/base.py).
func envelope(body any, headers map[string]any, exchange, key string) ([]byte, error) {
	content, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"body": content, "content-encoding": "utf-8", "content-type": "application/json", "headers": headers,
		"properties": map[string]any{
			"delivery_mode": 2, "delivery_info": map[string]any{"exchange": exchange, "routing_key": key}, "priority": 0,
			"body_encoding": "base64", "delivery_tag": string(uuid.NewUUID()),
		},
	})
}
