// SPDX-License-Identifier: Apache-2.0

// Package broker connects to Redis and RabbitMQ as kombu does: the same options and names, on well-kept
// clients. It knows nothing of events or metrics: it delivers bytes. A password is in no error that it returns.
package broker

import (
	"context"
	"crypto/tls"
	"time"

	"obstack.dev/obstack/internal/brokerurl"
	"obstack.dev/obstack/internal/taskexporter/wire"
)

// dialTimeout bounds the making of a connection.
const dialTimeout = 5 * time.Second

// silenceLimit is how long a broker may say nothing at all, asked several times, before the connection counts as dead.
const silenceLimit = 15 * time.Second

// Broker reads Celery's events and talks to its workers.
type Broker interface {
	// Receive subscribes to the events and hands them to the sink, one after the other. It returns when the connection is
	// lost, with the reason, or the context ends.
	Receive(ctx context.Context, to Sink) error
	// Control connects for everything that is not events.
	Control(ctx context.Context) (Control, error)
}

// Sink takes what a broker delivers. Its functions may be called from different goroutines, and, for a moment, after
// Receive has returned.
type Sink struct {
	// Subscribed is called once the events are subscribed to; the first may be there before.
	Subscribed func()
	// Message is called for each message, which is valid during the call.
	Message func(message []byte, format wire.Format)
	// Drained is called when all that was read is handed over, before more is waited for.
	Drained func()
}

// Control is a connection for questions. It is for one goroutine. After an error, close it and make another.
type Control interface {
	// Depths returns the queues' depths in the same order.
	Depths(ctx context.Context, queues []string) ([]Depth, error)
	// Unacked returns the number of messages delivered and not acknowledged, in all queues; ok is false where the broker
	// does not tell.
	Unacked(ctx context.Context) (count int64, ok bool, err error)
	// Broadcast sends a request to the workers that wants no reply.
	Broadcast(ctx context.Context, request wire.Request) error
	// Ask sends the requests and calls handle for the body of each reply to one until the time is over: nobody knows how
	// many workers there are. The requests' Ticket and ReplyTo are filled in.
	Ask(ctx context.Context, wait time.Duration, methods []string, handle func(method string, body []byte)) error
	Close()
}

// Depth is what is known of a queue.
type Depth struct {
	// Messages waiting, in all priorities.
	Messages int64
	// Consumers, or -1 where the broker does not tell.
	Consumers int64
}

// New returns the broker of an address. Nothing is connected yet.
func New(address brokerurl.Address, options Options, config *tls.Config) Broker {
	if address.Kind == brokerurl.RabbitMQ {
		return &rabbitMQ{address: address, options: options, tls: config}
	}
	return &redisBroker{address: address, options: options, tls: config}
}

// broadcastAll asks all workers each of the methods and returns the methods by the tickets of the answers.
func broadcastAll(ctx context.Context, broadcast func(context.Context, wire.Request) error, methods []string, replyTo string) (map[string]string, error) {
	tickets := make(map[string]string, len(methods))
	for _, method := range methods {
		ticket := newID()
		tickets[ticket] = method
		if err := broadcast(ctx, wire.Request{Method: method, Ticket: ticket, ReplyTo: replyTo}); err != nil {
			return nil, err
		}
	}
	return tickets, nil
}
