// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"encoding/json"
	"net/http"
	"time"
)

// Status is what /status returns, for programs. It has no secret, and its texts and lists are
// bounded. Fields may be added.
type Status struct {
	Version   string    `json:"version"`
	StartedAt time.Time `json:"startedAt"`
	// Counting is false while another exporter of the group counts.
	Counting bool `json:"counting"`
	// Connections to the broker: "events", "depths" and "workers"; those that are not wanted are
	// left out.
	Connections []StateStatus `json:"connections"`
	// Questions are "queue_lengths", "unacked" and "inspect"; those that are turned off, and not
	// asked yet, are left out.
	Questions []StateStatus `json:"questions"`
	// EventsLastMinute are those of the last sixty seconds, of all types; EventsTotal those since
	// the start.
	EventsLastMinute uint64        `json:"eventsLastMinute"`
	EventsTotal      uint64        `json:"eventsTotal"`
	Workers          WorkersStatus `json:"workers"`
	// InspectedAt is when all live workers last replied, absent before.
	InspectedAt *time.Time `json:"inspectedAt,omitempty"`
}

// StateStatus is how a connection or a question fares.
type StateStatus struct {
	Name string `json:"name"`
	Up   bool   `json:"up"`
	// Since is when it came up or went down.
	Since time.Time `json:"since"`
	// Reason is why it is down, at most 300 bytes.
	Reason string `json:"reason,omitempty"`
}

// WorkersStatus counts workers.
type WorkersStatus struct {
	// Live workers gave a sign of life within the timeout.
	Live int `json:"live"`
	// EventsOff are live workers that process tasks without sending task events; EventsUnknown had
	// no task yet.
	EventsOff     int `json:"eventsOff"`
	EventsUnknown int `json:"eventsUnknown"`
	// EventsOffNames are some of those with events off, at most 10, sorted.
	EventsOffNames []string `json:"eventsOffNames,omitempty"`
}

// maxNames bounds the names in a status.
const maxNames = 10

// Status returns what is known at this moment.
func (e *Exporter) Status() Status {
	picture := e.tracker.workers.picture(e.clock())
	status := Status{
		Version: e.options.Version, StartedAt: e.started.UTC(), Counting: e.handover.counting.Load(),
		Connections: states(e.connections()), Questions: states(e.questions()),
		EventsLastMinute: e.tracker.minute.recent(), EventsTotal: e.tracker.minute.total.Load(),
		Workers: WorkersStatus{
			Live: picture.live, EventsOff: picture.off, EventsUnknown: picture.unknown,
			EventsOffNames: e.tracker.workers.eventsOff(maxNames),
		},
	}
	if at := e.inspected.Load(); at > 0 {
		inspected := time.Unix(0, at).UTC()
		status.InspectedAt = &inspected
	}
	return status
}

func states(readings []reading) []StateStatus {
	all := []StateStatus{}
	for _, r := range readings {
		if r.Known {
			all = append(all, StateStatus{r.Name, r.Up, r.Since.UTC(), r.Reason})
		}
	}
	return all
}

func (e *Exporter) serveStatus(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(e.Status()) // the reader may be gone
}
