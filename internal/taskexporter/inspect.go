// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"obstack.dev/obstack/internal/taskexporter/broker"
	"obstack.dev/obstack/internal/taskexporter/wire"
)

// inspect asks workers on a schedule, for ever, and never during a scrape.
func (e *Exporter) inspect(ctx context.Context) {
	e.keep(ctx, e.workersLink, []*state{e.workers}, func() error {
		connection, err := e.broker.Workers(ctx)
		if err != nil {
			return err
		}
		defer connection.Close()
		return e.askWorkers(ctx, connection)
	})
}

// askWorkers works on one connection until it fails, or the subscription was made again.
func (e *Exporter) askWorkers(ctx context.Context, connection broker.Workers) error {
	for subscription := e.subscriptions.Load(); subscription == e.subscriptions.Load(); {
		// Whoever waits to be asked cannot be heard without a subscription.
		if e.connected.Load() && !e.workers.tooSoon() && !time.Now().Before(e.agenda.next()) {
			if err := e.judge(e.workers, e.round(ctx, connection)); err != nil {
				return err
			}
			e.workersLink.succeed()
			// There may be queues that workers just named.
			wake(e.newQueues)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.greetings:
		case <-time.After(max(shortestPause, min(longestPause, time.Until(e.agenda.next())))):
		}
	}
	return nil
}

// round asks all questions at once.
func (e *Exporter) round(ctx context.Context, connection broker.Workers) error {
	ctx, cancel := context.WithTimeout(ctx, questionTimeout)
	defer cancel()
	everyone, greetAll := e.agenda.begin(time.Now())
	live, unnamed := e.tracker.workers.toAsk()
	requests := questions(unnamed, everyone, greetAll)
	if e.options.EnableEvents {
		// Only workers that did not send events so far are asked to, and again each round, because
		// it lasts until the worker ends.
		if nodes := e.tracker.workers.unheard(time.Now(), e.options.InspectInterval); len(nodes) > 0 {
			e.log.Debug("asking workers to send task events", "workers", nodes)
			requests = append(requests, wire.Request{Method: "enable_events", Destination: nodes})
		}
	}
	if len(requests) == 0 {
		return nil
	}
	r := newRound(requests, live)
	err := connection.Ask(ctx, requests, func(reply broker.Reply) { e.reply(r, reply) })
	if err != nil {
		e.agenda.greet(time.Now(), greetAll) // what was to be asked is still to be asked
		return err
	}
	missing := r.missing()
	e.metrics.missingReplies.Add(float64(missing))
	if everyone && missing == 0 {
		e.inspected.Store(time.Now().UnixNano())
	}
	e.tracker.workers.asked(unnamed)
	return r.verdict()
}

// questions are the requests of a round. Active, reserved and scheduled tasks come with their names
// and routing, and are asked for once: they are for the tasks whose first events were missed.
func questions(unnamed []string, everyone, greetAll bool) []wire.Request {
	var requests []wire.Request
	ask := func(all bool, methods ...string) {
		// A broadcast reaches everyone, but only those that it names reply.
		var nodes []string
		if !all {
			if nodes = unnamed; len(nodes) == 0 {
				return
			}
		}
		for _, method := range methods {
			requests = append(requests, wire.Request{Method: method, Destination: nodes, WantsReply: true})
		}
	}
	if greetAll {
		// Celery's own receivers ask for heartbeats too when they begin
		// (celery/events/receiver.py), so that worker_up is right within a second and not after the
		// next beat. The reply is the beat.
		requests = append(requests, wire.Request{Method: "heartbeat"})
	}
	ask(everyone, "active_queues", "stats")
	ask(greetAll, "active", "reserved", "scheduled")
	return requests
}

// round is what became of one round of questions.
type round struct {
	waiting map[string]map[string]bool // by method, the nodes whose reply is to come
	unread  error                      // why a reply was not understood
	read    int                        // replies that were
}

func newRound(requests []wire.Request, live []string) *round {
	r := &round{waiting: map[string]map[string]bool{}}
	for _, request := range requests {
		if !request.WantsReply {
			continue
		}
		nodes := request.Destination
		if nodes == nil {
			nodes = live
		}
		r.waiting[request.Method] = map[string]bool{}
		for _, node := range nodes {
			r.waiting[request.Method][node] = true
		}
	}
	return r
}

// missing returns how many replies did not come.
func (r *round) missing() (count int) {
	for _, nodes := range r.waiting {
		count += len(nodes)
	}
	return count
}

// verdict is the error of a round in which nothing could be read, or that shows what is to be
// changed.
func (r *round) verdict() error {
	if r.unread != nil && (r.read == 0 || errors.Is(r.unread, wire.ErrPickle)) {
		return fmt.Errorf("%w replies of workers: %w", errUnreadable, r.unread)
	}
	return nil
}

// reply hands a worker's reply to the goroutine that owns the tracker. One that is not understood
// is counted.
func (e *Exporter) reply(r *round, reply broker.Reply) {
	e.metrics.replies.Inc()
	command, nodes, err := e.understand(reply)
	if err != nil {
		r.unread = err
		e.metrics.malformed(err)
		e.log.Debug("reply not understood", "method", reply.Method)
		return
	}
	r.read++
	e.replied.Store(time.Now().UnixNano())
	for _, node := range nodes {
		delete(r.waiting[reply.Method], node)
	}
	e.post(command)
}

// understand reads the reply to one method: what to do, and which nodes replied.
func (e *Exporter) understand(reply broker.Reply) (command func(*tracker), nodes []string, err error) {
	if reply.Err != nil {
		return nil, nil, reply.Err
	}
	switch reply.Method {
	case "active_queues":
		queues, err := wire.ParseActiveQueues(reply.Body)
		return func(t *tracker) { t.learnQueues(queues) }, slices.Collect(maps.Keys(queues)), err
	case "stats":
		stats, err := wire.ParseStats(reply.Body)
		return func(t *tracker) {
			// A worker whose pool does not reply, such as a busy solo one, keeps what it said
			// before.
			for node, stats := range stats {
				t.workers.setProcesses(t.node(node), stats.Processes(), t.now)
			}
		}, slices.Collect(maps.Keys(stats)), err
	case "active", "reserved", "scheduled":
		tasks, err := wire.ParseTasks(reply.Body)
		return func(t *tracker) {
			for _, list := range tasks {
				for _, task := range list {
					t.known(task)
				}
			}
		}, slices.Collect(maps.Keys(tasks)), err
	}
	return nil, nil, fmt.Errorf("nobody asked for %q", reply.Method)
}

// learnQueues records which queues workers consume.
func (t *tracker) learnQueues(replies map[string][]wire.Queue) {
	for node, queues := range replies {
		// Replies are from outside: what a worker says is bounded and cut like everything else.
		queues = queues[:min(len(queues), maxQueues)]
		for i := range queues {
			queues[i].Name = t.labels.label([]byte(queues[i].Name))
			queues[i].RoutingKey = t.labels.label([]byte(queues[i].RoutingKey))
		}
		queues = slices.DeleteFunc(queues, func(q wire.Queue) bool { return t.queues.skips(q.Name) })
		for _, queue := range queues {
			t.queues.name(queue.Name, t.now)
		}
		t.workers.setQueues(t.node(node), queues, t.now)
	}
}

// node returns a node's name as it is known by.
func (t *tracker) node(name string) string { return string(t.labels.cut([]byte(name))) }
