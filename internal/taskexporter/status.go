// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"obstack.dev/obstack/internal/taskexporter/status"
)

// Status returns what is known at this moment.
func (e *Exporter) Status() status.Document {
	picture := e.tracker.workers.picture(e.clock())
	document := status.Document{
		Version: e.options.Version, StartedAt: e.started.UTC(), Counting: e.handover.counting.Load(),
		BrokerReached: e.reachable.Load(), Connections: states(e.connections()), Questions: states(e.questions()),
		EventsLastMinute: e.tracker.minute.recent(), EventsTotal: e.tracker.minute.total.Load(),
		Workers: status.Workers{
			Live: picture.live, EventsOff: picture.off, EventsUnknown: picture.unknown,
			EventsOffNames: names(e.tracker.workers.eventsOff(status.MaxNames)),
		},
		Unconsumed: e.unconsumed(picture), RepliedAt: moment(&e.replied), InspectedAt: moment(&e.inspected),
	}
	return document
}

// moment is nil before something happened for the first time.
func moment(at *atomic.Int64) *time.Time {
	nanoseconds := at.Load()
	if nanoseconds == 0 {
		return nil
	}
	return new(time.Unix(0, nanoseconds).UTC())
}

func states(readings []reading) []status.State {
	all := []status.State{}
	for _, r := range readings {
		if r.Known {
			all = append(all, status.State{Name: r.Name, Up: r.Up, Since: r.Since.UTC(), Reason: r.Reason})
		}
	}
	return all
}

// unconsumed returns the queues in which messages wait and that nobody consumes, or nil if nothing
// shows who consumes what. RabbitMQ says so; on Redis workers do.
func (e *Exporter) unconsumed(picture fleet) *status.Queues {
	workersKnown := e.consumersKnown(picture)
	found, known := []string{}, false
	for name, queue := range e.tracker.queues.depths() {
		brokerKnows := queue.depth.Consumers >= 0
		if !queue.read || !brokerKnows && !workersKnown {
			continue
		}
		known = true
		consumed := queue.depth.Consumers > 0
		if !brokerKnows {
			// Workers without heartbeats are known by their replies alone.
			consumed = picture.queues[name].workers > 0 || e.clock().Sub(queue.named) < e.quietTime()
		}
		if queue.depth.Messages > 0 && !consumed {
			found = append(found, name)
		}
	}
	if !known {
		return nil
	}
	slices.Sort(found)
	return &status.Queues{Count: len(found), Names: names(found)}
}

// quietTime is how long a worker that lives may say nothing of its queues, busy with a task.
func (e *Exporter) quietTime() time.Duration {
	return max(e.options.WorkerTimeout, 2*e.options.InspectInterval)
}

// consumersKnown reports whether every worker that lives has named its queues.
func (e *Exporter) consumersKnown(picture fleet) bool {
	listening := time.Since(time.Unix(0, e.handover.subscribed.Load()))
	return e.connected.Load() && e.inspected.Load() > 0 && picture.named == picture.live &&
		listening >= e.quietTime()
}

// names returns the first of many names that are from outside.
func names(all []string) []string {
	all = all[:min(status.MaxNames, len(all))]
	for i, name := range all {
		all[i] = status.Clean(name, status.MaxName)
	}
	return all
}

func (e *Exporter) serveStatus(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(e.Status()) // the reader may be gone
}
