// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"obstack.dev/obstack/internal/taskexporter/broker"
	"obstack.dev/obstack/internal/taskexporter/wire"
)

const (
	// replyWait is how long workers have to answer. They need milliseconds, but nobody knows how many there are.
	replyWait = time.Second
	// questionTimeout bounds one round of questions to the broker and to workers.
	questionTimeout = 10 * time.Second
	// settleTime is the pause before new workers are asked again.
	settleTime = time.Second
)

// control reads depths and asks workers, each on its own schedule, for ever, and never during a scrape.
func (e *Exporter) control(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		connection, err := e.broker.Control(ctx)
		if err == nil {
			attempt = 0
			err = e.converse(ctx, connection)
			connection.Close()
		}
		// Depths that nobody can read any more are not shown on.
		e.tracker.queues.set(nil, nil, -1)
		if ctx.Err() != nil {
			return
		}
		e.metrics.controlErrors.Inc()
		e.log.Debug("no answers from the broker, trying again", "error", err)
		sleep(ctx, backoff(attempt))
	}
}

// converse uses one connection until it fails.
func (e *Exporter) converse(ctx context.Context, connection broker.Control) error {
	depths := time.NewTicker(e.options.QueueInterval)
	defer depths.Stop()
	inspect := time.NewTicker(e.options.InspectInterval)
	defer inspect.Stop()
	// A connection that broke may have taken a greeting with it.
	if err := errors.Join(e.readDepths(ctx, connection), e.greet(ctx, connection)); err != nil {
		return err
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-depths.C:
			err = e.readDepths(ctx, connection)
		case <-inspect.C:
			err = e.askWorkers(ctx, connection, "active_queues", "stats")
		case <-e.wake:
			err = e.greet(ctx, connection)
		}
		if err != nil {
			return err
		}
	}
}

// greet is done after each subscription and when new workers appear: it makes every worker beat at once, and learns the
// tasks whose first events were missed.
func (e *Exporter) greet(ctx context.Context, connection broker.Control) error {
	if !e.connected.Load() {
		return nil
	}
	// Celery's own receivers ask for heartbeats too when they begin (celery/events/receiver.py), so that worker_up is right
	// within a second and not after the next beat. Active, reserved and scheduled tasks come with their names and routing.
	err := e.askWorkers(ctx, connection, "heartbeat", "active_queues", "stats", "active", "reserved", "scheduled")
	if err != nil {
		return err
	}
	if e.tracker.workers.unanswered() {
		time.AfterFunc(settleTime, e.wakeControl)
	}
	return e.readDepths(ctx, connection)
}

// readDepths reads all depths that are known, at once, so that they are of the same moment.
func (e *Exporter) readDepths(ctx context.Context, connection broker.Control) error {
	ctx, cancel := context.WithTimeout(ctx, questionTimeout)
	defer cancel()
	names := e.tracker.queues.list()
	depths, err := connection.Depths(ctx, names)
	if err != nil {
		return err
	}
	unacked, known, err := connection.Unacked(ctx)
	if err != nil {
		return err
	}
	if !known {
		unacked = -1
	}
	e.tracker.queues.set(names, depths, unacked)
	return nil
}

// askWorkers asks and, if so wanted, tells those that send no events of tasks to do so.
func (e *Exporter) askWorkers(ctx context.Context, connection broker.Control, methods ...string) error {
	ctx, cancel := context.WithTimeout(ctx, questionTimeout)
	defer cancel()
	if err := connection.Ask(ctx, replyWait, methods, e.reply); err != nil {
		return err
	}
	if !e.options.EnableEvents {
		return nil
	}
	// Only workers that did not send events so far are told, and again each round, because it lasts until the worker ends.
	nodes := e.tracker.workers.unheard(time.Now(), e.options.InspectInterval)
	if len(nodes) == 0 {
		return nil
	}
	e.log.Info("telling workers to send task events", "workers", nodes)
	return connection.Broadcast(ctx, wire.Request{Method: "enable_events", Destination: nodes})
}

// reply hands a worker's answer to the goroutine that owns the tracker. An answer that is none is counted.
func (e *Exporter) reply(method string, body []byte) {
	e.metrics.replies.Inc()
	command, err := understand(method, body)
	if err != nil {
		e.metrics.malformedBodies.Inc()
		e.log.Debug("reply not understood", "method", method, "error", err)
		return
	}
	e.post(command)
}

// understand reads the answer to one method.
func understand(method string, body []byte) (func(*tracker), error) {
	switch method {
	case "active_queues":
		replies, err := wire.ParseActiveQueues(body)
		return func(t *tracker) { t.learnQueues(replies) }, err
	case "stats":
		replies, err := wire.ParseStats(body)
		return func(t *tracker) {
			// A worker whose pool does not answer, such as a busy solo one, keeps what it told before.
			for node, stats := range replies {
				t.workers.setProcesses(node, stats.Processes())
			}
		}, err
	case "active", "reserved", "scheduled":
		tasks, err := wire.ParseTasks(body)
		return func(t *tracker) {
			for _, task := range tasks {
				t.known(task)
			}
		}, err
	// The answer is the beat itself, which comes as an event.
	case "heartbeat":
		return func(*tracker) {}, nil
	}
	return nil, fmt.Errorf("nobody asked for %q", method)
}

// learnQueues records which queues workers consume. A worker that answers is alive, even if it has not beaten yet.
func (t *tracker) learnQueues(replies map[string][]wire.Queue) {
	for node, queues := range replies {
		// Replies are from outside: what a worker tells is bounded and cut like everything else.
		if len(queues) > maxQueues {
			queues = queues[:maxQueues]
		}
		for i := range queues {
			queues[i].Name = t.labels.label([]byte(queues[i].Name))
			t.queues.add(queues[i].Name)
		}
		t.workers.setQueues(node, queues)
	}
}
