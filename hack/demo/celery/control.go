// SPDX-License-Identifier: Apache-2.0

package celery

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"
)

// question of remote control (kombu/pidbox.py).
type question struct {
	Method      string
	Destination []string
	Ticket      string
	ReplyTo     struct {
		Exchange   string
		RoutingKey string `json:"routing_key"`
	} `json:"reply_to"`
}

// listen replies to what is asked of all workers or of this one.
func (w *worker) listen(ctx context.Context, asked <-chan *redis.Message) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m, open := <-asked:
			if !open {
				return ctx.Err()
			}
			q, err := parseQuestion(m.Payload)
			if err != nil {
				return err
			}
			if len(q.Destination) > 0 && !slices.Contains(q.Destination, w.node) {
				continue
			}
			if err := w.reply(ctx, q); err != nil {
				return err
			}
		}
	}
}

func parseQuestion(payload string) (q question, err error) {
	var outer struct{ Body string }
	if err := json.Unmarshal([]byte(payload), &outer); err != nil {
		return q, fmt.Errorf("read a question: %w", err)
	}
	body, err := base64.StdEncoding.DecodeString(outer.Body)
	if err != nil {
		return q, fmt.Errorf("read a question: %w", err)
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return q, fmt.Errorf("read a question: %w", err)
	}
	return q, nil
}

func (w *worker) reply(ctx context.Context, q question) error {
	if q.Method == "heartbeat" {
		return w.state(ctx, "worker-heartbeat")
	}
	said := w.says(q.Method)
	if said == nil || q.Ticket == "" {
		return nil
	}
	content, err := envelope(map[string]any{w.node: said}, map[string]any{"ticket": q.Ticket}, q.ReplyTo.Exchange,
		q.ReplyTo.RoutingKey)
	if err != nil {
		return err
	}
	if err := w.client.LPush(ctx, q.ReplyTo.RoutingKey+"."+q.ReplyTo.Exchange, content).Err(); err != nil {
		return fmt.Errorf("reply to %s: %w", q.Method, err)
	}
	return nil
}

// says is the reply to a method, or nil if it is none of those that are played.
func (w *worker) says(method string) any {
	switch method {
	case "active_queues":
		var consumed []any
		for _, queue := range queues {
			consumed = append(consumed, map[string]any{"name": queue, "routing_key": queue})
		}
		return consumed
	case "stats":
		return map[string]any{"pool": map[string]any{"max-concurrency": concurrency}}
	case "active":
		w.mu.Lock()
		defer w.mu.Unlock()
		held := []any{}
		for id, m := range w.active {
			held = append(held, map[string]any{
				"id": id, "name": m.Headers.Task, "hostname": w.node,
				"delivery_info": map[string]any{"routing_key": m.Properties.DeliveryInfo.RoutingKey},
			})
		}
		return held
	case "reserved", "scheduled":
		return []any{}
	}
	return nil
}
