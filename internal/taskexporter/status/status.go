// SPDX-License-Identifier: Apache-2.0

// Package status is the document that the task exporter serves at /status, for programs. Both sides
// use these types; it imports nothing of ours. The document has no secret, and its lists and texts
// are bounded and printable. Fields may be added.
package status

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxBytes is more than any document has.
	MaxBytes = 64 << 10
	// MaxNames bounds a list of names.
	MaxNames = 10
	// MaxName bounds each of them, in bytes.
	MaxName = 200
	// MaxReason bounds a reason, in bytes.
	MaxReason = 300
)

// Document is what an exporter knows at one moment.
type Document struct {
	Version   string    `json:"version"`
	StartedAt time.Time `json:"startedAt"`
	// Counting is false while another exporter of the group counts.
	Counting bool `json:"counting"`
	// BrokerReached is whether the last attempt to connect and log in for events came through, though
	// the broker may have refused the subscription since: the connection "events" says so.
	BrokerReached bool `json:"brokerReached"`
	// Connections to the broker: "events", "depths" and "workers"; those that are not wanted, and
	// not tried yet, are left out.
	Connections []State `json:"connections"`
	// Questions are "queue_lengths", "unacked", "inspect" and "handover"; those that are turned off,
	// and not asked yet, are left out.
	Questions []State `json:"questions"`
	// EventsLastMinute are those of the last sixty seconds, of all types; EventsTotal those since
	// the start.
	EventsLastMinute uint64  `json:"eventsLastMinute"`
	EventsTotal      uint64  `json:"eventsTotal"`
	Workers          Workers `json:"workers"`
	// Unconsumed are queues in which messages wait and that nobody consumes, absent where nothing
	// shows it.
	Unconsumed *Queues `json:"unconsumed,omitempty"`
	// RepliedAt is when a worker last replied, and InspectedAt, when all live ones last did; absent
	// before.
	RepliedAt   *time.Time `json:"repliedAt,omitempty"`
	InspectedAt *time.Time `json:"inspectedAt,omitempty"`
}

// State is how a connection or a question fares.
type State struct {
	Name string `json:"name"`
	Up   bool   `json:"up"`
	// Since is when it came up or went down.
	Since time.Time `json:"since"`
	// Reason is why it is down.
	Reason string `json:"reason,omitempty"`
}

// Workers counts workers.
type Workers struct {
	// Live workers gave a sign of life within the timeout.
	Live int `json:"live"`
	// EventsOff are live workers that process tasks without sending task events; EventsUnknown had
	// no task yet.
	EventsOff     int `json:"eventsOff"`
	EventsUnknown int `json:"eventsUnknown"`
	// EventsOffNames are the first of those with events off, sorted.
	EventsOffNames []string `json:"eventsOffNames,omitempty"`
}

// Queues counts queues, and names the first of them, sorted.
type Queues struct {
	Count int      `json:"count"`
	Names []string `json:"names,omitempty"`
}

// Clean makes a text from outside fit to be shown: at most so many bytes, without what is not
// printable, such as what moves a terminal's cursor.
func Clean(text string, limit int) string {
	var clean strings.Builder
	for _, r := range text {
		switch {
		case unicode.IsSpace(r):
			r = ' '
		case !unicode.IsPrint(r):
			r = utf8.RuneError
		}
		if clean.Len()+utf8.RuneLen(r) > limit {
			break
		}
		clean.WriteRune(r)
	}
	return clean.String()
}
