// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"obstack.dev/obstack/internal/brokerurl"
)

// redisBroker is Redis as kombu uses it (kombu/transport/redis.py): fanout exchanges are channels
// of publish/subscribe, queues are lists.
type redisBroker struct {
	address brokerurl.Address
	options Options
	tls     *tls.Config
	hosts   hosts
	// turns is what exporters of a group say to each other; deaf is set if the server refuses their
	// channel.
	turns *turns
	deaf  atomic.Bool
}

// common are the settings of every connection. Retries are ours, so that each failure is seen and
// counted; the second version of the protocol is what the oldest servers speak and what proxies
// understand.
func (b *redisBroker) common() *redis.Options {
	return &redis.Options{
		TLSConfig: b.tls, DialTimeout: dialTimeout, DialerRetries: 1, MaxRetries: -1, PoolSize: 2, Protocol: 2,
		DisableIdentity: true,
		ReadBufferSize:  controlBuffer, WriteBufferSize: controlBuffer,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// controlBuffer is enough for questions; events are read past go-redis' buffer.
const controlBuffer = 4 << 10

// server returns the settings for the server to read events from: the next of several, or the one
// that the sentinels name.
func (b *redisBroker) server(ctx context.Context) (*redis.Options, error) {
	if b.address.Kind != brokerurl.Sentinel {
		return b.settings(b.hosts.following(b.address.Hosts)), nil
	}
	master, err := b.master(ctx)
	return b.settings(master), err
}

// settings returns those of a connection to a server.
func (b *redisBroker) settings(address string) *redis.Options {
	options := b.common()
	options.Addr, options.DB = address, b.address.Database
	login := b.address.At(address)
	options.Username, options.Password = login.User, login.Password
	if b.address.Socket {
		options.Network = "unix"
	}
	return options
}

// master asks the sentinels, one after the other, where the master is.
func (b *redisBroker) master(ctx context.Context) (string, error) {
	var failures error
	for _, host := range b.address.Hosts {
		options := b.common()
		options.Addr, options.Username, options.Password = host, b.options.SentinelUser, b.options.SentinelPassword
		if b.options.SentinelOwnTLS {
			options.TLSConfig = b.options.SentinelTLS
		}
		sentinel := redis.NewSentinelClient(options)
		address, err := sentinel.GetMasterAddrByName(ctx, b.options.MasterName).Result()
		sentinel.Close()
		switch {
		case err == nil && len(address) == 2:
			return net.JoinHostPort(address[0], address[1]), nil
		case errors.Is(err, redis.Nil):
			err = fmt.Errorf("it knows no master %q", b.options.MasterName)
		// One without TLS waits for the end of a line, so nothing else shows what is wrong.
		case errors.Is(err, context.DeadlineExceeded) && options.TLSConfig != nil && !b.options.SentinelOwnTLS:
			err = fmt.Errorf(`%w (one without TLS needs the transport option sentinel_kwargs={"ssl": false})`, err)
		}
		failures = errors.Join(failures, fmt.Errorf("ask the sentinel %s: %w", host, err))
	}
	return "", failures
}

// channel returns the channel of a fanout exchange.
func (b *redisBroker) channel(exchange string) string {
	prefix := strings.ReplaceAll(b.options.FanoutPrefix, "{db}", strconv.Itoa(b.address.Database))
	return b.options.KeyPrefix + prefix + exchange
}

// client connects for everything that is not events, to the server that they come from.
func (b *redisBroker) client(ctx context.Context) (*redis.Client, error) {
	options := b.settings(b.hosts.asked())
	if options.Addr == "" {
		var err error
		if options, err = b.server(ctx); err != nil {
			return nil, &ConnectError{err}
		}
	}
	client := redis.NewClient(options)
	if err := client.Ping(ctx).Err(); err != nil {
		client.Close()
		return nil, &ConnectError{err}
	}
	return client, nil
}
