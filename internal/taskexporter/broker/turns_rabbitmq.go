// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A group of exporters shares one queue, which one consumes at a time, exclusively. The others look
// for their turn. The queue keeps the events meanwhile, and nobody publishes anything.

// turnPoll is the time between looks at the queue.
const turnPoll = time.Second

// queueName is that of our group or of ourselves. The exchange is part of it, because a group's
// queue lives on in a rollout, and with it what it was bound to.
func (b *rabbitMQ) queueName() string {
	if b.options.Handover != "" {
		return b.options.Exchange + ".obstack." + b.options.Handover
	}
	return b.options.Exchange + "." + newID()
}

// TakeTurns has nothing to do: who consumes the queue counts.
func (b *rabbitMQ) TakeTurns(context.Context, func()) error { return nil }

// Leave stops consuming, so that the server lets another. What it has sent already is ours. Receive
// goes on until its context ends.
func (b *rabbitMQ) Leave(ctx context.Context) error {
	b.mu.Lock()
	b.leaving = true
	serving := b.serving
	b.mu.Unlock()
	if serving == nil {
		return nil
	}
	stop := context.AfterFunc(ctx, serving.connection.cut)
	defer stop()
	// If this fails the connection is gone, and our turn with it.
	_ = serving.channel.Cancel(consumerTag, false)
	select {
	case <-serving.over:
	case <-ctx.Done():
	}
	return nil
}

// serving is a turn.
type serving struct {
	connection *link
	channel    *amqp.Channel
	deliveries <-chan amqp.Delivery
	over       chan struct{} // closed when all deliveries are handed over
}

// takeTurn waits until nobody consumes the queue of the group, and does.
func (b *rabbitMQ) takeTurn(ctx context.Context, connection *link, channel *amqp.Channel) (*serving, error) {
	var refusal error
	for !b.isLeaving() {
		queue, err := channel.QueueDeclarePassive(b.queue, true, false, false, false, nil)
		switch {
		case err != nil:
			return nil, fmt.Errorf("look at the queue of the group: %w", err)
		case queue.Consumers == 0 && refusal != nil:
			return nil, refusal // not because another was faster
		case queue.Consumers == 0:
			turn, err := b.consume(connection, channel)
			if turn != nil {
				return turn, nil
			}
			if err == nil {
				continue // it is to end
			}
			if refusal = fmt.Errorf("consume: %w", err); !Refused(err) {
				return nil, refusal
			}
			if channel, err = connection.Channel(); err != nil {
				return nil, fmt.Errorf("open a channel: %w", err)
			}
			continue
		}
		refusal = nil
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(turnPoll):
		}
	}
	<-ctx.Done() // it is to end, and no turn of ours begins any more
	return nil, ctx.Err()
}

// consume begins a turn, unless no more are to begin. What the server sends before its response is
// ours already, so Leave waits for that.
func (b *rabbitMQ) consume(connection *link, channel *amqp.Channel) (*serving, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.leaving {
		return nil, nil
	}
	deliveries, err := channel.Consume(b.queue, consumerTag, true, true, false, false, nil)
	if err != nil {
		return nil, err
	}
	b.serving = &serving{connection, channel, deliveries, make(chan struct{})}
	return b.serving, nil
}

func (b *rabbitMQ) isLeaving() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.leaving
}

// serve hands messages over for as long as our turn lasts.
func (b *rabbitMQ) serve(ctx context.Context, turn *serving, to Sink) error {
	defer close(turn.over)
	to.Turn(true)
	turn.connection.reader.paced.Store(true)
	err := deliver(ctx, turn.deliveries, to)
	turn.connection.reader.paced.Store(false)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.serving = nil; b.leaving {
		to.Turn(false)
	}
	return err
}

// receiveInTurn consumes the queue of our group when nobody else does.
func (b *rabbitMQ) receiveInTurn(ctx context.Context, connection *link, channel *amqp.Channel, to Sink) error {
	// Another may have its turn since the last connection was lost.
	to.Turn(false)
	to.Subscribed()
	turn, err := b.takeTurn(ctx, connection, channel)
	if err != nil {
		return err
	}
	err = b.serve(ctx, turn, to)
	if errors.Is(err, errEnded) && b.isLeaving() && !connection.IsClosed() {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}
