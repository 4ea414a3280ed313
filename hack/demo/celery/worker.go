// SPDX-License-Identifier: Apache-2.0

package celery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

const (
	// concurrency is how many tasks a worker runs at once.
	concurrency = 2
	// heartbeat is Celery's default.
	heartbeat = 2 * time.Second
	// unacked is the hash of what is taken and not done.
	unacked = "unacked"
)

// queues that each worker consumes.
var queues = []string{"celery", "emails"}

// worker takes tasks.
type worker struct {
	client *redis.Client
	node   string

	mu        sync.Mutex
	active    map[string]message // by id
	processed int
}

// run takes tasks until the context ends, and says that it comes and goes.
func (w *worker) run(ctx context.Context) error {
	if err := w.state(ctx, "worker-online"); err != nil {
		return err
	}
	control := w.client.Subscribe(ctx, "/0.celery.pidbox")
	defer func() { _ = control.Close() }() // Nobody needs it any more.
	parts, within := errgroup.WithContext(ctx)
	for range concurrency {
		parts.Go(func() error { return w.consume(within) })
	}
	parts.Go(func() error { return w.beat(within) })
	parts.Go(func() error { return w.listen(within, control.Channel()) })
	err := parts.Wait()
	return errors.Join(err, w.state(context.WithoutCancel(ctx), "worker-offline"))
}

// state publishes an event about the worker itself.
func (w *worker) state(ctx context.Context, kind string) error {
	w.mu.Lock()
	event := map[string]any{
		"type": kind, "hostname": w.node, "freq": heartbeat.Seconds(), "active": len(w.active), "processed": w.processed,
		"sw_ident": "obstack-demo", "sw_sys": "Linux",
	}
	w.mu.Unlock()
	return publish(ctx, w.client, map[string]string{
		"worker-online": "worker.online", "worker-heartbeat": "worker.heartbeat", "worker-offline": "worker.offline",
	}[kind], event)
}

func (w *worker) beat(ctx context.Context) error {
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if err := w.state(ctx, "worker-heartbeat"); err != nil {
			return err
		}
	}
}

// consume takes one task after the other.
func (w *worker) consume(ctx context.Context) error {
	for {
		taken, err := w.client.BRPop(ctx, time.Second, queues...).Result()
		switch {
		case errors.Is(err, redis.Nil):
			continue
		case err != nil:
			return fmt.Errorf("take a task: %w", err)
		}
		var m message
		if err := json.Unmarshal([]byte(taken[1]), &m); err != nil {
			return fmt.Errorf("read a task: %w", err)
		}
		if err := w.client.HSet(ctx, unacked, m.Headers.ID, taken[1]).Err(); err != nil {
			return fmt.Errorf("take a task: %w", err)
		}
		if err := w.execute(ctx, m); err != nil {
			return err
		}
		if err := w.client.HDel(ctx, unacked, m.Headers.ID).Err(); err != nil {
			return fmt.Errorf("acknowledge a task: %w", err)
		}
	}
}

// execute waits as long as the task takes, and publishes what a prefork worker does.
func (w *worker) execute(ctx context.Context, m message) error {
	t, known := taskOf(m.Headers.Task)
	if !known {
		return fmt.Errorf("there is no task %s", m.Headers.Task)
	}
	w.hold(m, true)
	defer w.hold(m, false)
	emit := func(kind string, more map[string]any) error {
		more["type"], more["hostname"], more["uuid"] = kind, w.node, m.Headers.ID
		return publish(ctx, w.client, "task.multi", more)
	}
	err := errors.Join(emit("task-received", map[string]any{"name": t.name, "retries": m.Headers.Retries}),
		emit("task-started", map[string]any{}))
	if err != nil {
		return err
	}
	takes := t.shortest + rand.N(t.shortest)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(takes):
	}
	// A second attempt goes well.
	switch e := t.fails(m.Headers.Number); {
	case e.repr == "" || m.Headers.Retries > 0:
		return emit("task-succeeded", map[string]any{"runtime": takes.Seconds(), "result": "None"})
	case e.retry:
		return errors.Join(emit("task-retried", map[string]any{"exception": e.repr}),
			enqueue(ctx, w.client, t, m.Headers.ID, m.Headers.Number, m.Headers.Retries+1))
	default:
		return emit("task-failed", map[string]any{"exception": e.repr})
	}
}

// hold notes that a task begins or ends.
func (w *worker) hold(m message, begins bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if begins {
		w.active[m.Headers.ID] = m
		return
	}
	delete(w.active, m.Headers.ID)
	w.processed++
}
