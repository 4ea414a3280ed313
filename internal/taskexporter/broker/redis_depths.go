// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// redisDepths reads depths over a connection of its own: one that subscribes may do nothing else in
// RESP version 2.
type redisDepths struct {
	*redisBroker
	client *redis.Client
}

// Depths connects, so that a wrong password shows at once.
func (b *redisBroker) Depths(ctx context.Context) (Depths, error) {
	client, err := b.client(ctx)
	if err != nil {
		return nil, err
	}
	return &redisDepths{b, client}, nil
}

func (c *redisDepths) Close() { c.client.Close() }

// Lengths sums each queue's sub-lists, one for each priority step.
func (c *redisDepths) Lengths(ctx context.Context, queues []string) ([]Depth, error) {
	if len(queues) == 0 {
		return nil, nil
	}
	// An empty list does not exist, so a queue that nobody made has a length of zero like one that
	// is empty. Kombu reads the steps in a transaction; here a message is in one list only at any
	// time, so that no sum can be wrong by more than what moved meanwhile.
	pipe := c.client.Pipeline()
	lengths := make([][]*redis.IntCmd, len(queues))
	for i, queue := range queues {
		for _, step := range c.options.PrioritySteps {
			lengths[i] = append(lengths[i], pipe.LLen(ctx, c.options.KeyPrefix+c.subQueue(queue, step)))
		}
	}
	// One key of another type, or one that the user may not read, is no reason to lose the other
	// queues; a broken connection breaks them all.
	_, err := pipe.Exec(ctx)
	var reply redis.Error
	if err != nil && !errors.As(err, &reply) {
		return nil, fmt.Errorf("read the queues' lengths: %w", err)
	}
	depths := make([]Depth, len(queues))
	for i, commands := range lengths {
		depths[i].Consumers = -1
		for _, command := range commands {
			depths[i].Messages += command.Val()
			if depths[i].Err == nil {
				depths[i].Err = command.Err()
			}
		}
	}
	return depths, nil
}

// subQueue returns the list of one priority step; that of step zero has the queue's bare name.
func (c *redisDepths) subQueue(queue string, step int) string {
	if step == 0 {
		return queue
	}
	return queue + c.options.Separator + strconv.Itoa(step)
}

func (c *redisDepths) Unacked(ctx context.Context) (int64, error) {
	// The hash is one for the whole database. The queue of each message is inside its value, and
	// reading thousands of messages to count them by queue would cost the broker more than the
	// number is worth.
	count, err := c.client.HLen(ctx, c.options.KeyPrefix+c.options.UnackedKey).Result()
	if err != nil {
		return 0, fmt.Errorf("read the number of unacknowledged messages: %w", err)
	}
	return count, nil
}
