// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

// redisControl asks questions over connections of their own: one that subscribes may do nothing else in RESP version 2.
type redisControl struct {
	*redisBroker
	client *redis.Client
	id     string // routing key of replies
}

func (c *redisControl) Close() { c.client.Close() }

// Depths sums each queue's sub-lists, one for each priority step.
func (c *redisControl) Depths(ctx context.Context, queues []string) ([]Depth, error) {
	// An empty list does not exist, so a queue that nobody made has a length of zero like one that is empty. Kombu reads the
	// steps in a transaction; here a message is in one list only at any time, so that no sum can be wrong by more than what
	// moved meanwhile.
	pipe := c.client.Pipeline()
	lengths := make([][]*redis.IntCmd, len(queues))
	for i, queue := range queues {
		for _, step := range c.options.PrioritySteps {
			lengths[i] = append(lengths[i], pipe.LLen(ctx, c.options.KeyPrefix+c.subQueue(queue, step)))
		}
	}
	if len(queues) == 0 {
		return nil, nil
	}
	// One key of another type is no reason to lose the other queues; a broken connection breaks them all.
	_, err := pipe.Exec(ctx)
	depths := make([]Depth, len(queues))
	for i, commands := range lengths {
		depths[i].Consumers = -1
		for _, command := range commands {
			depths[i].Messages += command.Val()
		}
	}
	var answer redis.Error
	if err != nil && !errors.As(err, &answer) {
		return nil, fmt.Errorf("read the queues' lengths: %w", err)
	}
	return depths, nil
}

// subQueue returns the list of one priority step; that of step zero has the queue's bare name.
func (c *redisControl) subQueue(queue string, step int) string {
	if step == 0 {
		return queue
	}
	return queue + c.options.Separator + strconv.Itoa(step)
}

func (c *redisControl) Unacked(ctx context.Context) (int64, bool, error) {
	// The hash is one for the whole database. The queue of each message is inside its value, and reading thousands of messages
	// to count them by queue would cost the broker more than the number is worth.
	count, err := c.client.HLen(ctx, c.options.KeyPrefix+c.options.UnackedKey).Result()
	if err != nil {
		return 0, false, fmt.Errorf("read the number of unacknowledged messages: %w", err)
	}
	return count, true, nil
}

// Broadcast publishes to the channel of the fanout exchange, which has no routing key, whatever fanout_patterns says.
func (c *redisControl) Broadcast(ctx context.Context, request wire.Request) error {
	err := c.client.Publish(ctx, c.channel(wire.ControlExchange), request.Envelope(newID())).Err()
	if err != nil {
		return fmt.Errorf("broadcast %s: %w", request.Method, err)
	}
	return nil
}

// Ask binds a reply queue as kombu does, a member of a set, and takes it back afterwards.
func (c *redisControl) Ask(ctx context.Context, wait time.Duration, methods []string, handle func(string, []byte)) (err error) {
	queue := c.id + "." + wire.ReplyExchange
	key := c.options.KeyPrefix + queue
	bindings := c.options.KeyPrefix + "_kombu.binding." + wire.ReplyExchange
	// Kombu's binding: routing key, pattern and queue; the pattern of a direct exchange is empty. Workers look here for whom
	// to send their replies to.
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
	// All questions are asked at once, because each waits the same time for answers.
	tickets, err := broadcastAll(ctx, c.Broadcast, methods, c.id)
	if err != nil {
		return err
	}
	return c.collect(ctx, key, time.Now().Add(wait), tickets, handle)
}

// collect takes replies from the list. They have no priority, so there is one list where kombu's own client waits for four.
func (c *redisControl) collect(ctx context.Context, key string, until time.Time, tickets map[string]string, handle func(string, []byte)) error {
	var decoder wire.Decoder
	for {
		left := time.Until(until)
		if left <= 0 {
			return nil
		}
		// Redis takes whole seconds or more here; go-redis rounds up what is less.
		popped, err := c.client.BRPop(ctx, max(left, time.Second), key).Result()
		if errors.Is(err, redis.Nil) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read replies: %w", err)
		}
		body, ticket, err := decoder.Reply([]byte(popped[1]))
		if method, asked := tickets[ticket]; err == nil && asked {
			handle(method, body)
		}
	}
}
