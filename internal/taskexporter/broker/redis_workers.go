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

const (
	// replyBatch is how many replies are read in one exchange with the server, which may be
	// milliseconds away while hundreds of workers reply. Single commands, because RPOP takes a
	// count since Redis 6.2 only.
	replyBatch = 64
	// replyPoll is the pause after an exchange that brought nothing.
	replyPoll = 25 * time.Millisecond
)

// collect takes replies from the list, whose priority is always 0, until there is none for a while.
func (c *redisWorkers) collect(ctx context.Context, key string, tickets map[string]string, handle func(Reply)) error {
	var decoder wire.Decoder
	batch := 1
	// When the context ends, a fleet that does not stop to reply has been heard long enough.
	for last := time.Now(); ctx.Err() == nil && time.Since(last) < replyWait; {
		popped, err := c.pop(ctx, key, batch)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("read replies: %w", err)
		}
		for _, message := range popped {
			reply(&decoder, message, tickets, handle)
		}
		if len(popped) > 0 {
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
func reply(decoder *wire.Decoder, message *element, tickets map[string]string, handle func(Reply)) {
	if message.excess > 0 {
		handle(Reply{Err: ErrTooLarge})
		return
	}
	body, ticket, err := decoder.Reply(message.kept.Bytes())
	if method, asked := tickets[ticket]; asked || err != nil {
		handle(Reply{method, body, err})
	}
}

// pop takes up to a number of replies.
func (c *redisWorkers) pop(ctx context.Context, key string, count int) (popped []*element, err error) {
	pipe := c.client.Pipeline()
	for range count {
		next := &element{}
		popped = append(popped, next)
		// Go-redis would make room for whatever length the server names.
		_ = pipe.Process(ctx, redis.NewRawWriteToCmd(ctx, next, "RPOP", key)) // only queues it
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	for i, next := range popped {
		if next.refusal != nil {
			return nil, next.refusal
		}
		if next.kept.Len() == 0 && next.excess == 0 {
			return popped[:i], nil
		}
	}
	return popped, nil
}

// element takes one bulk string as it is on the wire, and keeps it if it is not too large. A
// pipeline reads raw replies as they are, errors too.
type element struct {
	header  []byte // "$5", "$-1" or "-ERR ..."
	begun   bool   // the line of the header is over
	kept    bytes.Buffer
	excess  int
	refusal error
}

// Write takes the next bytes: the header, its line's end, and what follows.
func (e *element) Write(p []byte) (int, error) {
	switch {
	case e.header == nil:
		e.header = bytes.Clone(p)
		if len(p) > 0 && p[0] == '-' {
			e.refusal = refusal(p[1:])
		}
	case !e.begun:
		e.begun = true
	case e.excess > 0 || e.kept.Len()+len(p) > maxReply+len("\r\n"):
		e.excess += len(p)
		e.kept = bytes.Buffer{}
	default:
		e.kept.Write(p)
	}
	return len(p), nil
}

// refusal is the text of an error that the server returned.
type refusal string

func (r refusal) Error() string { return string(r) }

// RedisError makes it an error as those of go-redis.
func (refusal) RedisError() {}
