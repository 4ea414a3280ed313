// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

// redisWorkers asks workers over a connection of its own.
type redisWorkers struct {
	*redisBroker
	client *redis.Client
	id     string // routing key of replies
}

// Workers connects, so that a wrong password shows at once.
func (b *redisBroker) Workers(ctx context.Context) (Workers, error) {
	client, err := b.client(ctx)
	if err != nil {
		return nil, err
	}
	return &redisWorkers{b, client, newID()}, nil
}

func (c *redisWorkers) Close() { c.client.Close() }

// Ask binds a reply queue as kombu does, a member of a set, and takes it back afterwards.
func (c *redisWorkers) Ask(ctx context.Context, requests []wire.Request, handle func(Reply)) (err error) {
	queue := c.id + "." + wire.ReplyExchange(c.options.ControlExchange)
	key := c.options.KeyPrefix + queue
	bindings := c.options.KeyPrefix + "_kombu.binding." + wire.ReplyExchange(c.options.ControlExchange)
	// Kombu's binding: routing key, pattern and queue; the pattern of a direct exchange is empty.
	// Workers look here for whom to send their replies to.
	member := c.id + c.options.Separator + c.options.Separator + queue
	if err := c.client.SAdd(ctx, bindings, member).Err(); err != nil {
		return fmt.Errorf("bind the reply queue: %w", err)
	}
	defer func() {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		removed := c.client.SRem(cleanup, bindings, member).Err()
		err = errors.Join(err, removed, c.client.Del(cleanup, key).Err())
	}()
	// All questions are asked at once, because each waits the same time for replies.
	tickets := ticketed(requests, c.options.ControlExchange, c.id)
	// The channel of a fanout exchange has no routing key, whatever fanout_patterns says.
	channel := c.channel(wire.ControlExchange(c.options.ControlExchange))
	for _, request := range requests {
		if err := c.client.Publish(ctx, channel, request.Envelope(newID())).Err(); err != nil {
			return fmt.Errorf("broadcast %s: %w", request.Method, err)
		}
	}
	if len(tickets) == 0 {
		return nil
	}
	return c.collect(ctx, key, tickets, handle)
}

// replyPoll is the pause after an exchange that brought nothing.
const replyPoll = 25 * time.Millisecond

// collect takes replies from the list, whose priority is always 0, until there is none for a while.
func (c *redisWorkers) collect(ctx context.Context, key string, tickets map[string]string, handle func(Reply)) error {
	var decoder wire.Decoder
	next := incoming{handle: func(message []byte, tooLarge bool) { reply(&decoder, message, tooLarge, tickets, handle) }}
	batch := 1
	// When the context ends, a fleet that does not stop to reply has been heard long enough.
	for last := time.Now(); ctx.Err() == nil && time.Since(last) < replyWait; {
		popped, err := c.pop(ctx, key, batch, &next)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("read replies: %w", err)
		}
		if popped > 0 {
			last, batch = time.Now(), replyBatch
			continue
		}
		batch = 1
		select {
		case <-ctx.Done():
		case <-time.After(replyPoll):
		}
	}
	return nil
}

// reply hands on a message from the reply queue. One without a ticket of ours replies to an earlier
// question.
func reply(decoder *wire.Decoder, message []byte, tooLarge bool, tickets map[string]string, handle func(Reply)) {
	if tooLarge {
		handle(Reply{Err: ErrTooLarge})
		return
	}
	body, ticket, err := decoder.Reply(message)
	if method, asked := tickets[ticket]; asked || err != nil {
		handle(Reply{method, body, err})
	}
}

// pop takes up to a number of replies, and returns how many there were. They are single commands,
// because RPOP takes a count since Redis 6.2 only.
func (c *redisWorkers) pop(ctx context.Context, key string, count int, to *incoming) (popped int, err error) {
	pipe := c.client.Pipeline()
	for range count {
		// Go-redis would make room for whatever length the server names.
		_ = pipe.Process(ctx, redis.NewRawWriteToCmd(ctx, &element{incoming: to}, "RPOP", key)) // only queues it
	}
	to.popped, to.refusal = 0, nil
	_, err = pipe.Exec(ctx)
	if err != nil {
		to.reset()
		return to.popped, err
	}
	to.finish()
	return to.popped, to.refusal
}

// incoming is the message that a pipeline is reading. Each is handed on before the next is read, so
// that one at a time is in memory.
type incoming struct {
	handle  func(message []byte, tooLarge bool)
	kept    bytes.Buffer
	excess  int
	popped  int
	refusal error
}

// finish hands on what was read, if anything was.
func (in *incoming) finish() {
	if in.kept.Len() > 0 || in.excess > 0 {
		in.popped++
		in.handle(in.kept.Bytes(), in.excess > 0)
	}
	in.reset()
}

func (in *incoming) reset() {
	in.kept.Reset()
	in.excess = 0
}

// element takes one bulk string as it is on the wire, and keeps it if it is not too large. A
// pipeline reads raw replies as they are, errors too.
type element struct {
	*incoming
	header []byte // "$5", "$-1" or "-ERR ..."
	begun  bool   // the line of the header is over
}

// Write takes the next bytes: the header, its line's end, and what follows.
func (e *element) Write(p []byte) (int, error) {
	switch {
	case e.header == nil:
		e.finish()
		e.header = bytes.Clone(p)
		if len(p) > 0 && p[0] == '-' && e.refusal == nil {
			e.refusal = replyError(p[1:])
		}
	case !e.begun:
		e.begun = true
	case e.excess > 0 || e.kept.Len()+len(p) > maxReply+len("\r\n"):
		e.excess += len(p)
		e.kept.Reset()
	default:
		e.kept.Write(p)
	}
	return len(p), nil
}
