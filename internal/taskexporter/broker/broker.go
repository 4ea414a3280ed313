// SPDX-License-Identifier: Apache-2.0

// Package broker connects to Redis and RabbitMQ as kombu does: the same options and names, on
// well-kept clients. It knows nothing of events or metrics: it delivers bytes. A password is in no
// error that it returns.
package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"obstack.dev/obstack/internal/brokerurl"
	"obstack.dev/obstack/internal/taskexporter/wire"
)

// dialTimeout bounds the making of a connection.
const dialTimeout = 5 * time.Second

// silenceLimit is how long a broker may say nothing at all, asked several times, before the
// connection counts as dead.
const silenceLimit = 15 * time.Second

// Broker reads Celery's events and talks to its workers. What connects returns a *ConnectError if
// it could not.
type Broker interface {
	// Receive subscribes to the events and hands them to the sink, one after the other. It returns
	// when the connection is lost, with the reason, or the context ends.
	Receive(ctx context.Context, to Sink) error
	// Depths connects for reading the depths of queues.
	Depths(ctx context.Context) (Depths, error)
	// Workers connects for asking workers. It is not the connection that reads depths, because a
	// broker that runs out of memory may stop reading from whoever publishes.
	Workers(ctx context.Context) (Workers, error)
	// TakeTurns does what it takes besides Receive that one of a group counts, which options.Handover
	// names. It returns when the connection is lost, with the reason, or the context ends, or nothing
	// is to be done. After a Refused error the exporter counts for itself. Spoken is called when the
	// broker was reached.
	TakeTurns(ctx context.Context, spoken func()) error
	// Leave gives the turn away, and returns when another of the group has it, or there is nobody
	// to wait for. Receive goes on. The error is why the exporter takes no turns.
	Leave(ctx context.Context) error
}

// Sink takes what a broker delivers. Its functions may be called from different goroutines, and,
// for a moment, after Receive has returned.
type Sink struct {
	// Subscribed is called once the events are subscribed to; the first may be there before.
	Subscribed func()
	// Message is called for each message, which is valid during the call.
	Message func(message []byte, format wire.Format)
	// Turn is called in a group, at its place among the messages, when those that follow are ours to
	// count, or another's, which they are at first.
	Turn func(ours bool)
	// Drained is called when all that was read is handed over, before more is waited for.
	Drained func()
}

// Depths is a connection that reads depths. It is for one goroutine.
type Depths interface {
	// Lengths returns the queues' depths in the same order. The error is that of the connection,
	// which must be closed then.
	Lengths(ctx context.Context, queues []string) ([]Depth, error)
	// Unacked returns the number of messages delivered and not acknowledged, in all queues.
	// RabbitMQ does not say.
	Unacked(ctx context.Context) (int64, error)
	Close()
}

// Depth is what is known of a queue.
type Depth struct {
	// Messages waiting, in all priorities.
	Messages int64
	// Consumers, or -1 where the broker does not say.
	Consumers int64
	// Missing queues do not exist, where the broker says so; they have no messages.
	Missing bool
	// Err is why the queue cannot be read. Then the rest means nothing.
	Err error
}

// Workers is a connection that asks workers. It is for one goroutine.
type Workers interface {
	// Ask broadcasts the requests and calls handle for each reply, until none came for a second or
	// the context ends: nobody knows how many workers there are. The tickets of requests that want
	// replies, and where to, are filled in. A Refused error leaves the connection usable, after any
	// other it must be closed.
	Ask(ctx context.Context, requests []wire.Request, handle func(Reply)) error
	Close()
}

// Reply is a worker's reply to a request.
type Reply struct {
	Method string
	// Body is JSON, valid during the call.
	Body []byte
	// Err is why it is not: ErrTooLarge or one of wire's errors.
	Err error
}

const (
	// replyWait is how long workers may take until the next reply. They need milliseconds.
	replyWait = time.Second
	// maxReply bounds one reply, in bytes. A worker lists every task that it holds, those with an
	// ETA too, each in about 600 bytes.
	maxReply = 2 << 20
	// replyBatch is how many replies are on the way to us at a time: more than one, because the
	// server may be milliseconds away while hundreds of workers reply.
	replyBatch = 16
)

// ErrTooLarge is that of a reply beyond the limit.
var ErrTooLarge = errors.New("reply larger than 2 MiB")

// ErrBlocked is returned instead of asking while the broker takes no messages from publishers.
var ErrBlocked = errors.New("the broker takes no messages from publishers")

// ConnectError is returned when there is no connection to a broker that anything could be asked on.
type ConnectError struct{ Err error }

func (e *ConnectError) Error() string { return "connect: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *ConnectError) Unwrap() error { return e.Err }

// Refused reports whether the broker responded and does not allow what was asked, so that asking
// again soon is in vain.
func Refused(err error) bool {
	if refusal := redis.Error(nil); errors.As(err, &refusal) && !errors.Is(err, redis.Nil) {
		return !redis.IsLoadingError(refusal) && !redis.IsMasterDownError(refusal) && !redis.IsTryAgainError(refusal) &&
			!redis.IsMaxClientsError(refusal) &&
			// A server that was the master: the sentinels know the new one.
			!redis.IsReadOnlyError(refusal)
	}
	if reason, ok := errors.AsType[*amqp.Error](err); ok {
		return slices.Contains(
			[]int{amqp.AccessRefused, amqp.NotAllowed, amqp.ResourceLocked, amqp.PreconditionFailed},
			reason.Code,
		)
	}
	return errors.Is(err, ErrBlocked) || errors.Is(err, errNoChannel)
}

// New returns the broker of an address. Nothing is connected yet.
func New(address brokerurl.Address, options Options, config *tls.Config) Broker {
	if address.Kind == brokerurl.RabbitMQ {
		return &rabbitMQ{address: address, options: options, tls: config}
	}
	return &redisBroker{address: address, options: options, tls: config, turns: newTurns()}
}

// ticketed fills in the application and where replies are wanted, and returns the methods by the
// tickets of their replies.
func ticketed(requests []wire.Request, application, replyTo string) map[string]string {
	tickets := make(map[string]string, len(requests))
	for i := range requests {
		requests[i].Application = application
		if requests[i].WantsReply {
			requests[i].Ticket, requests[i].ReplyTo = newID(), replyTo
			tickets[requests[i].Ticket] = requests[i].Method
		}
	}
	return tickets
}
