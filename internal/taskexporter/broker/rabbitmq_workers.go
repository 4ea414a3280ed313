// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

// rabbitWorkers asks workers. While an alarm is on, a server reads nothing from a connection that
// has published.
type rabbitWorkers struct {
	*link
	id string // routing key of replies
	// application is its control_exchange.
	application string
	blocked     atomic.Pointer[string]

	channel *amqp.Channel
	replies <-chan amqp.Delivery
}

// Workers connects with a connection of its own.
func (b *rabbitMQ) Workers(ctx context.Context) (Workers, error) {
	connection, err := b.dial(ctx, "obstack task exporter: workers")
	if err != nil {
		return nil, err
	}
	c := &rabbitWorkers{link: connection, id: newID(), application: b.options.ControlExchange}
	changes := connection.NotifyBlocked(make(chan amqp.Blocking, 1))
	go func() {
		for change := range changes {
			if change.Active {
				c.blocked.Store(&change.Reason)
			} else {
				c.blocked.Store(nil)
			}
		}
	}()
	return c, nil
}

// Ask declares a reply queue of its own; without the exchanges, which workers make, there is nobody
// to ask.
func (c *rabbitWorkers) Ask(ctx context.Context, requests []wire.Request, handle func(Reply)) error {
	if err := c.free(); err != nil {
		return err
	}
	// The library waits for replies without a limit, and one that is overdue leaves a channel of no
	// use.
	setup, done := context.WithTimeout(ctx, dialTimeout)
	defer done()
	stop := context.AfterFunc(setup, c.cut)
	nobody, err := c.prepare()
	if err != nil || nobody {
		stop()
		return errors.Join(setup.Err(), err)
	}
	tickets := ticketed(requests, c.application, c.id)
	for _, request := range requests {
		err := c.channel.PublishWithContext(ctx, wire.ControlExchange(c.application), "", false, false, amqp.Publishing{
			ContentType: "application/json", ContentEncoding: "utf-8", Body: request.Body(),
			Headers: amqp.Table(request.Headers()),
		})
		if err != nil {
			stop()
			return fmt.Errorf("broadcast %s: %w", request.Method, err)
		}
	}
	if !stop() {
		return fmt.Errorf("broadcast: %w", setup.Err())
	}
	if len(tickets) > 0 {
		if err := c.collect(ctx, tickets, handle); err != nil {
			return err
		}
	}
	// A server with an alarm says so to whoever publishes, and does not pass it on.
	return c.free()
}

// free returns an error while the server takes nothing.
func (c *rabbitWorkers) free() error {
	if reason := c.blocked.Load(); reason != nil {
		return fmt.Errorf("%w: %s", ErrBlocked, *reason)
	}
	return nil
}

// prepare makes the channel and the reply queue, unless they are still there. Nobody is there to be
// asked while there is no exchange: workers make it, not durable, and it goes with the last of
// them.
func (c *rabbitWorkers) prepare() (nobody bool, err error) {
	if c.channel == nil || c.channel.IsClosed() {
		if c.channel, err = c.Channel(); err != nil {
			return false, fmt.Errorf("open a channel: %w", err)
		}
		c.replies = nil
	}
	err = c.channel.ExchangeDeclarePassive(
		wire.ControlExchange(c.application),
		"fanout",
		false,
		false,
		false,
		false,
		nil,
	)
	if notFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for workers: %w", err)
	}
	if c.replies != nil {
		return false, nil
	}
	if err := c.replyExchange(); err != nil {
		return false, err
	}
	c.replies, err = c.consume()
	return false, err
}

// replyExchange makes the exchange of replies as kombu's client does, direct and not durable, if no
// worker did. A client that may not make one waits for them.
func (c *rabbitWorkers) replyExchange() error {
	err := c.channel.ExchangeDeclarePassive(
		wire.ReplyExchange(c.application),
		"direct",
		false,
		false,
		false,
		false,
		nil,
	)
	if notFound(err) {
		if c.channel, err = c.Channel(); err != nil {
			return fmt.Errorf("open a channel: %w", err)
		}
		err = c.channel.ExchangeDeclare(wire.ReplyExchange(c.application), "direct", false, false, false, false, nil)
	}
	if err != nil {
		return fmt.Errorf("declare the reply exchange: %w", err)
	}
	return nil
}

// consume makes our queue of replies. It is exclusive, so that it goes with the connection even if
// we do not, and named by kombu's custom, so that operators who look at the broker know what it is.
func (c *rabbitWorkers) consume() (<-chan amqp.Delivery, error) {
	queue := c.id + "." + wire.ReplyExchange(c.application)
	arguments := amqp.Table{
		"x-expires": int32(queueExpires), "x-message-ttl": int32(queueExpires), "x-queue-type": queueType,
		// The library would read a reply of any size; this way the server refuses one, and those
		// after it still come.
		"x-max-length-bytes": int32(maxReply), "x-overflow": "reject-publish",
	}
	if _, err := c.channel.QueueDeclare(queue, false, true, true, false, arguments); err != nil {
		return nil, fmt.Errorf("declare the reply queue: %w", err)
	}
	if err := c.channel.QueueBind(queue, c.id, wire.ReplyExchange(c.application), false, nil); err != nil {
		return nil, fmt.Errorf("bind the reply queue: %w", err)
	}
	// The library would also hold any number of them.
	if err := c.channel.Qos(replyBatch, 0, false); err != nil {
		return nil, fmt.Errorf("bound the replies on the way: %w", err)
	}
	replies, err := c.channel.Consume(queue, "", false, true, false, false, nil)
	if err != nil {
		return nil, fmt.Errorf("consume replies: %w", err)
	}
	return replies, nil
}

// collect takes replies until there is none for a while.
func (c *rabbitWorkers) collect(ctx context.Context, tickets map[string]string, handle func(Reply)) error {
	quiet := time.NewTimer(replyWait)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-quiet.C:
			return nil
		case message, open := <-c.replies:
			if !open {
				return errors.New("read replies: the channel was closed")
			}
			quiet.Reset(replyWait)
			// A late reply to an earlier question carries another ticket and is left out.
			ticket, _ := message.Headers["ticket"].(string)
			if method, asked := tickets[ticket]; asked {
				compression, _ := message.Headers["compression"].(string)
				format := wire.Format{
					ContentType:     message.ContentType,
					ContentEncoding: message.ContentEncoding,
					Compression:     compression,
				}
				body, err := format.JSON(message.Body)
				handle(Reply{method, body, err})
			}
			if err := message.Ack(false); err != nil {
				return fmt.Errorf("acknowledge a reply: %w", err)
			}
		}
	}
}
