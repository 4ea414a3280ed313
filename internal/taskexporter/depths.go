// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"context"
	"errors"
	"time"

	"obstack.dev/obstack/internal/taskexporter/broker"
)

// questionTimeout bounds one round of questions to the broker or to workers.
const questionTimeout = 20 * time.Second

// untilReachable waits while nobody can connect to the broker, so that one connection tries and not
// three.
func (e *Exporter) untilReachable(ctx context.Context) {
	for !e.reachable.Load() && ctx.Err() == nil {
		sleep(ctx, shortestPause)
	}
}

// watchDepths reads the depths of queues on a schedule, for ever.
func (e *Exporter) watchDepths(ctx context.Context) {
	e.keep(ctx, e.depthsLink, []*state{e.lengths, e.unacked}, func() error {
		connection, err := e.broker.Depths(ctx)
		if err != nil {
			return err
		}
		defer connection.Close()
		// Depths that nobody can read any more are not shown on.
		defer e.tracker.queues.unread()
		return e.readDepths(ctx, connection)
	})
}

// keep uses a connection until it fails or is given up, and then makes it again. Its work notes by
// itself what succeeds. The questions are those that are asked over it, nil for one that is turned
// off.
func (e *Exporter) keep(ctx context.Context, link *state, questions []*state, work func() error) {
	for {
		e.untilReachable(ctx)
		if ctx.Err() != nil {
			return
		}
		err := work()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			continue
		}
		e.metrics.controlErrors.WithLabelValues(link.name).Inc()
		pause := link.fail(err)
		for _, question := range questions {
			if question != nil {
				question.lose(err)
			}
		}
		sleep(ctx, pause)
	}
}

// readDepths works on one connection until it fails, or the subscription was made again: then there
// may be another server. Each question fails alone.
func (e *Exporter) readDepths(ctx context.Context, connection broker.Depths) error {
	ticker := time.NewTicker(e.options.QueueInterval)
	defer ticker.Stop()
	for subscription := e.subscriptions.Load(); subscription == e.subscriptions.Load(); {
		if e.lengths != nil {
			if err := e.judge(e.lengths, e.readLengths(ctx, connection)); err != nil {
				return err
			}
		}
		if e.unacked != nil && !e.unacked.tooSoon() {
			if err := e.judge(e.unacked, e.readUnacked(ctx, connection)); err != nil {
				return err
			}
		}
		e.depthsLink.succeed()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		case <-e.newQueues:
		}
	}
	return nil
}

// errUnreadable is one of replies that came and are of no use. The connection is.
var errUnreadable = errors.New("unreadable")

// judge notes how a question went. It returns the error of a connection that is of no more use.
func (e *Exporter) judge(question *state, err error) error {
	if err == nil {
		question.succeed()
		return nil
	}
	if errors.Is(err, context.Canceled) {
		return err // the exporter ends
	}
	e.metrics.controlErrors.WithLabelValues(question.name).Inc()
	question.fail(err)
	if broker.Refused(err) || errors.Is(err, errUnreadable) {
		return nil
	}
	return err
}

// readLengths reads the depths that are due, at once, so that they are of the same moment.
func (e *Exporter) readLengths(ctx context.Context, connection broker.Depths) error {
	ctx, cancel := context.WithTimeout(ctx, questionTimeout)
	defer cancel()
	queues := e.tracker.queues
	names := queues.due(time.Now())
	depths, err := connection.Lengths(ctx, names)
	if err != nil {
		return err
	}
	queues.set(names, depths, time.Now())
	return queues.failure()
}

func (e *Exporter) readUnacked(ctx context.Context, connection broker.Depths) error {
	ctx, cancel := context.WithTimeout(ctx, questionTimeout)
	defer cancel()
	count, err := connection.Unacked(ctx)
	if err != nil {
		e.tracker.queues.unacked.Store(-1)
		return err
	}
	e.tracker.queues.unacked.Store(count)
	return nil
}
