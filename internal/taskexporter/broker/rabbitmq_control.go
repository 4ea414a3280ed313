// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

// Control connects with a connection of its own: a refused question closes its channel and must not touch the events.
func (b *rabbitMQ) Control(ctx context.Context) (Control, error) {
	connection, err := b.dial(ctx, "obstack task exporter: control", nil)
	if err != nil {
		return nil, err
	}
	return &rabbitControl{connection: connection.Connection, id: newID()}, nil
}

type rabbitControl struct {
	connection *amqp.Connection
	channel    *amqp.Channel
	id         string
}

func (c *rabbitControl) Close() { c.connection.Close() }

// open returns a usable channel; one that a refusal closed is replaced.
func (c *rabbitControl) open() (*amqp.Channel, error) {
	if c.channel != nil && !c.channel.IsClosed() {
		return c.channel, nil
	}
	channel, err := c.connection.Channel()
	if err != nil {
		return nil, fmt.Errorf("open a channel: %w", err)
	}
	c.channel = channel
	return channel, nil
}

// Depths asks for each queue by a passive declaration. A queue that is not there has no messages and no consumers.
func (c *rabbitControl) Depths(ctx context.Context, queues []string) ([]Depth, error) {
	depths := make([]Depth, len(queues))
	for i, queue := range queues {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		channel, err := c.open()
		if err != nil {
			return nil, err
		}
		// The management API could tell more, but it is a plugin, has another port and another login. To a passive declaration
		// of a queue that is not there the server answers by closing the channel (AMQP 0-9-1, 404).
		state, err := channel.QueueDeclarePassive(queue, false, false, false, false, nil)
		if err != nil && c.connection.IsClosed() {
			return nil, fmt.Errorf("read the queues' lengths: %w", err)
		}
		if err == nil {
			depths[i] = Depth{Messages: int64(state.Messages), Consumers: int64(state.Consumers)}
		}
	}
	return depths, nil
}

// Unacked is not told by AMQP, only by RabbitMQ's management API.
func (c *rabbitControl) Unacked(context.Context) (int64, bool, error) { return 0, false, nil }

func (c *rabbitControl) Broadcast(ctx context.Context, request wire.Request) error {
	channel, err := c.open()
	if err != nil {
		return err
	}
	err = channel.PublishWithContext(ctx, wire.ControlExchange, "", false, false, amqp.Publishing{
		ContentType: "application/json", ContentEncoding: "utf-8", Body: request.Body(), Headers: amqp.Table(request.Headers()),
	})
	if err != nil {
		return fmt.Errorf("broadcast %s: %w", request.Method, err)
	}
	return nil
}

// Ask declares a reply queue of its own; without the exchanges, which workers make, there is nobody to ask.
func (c *rabbitControl) Ask(ctx context.Context, wait time.Duration, methods []string, handle func(string, []byte)) error {
	channel, err := c.connection.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	defer channel.Close()
	err = channel.ExchangeDeclarePassive(wire.ControlExchange, "fanout", false, false, false, false, nil)
	// Workers make this exchange, not durable, and it goes with the last of them.
	if notFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for workers: %w", err)
	}
	replies, err := c.replies(channel)
	if err != nil {
		return err
	}
	tickets, err := broadcastAll(ctx, c.Broadcast, methods, c.id)
	if err != nil {
		return err
	}
	return collect(ctx, replies, time.After(wait), tickets, handle)
}

// replies declares what kombu's client does: a direct exchange, not durable, and a queue of our own bound to it. If workers
// made the exchange in another way, this fails, and so would kombu.
func (c *rabbitControl) replies(channel *amqp.Channel) (<-chan amqp.Delivery, error) {
	if err := channel.ExchangeDeclare(wire.ReplyExchange, "direct", false, false, false, false, nil); err != nil {
		return nil, fmt.Errorf("declare the reply exchange: %w", err)
	}
	// Exclusive, so that it goes with the connection even if we do not; and named by kombu's custom, so that operators who
	// look at the broker know what it is.
	queue := c.id + "." + wire.ReplyExchange
	if _, err := channel.QueueDeclare(queue, false, true, true, false, amqp.Table{"x-expires": int32(queueExpires)}); err != nil {
		return nil, fmt.Errorf("declare the reply queue: %w", err)
	}
	if err := channel.QueueBind(queue, c.id, wire.ReplyExchange, false, nil); err != nil {
		return nil, fmt.Errorf("bind the reply queue: %w", err)
	}
	replies, err := channel.Consume(queue, "", true, true, false, false, nil)
	if err != nil {
		return nil, fmt.Errorf("consume replies: %w", err)
	}
	return replies, nil
}

func collect(ctx context.Context, replies <-chan amqp.Delivery, over <-chan time.Time, tickets map[string]string, handle func(string, []byte)) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-over:
			return nil
		case reply, open := <-replies:
			if !open {
				return errors.New("read replies: the connection was closed")
			}
			// A late answer to an earlier question carries another ticket and is left out.
			ticket, _ := reply.Headers["ticket"].(string)
			if method, asked := tickets[ticket]; asked {
				handle(method, reply.Body)
			}
		}
	}
}
