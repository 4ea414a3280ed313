// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

// redisBroker is Redis as kombu uses it (kombu/transport/redis.py): fanout exchanges are channels of publish/subscribe,
// queues are lists.
type redisBroker struct {
	address Address
	options Options
	tls     *tls.Config
	next    atomic.Uint32 // which of several hosts to try
}

// readBuffer is read at once from a connection, in bytes: about a hundred messages.
const readBuffer = 128 << 10

func (b *redisBroker) client() *redis.Client {
	if b.address.Kind == Sentinel {
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: b.options.MasterName, SentinelAddrs: b.address.Hosts,
			SentinelUsername: b.options.SentinelUser, SentinelPassword: b.options.SentinelPassword,
			Username: b.address.User, Password: b.address.Password, DB: b.address.Database,
			TLSConfig: b.tls, DialTimeout: dialTimeout, ReadBufferSize: readBuffer, MaxRetries: -1, PoolSize: 2, Protocol: 2, DisableIdentity: true,
		})
	}
	network := "tcp"
	if b.address.Socket {
		network = "unix"
	}
	host := b.address.Hosts[int(b.next.Add(1)-1)%len(b.address.Hosts)]
	return redis.NewClient(&redis.Options{
		Network: network, Addr: host, Username: b.address.User, Password: b.address.Password, DB: b.address.Database,
		TLSConfig: b.tls, DialTimeout: dialTimeout, ReadBufferSize: readBuffer, DialerRetries: 1, MaxRetries: -1, PoolSize: 2, Protocol: 2,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// channel returns the channel of a fanout exchange.
func (b *redisBroker) channel(exchange string) string {
	if !b.options.FanoutPrefix {
		return b.options.KeyPrefix + exchange
	}
	return b.options.KeyPrefix + "/" + strconv.Itoa(b.address.Database) + "." + exchange
}

// Receive reads from a subscription until its connection breaks. go-redis would reconnect by itself, unseen; closing
// the client after the first error keeps the count of reconnects and the back-off in one place.
func (b *redisBroker) Receive(ctx context.Context, subscribed func(), handle func([]byte, wire.Format)) error {
	client := b.client()
	defer client.Close()
	var sub *redis.PubSub
	if b.options.FanoutPatterns {
		sub = client.PSubscribe(ctx, b.channel(b.options.Exchange)+"/*")
	} else {
		sub = client.Subscribe(ctx, b.channel(b.options.Exchange))
	}
	defer sub.Close()
	// An error of the first call, if any, was swallowed; this shows it.
	if _, err := sub.ReceiveTimeout(ctx, silenceLimit); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	subscribed()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var heard atomic.Int64
	go watch(ctx, cancel, sub, &heard)
	return receive(ctx, sub, &heard, handle)
}

// Deadlines of reading for go-redis: none, which takes back the one of subscribing, and that of the read before, which
// spares setting it again for each message. Watch ends what takes too long.
const noDeadline, sameDeadline = time.Duration(0), time.Duration(-1)

func receive(ctx context.Context, sub *redis.PubSub, heard *atomic.Int64, handle func([]byte, wire.Format)) error {
	format := wire.Format{Enveloped: true}
	var buffer []byte
	for deadline := noDeadline; ; deadline = sameDeadline {
		received, err := sub.ReceiveTimeout(ctx, deadline)
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		heard.Add(1)
		if message, ok := received.(*redis.Message); ok {
			buffer = append(buffer[:0], message.Payload...)
			handle(buffer, format)
		}
	}
}

// watch pings the server, because a subscriber cannot tell a silent server from a dead one, and closes the subscription
// after a silence that is too long. Read deadlines would do too, but could cut a slow message in two.
func watch(ctx context.Context, cancel context.CancelCauseFunc, sub *redis.PubSub, heard *atomic.Int64) {
	defer sub.Close()
	ticker := time.NewTicker(silenceLimit / 3)
	defer ticker.Stop()
	silent, last := 0, int64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if now := heard.Load(); now != last {
			last, silent = now, 0
		} else if silent++; silent > 3 {
			cancel(errors.New("the server is silent"))
			return
		}
		if err := sub.Ping(ctx); err != nil {
			cancel(fmt.Errorf("ping: %w", err))
			return
		}
	}
}

// Control connects, so that a wrong password is told at once.
func (b *redisBroker) Control(ctx context.Context) (Control, error) {
	client := b.client()
	if err := client.Ping(ctx).Err(); err != nil {
		client.Close()
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &redisControl{redisBroker: b, client: client, id: newID()}, nil
}

type redisControl struct {
	*redisBroker
	client *redis.Client
	id     string // routing key of replies
}

func (c *redisControl) Close() { c.client.Close() }

// Depths sums each queue's sub-lists, one for each priority step.
func (c *redisControl) Depths(ctx context.Context, queues []string) ([]Depth, error) {
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

func (c *redisControl) subQueue(queue string, step int) string {
	if step == 0 {
		return queue
	}
	return queue + c.options.Separator + strconv.Itoa(step)
}

func (c *redisControl) Unacked(ctx context.Context) (int64, bool, error) {
	count, err := c.client.HLen(ctx, c.options.KeyPrefix+c.options.UnackedKey).Result()
	if err != nil {
		return 0, false, fmt.Errorf("read the number of unacknowledged messages: %w", err)
	}
	return count, true, nil
}

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
	tickets, err := broadcastAll(ctx, c.Broadcast, methods, c.id)
	if err != nil {
		return err
	}
	return c.collect(ctx, key, time.Now().Add(wait), tickets, handle)
}

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
