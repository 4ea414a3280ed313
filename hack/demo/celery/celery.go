// SPDX-License-Identifier: Apache-2.0

// Package celery plays an application with Celery for the demo: a broker, which is a Redis inside
// of this process, clients that send tasks, and workers that take them, say so in events and reply
// to remote control. What is on the wire is what kombu and Celery put there; the tasks do nothing
// but wait.
package celery

import (
	"context"
	"fmt"
	"sync"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Application is a running broker with clients and workers.
type Application struct {
	// URL of the broker, as Celery and the task exporter take it.
	URL string

	server  *miniredis.Miniredis
	client  *redis.Client
	cancel  context.CancelFunc
	running sync.WaitGroup
	failed  sync.Once
	err     error // the first failure
}

// StartBroker starts the broker alone, on a free loopback port.
func StartBroker() (*Application, error) {
	redis.SetLogger(silent{}) // Connections that break when all ends are no news.
	server := miniredis.NewMiniRedis()
	if err := server.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("start the broker: %w", err)
	}
	return &Application{
		URL: "redis://" + server.Addr() + "/0", server: server, client: connect(server.Addr()), cancel: func() {},
	}, nil
}

// Start starts the broker, for each task a client, and for each host a worker.
func Start(ctx context.Context, hosts []string) (*Application, error) {
	a, err := StartBroker()
	if err != nil {
		return nil, err
	}
	ctx, a.cancel = context.WithCancel(ctx)
	for _, host := range hosts {
		w := &worker{client: a.client, node: "celery@" + host, active: map[string]message{}}
		a.do(ctx, "worker "+w.node, w.run)
	}
	for _, t := range tasks {
		a.do(ctx, "client of "+t.name, func(ctx context.Context) error { return send(ctx, a.client, t) })
	}
	return a, nil
}

// do runs a part until the context ends, and keeps the first failure of all parts.
func (a *Application) do(ctx context.Context, what string, run func(context.Context) error) {
	a.running.Go(func() {
		if err := run(ctx); err != nil && ctx.Err() == nil {
			a.failed.Do(func() { a.err = fmt.Errorf("%s: %w", what, err) })
		}
	})
}

// Stop ends all parts and returns what failed before. The workers say that they go.
func (a *Application) Stop() error {
	a.cancel()
	a.running.Wait()
	_ = a.client.Close() // Nothing is under way.
	a.server.Close()
	return a.err
}

func connect(address string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: address, Protocol: 2, DisableIdentity: true, PoolSize: 32,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// silent drops what go-redis prints.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}
