// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// rabbitDepths reads depths. It never publishes, so an alarm of the server does not touch its
// connection.
type rabbitDepths struct {
	*link
	channel *amqp.Channel
}

// Depths connects with a connection of its own: a refused question closes its channel and must not
// touch the events.
func (b *rabbitMQ) Depths(ctx context.Context) (Depths, error) {
	connection, err := b.dial(ctx, "obstack task exporter: depths")
	if err != nil {
		return nil, err
	}
	return &rabbitDepths{link: connection}, nil
}

// open returns a usable channel; one that a refusal closed is replaced.
func (c *rabbitDepths) open() (*amqp.Channel, error) {
	if c.channel != nil && !c.channel.IsClosed() {
		return c.channel, nil
	}
	channel, err := c.Channel()
	if err != nil {
		return nil, fmt.Errorf("open a channel: %w", err)
	}
	c.channel = channel
	return channel, nil
}

// Lengths asks for each queue by a passive declaration, which needs no permission.
func (c *rabbitDepths) Lengths(ctx context.Context, queues []string) ([]Depth, error) {
	// The library waits for replies without a limit.
	defer context.AfterFunc(ctx, c.cut)()
	depths := make([]Depth, len(queues))
	for i, queue := range queues {
		channel, err := c.open()
		if err != nil {
			return nil, errors.Join(ctx.Err(), err)
		}
		// The management API could say more, but it is a plugin, has another port and another
		// login. To a passive declaration of a queue that is not there the server responds by
		// closing the channel (AMQP 0-9-1, 404).
		state, err := channel.QueueDeclarePassive(queue, false, false, false, false, nil)
		switch {
		case err == nil:
			depths[i] = Depth{Messages: int64(state.Messages), Consumers: int64(state.Consumers)}
		case c.IsClosed():
			return nil, errors.Join(ctx.Err(), fmt.Errorf("read the queues' lengths: %w", err))
		// "home node ... of durable queue is down" is a 404 too.
		case notFound(err) && strings.Contains(err.Error(), "no queue"):
			depths[i].Missing = true
		default:
			depths[i].Err = err
		}
	}
	return depths, nil
}

// Unacked is not in AMQP, only in RabbitMQ's management API.
func (c *rabbitDepths) Unacked(context.Context) (int64, error) { return 0, errors.ErrUnsupported }
