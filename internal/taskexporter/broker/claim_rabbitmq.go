// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

// A group of exporters shares one queue, of which the server lets one consume at a time
// (x-single-active-consumer) and another as soon as that one is gone. A claim goes through the
// queue too: whoever consumes steps back behind the others.

// hopsHeader counts how often a claim was passed on, and maxHops bounds it: the one that claimed
// may be gone.
const (
	hopsHeader = "obstack-hops"
	maxHops    = 5
)

func (b *rabbitMQ) queueName() string {
	if b.options.Handover != "" {
		return "celeryev.obstack." + b.options.Handover
	}
	return "celeryev." + newID()
}

// Claim asks the one that consumes to step back.
func (b *rabbitMQ) Claim(ctx context.Context, claim Claim) error {
	if claim.Keep || b.claimed.Load() {
		return nil
	}
	err := b.publish(ctx, claim.Bytes(), 0)
	b.claimed.Store(err == nil)
	return err
}

// publish puts a claim into the queue, over a connection of its own: while an alarm is on, a server
// reads nothing from one that has published.
func (b *rabbitMQ) publish(ctx context.Context, claim []byte, hops int32) error {
	connection, err := b.dial(ctx, "obstack task exporter: claims")
	if err != nil {
		return err
	}
	defer connection.cut()
	stop := context.AfterFunc(ctx, connection.cut)
	defer stop()
	channel, err := connection.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	refused := channel.NotifyClose(make(chan *amqp.Error, 1))
	if err := channel.Confirm(false); err != nil {
		return fmt.Errorf("ask for confirmations: %w", err)
	}
	confirmation, err := channel.PublishWithDeferredConfirmWithContext(ctx, "", b.queue, false, false, amqp.Publishing{
		ContentType: ClaimType, Body: claim, Headers: amqp.Table{hopsHeader: hops},
	})
	if err != nil {
		return fmt.Errorf("publish a claim: %w", err)
	}
	select {
	case <-confirmation.Done():
		return nil
	case reason := <-refused:
		return fmt.Errorf("publish a claim: %w", reason)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s Sink) isClaim(message *amqp.Delivery) bool {
	return s.ID != "" && message.ContentType == ClaimType
}

// isForeign reports whether a claim is another's, who may still be there.
func (s Sink) isForeign(message *amqp.Delivery) bool {
	claim, ok := ParseClaim(message.Body)
	hops, _ := message.Headers[hopsHeader].(int32)
	return ok && !claim.Keep && claim.ID != s.ID && hops < maxHops
}

// stepBack lets another consume. What the server has sent to us already is ours to count.
func (b *rabbitMQ) stepBack(
	ctx context.Context, channel *amqp.Channel, deliveries <-chan amqp.Delivery, claim *amqp.Delivery, to Sink,
) error {
	if err := channel.Cancel(consumerTag, false); err != nil {
		return fmt.Errorf("step back: %w", err)
	}
	for message := range deliveries {
		if !to.isClaim(&message) {
			to.deliver(&message)
		}
	}
	to.Message(claim.Body, wire.Format{ContentType: ClaimType})
	to.Drained()
	bounded, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	hops, _ := claim.Headers[hopsHeader].(int32)
	return b.publish(bounded, claim.Body, hops+1)
}
