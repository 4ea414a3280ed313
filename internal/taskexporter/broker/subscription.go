// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"obstack.dev/obstack/internal/brokerurl"
	"obstack.dev/obstack/internal/taskexporter/wire"
)

// pingAfter is the silence after which the server is asked for a sign of life. A subscriber cannot
// distinguish a server that has nothing to say from one that is gone.
const pingAfter = silenceLimit / 3

// Receive subscribes on a connection that go-redis made, and reads it until it breaks.
func (b *redisBroker) Receive(ctx context.Context, to Sink) error {
	options, err := b.server(ctx)
	if err != nil {
		return &ConnectError{err}
	}
	client, connection, err := dial(ctx, options)
	if err != nil {
		return &ConnectError{err}
	}
	defer client.Close()
	b.hosts.serve(options.Addr)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Nothing else wakes a reader that waits.
	stop := context.AfterFunc(ctx, func() { connection.Close() })
	defer stop()
	if b.address.Kind == brokerurl.Sentinel {
		go b.watchMaster(ctx, cancel, options.Addr)
	}
	err = b.subscribe(connection, to)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// below is the connection that go-redis uses, and its reader.
type below struct {
	net.Conn
	reader *connReader
}

// dial connects with go-redis, which logs in and selects the database. It returns the connection
// below too, on which every response was read: what comes next is ours.
func dial(ctx context.Context, options *redis.Options) (*redis.Client, *below, error) {
	// Go-redis dials in a goroutine of its own, which may outlive the wait for it.
	var dialled atomic.Pointer[below]
	options.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		connection, reader, err := connect(ctx, network, address, options.TLSConfig, pingAfter)
		if err != nil {
			return nil, err
		}
		dialled.Store(&below{connection, reader})
		return connection, nil
	}
	client := redis.NewClient(options)
	// This makes the one connection of the client, because there are no retries, and keeps it from
	// its pool for good.
	if err := client.Conn().Ping(ctx).Err(); err != nil {
		client.Close()
		return nil, nil, err
	}
	return client, dialled.Load(), nil
}

// subscribe asks for the channel of the group, if there is one, and for the events, and reads what
// comes.
func (b *redisBroker) subscribe(connection *below, to Sink) error {
	group := b.groupChannel()
	if b.deaf.Load() {
		group = ""
	}
	defer b.turns.part()
	command, channel := "PSUBSCRIBE", b.channel(b.options.Exchange)+"/*"
	if !b.options.FanoutPatterns {
		command, channel = "SUBSCRIBE", b.channel(b.options.Exchange)
	}
	replies := newReplies(connection, to.Drained)
	if group != "" {
		if err := write(connection, "SUBSCRIBE", group); err != nil {
			return fmt.Errorf("subscribe: %w", err)
		}
		// A refusal is no reason to do without the events: the next attempt leaves the group out.
		if _, err := replies.next(); err != nil {
			b.deaf.Store(Refused(err))
			return fmt.Errorf("subscribe to %s: %w", group, err)
		}
	}
	if err := write(connection, command, channel); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	for pings := 0; ; {
		reply, err := replies.next()
		switch {
		case err == nil:
			pings = 0
			b.receive(connection.reader, reply, group, to)
			continue
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("receive: %w", err)
		}
		if pings++; pings > 3 {
			return errors.New("receive: the server is silent")
		}
		if err := write(connection, "PING"); err != nil {
			return fmt.Errorf("ping: %w", err)
		}
	}
}

// receive acts on one reply: a message of a worker or of the group, the confirmation of the
// subscription, or the response to a ping.
func (b *redisBroker) receive(reader *connReader, reply [][]byte, group string, to Sink) {
	if len(reply) < 3 {
		return
	}
	switch string(reply[0]) {
	case "message", "pmessage":
		if group != "" && string(reply[len(reply)-2]) == group {
			b.turns.read(reply[len(reply)-1], time.Now())
			return
		}
		to.Message(reply[len(reply)-1], wire.Format{Enveloped: true})
	case "subscribe", "psubscribe":
		reader.paced.Store(true)
		to.Subscribed()
		b.turns.join(to.Turn, time.Now())
	}
}

// write sends a command as an array of bulk strings.
func write(connection net.Conn, words ...string) error {
	text := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, word := range words {
		text = fmt.Appendf(text, "$%d\r\n%s\r\n", len(word), word)
	}
	if err := connection.SetWriteDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	_, err := connection.Write(text)
	return err
}

// watchMaster ends a subscription when the sentinels name another server. The one that was master
// may be cut off from them and still hear us.
func (b *redisBroker) watchMaster(ctx context.Context, cancel context.CancelCauseFunc, current string) {
	ticker := time.NewTicker(pingAfter)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		// Sentinels that do not reply are no reason to give up a server that does.
		if master, err := b.master(ctx); err == nil && master != current {
			cancel(fmt.Errorf("the sentinels chose another master, %s", master))
			return
		}
	}
}
