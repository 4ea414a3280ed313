// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"time"
)

// Type is the kind of an event.
type Type uint8

// The events of Celery's protocol (docs/userguide/monitoring.rst, celery/worker/request.py,
// celery/events/dispatcher.py). Unknown stands for every other type, such as those that tasks send
// themselves.
const (
	Unknown Type = iota
	TaskSent
	TaskReceived
	TaskStarted
	TaskSucceeded
	TaskFailed
	TaskRejected
	TaskRevoked
	TaskRetried
	TaskCancelled
	WorkerOnline
	WorkerHeartbeat
	WorkerOffline
	typeCount
)

var typeNames = [typeCount]string{
	"other", "task-sent", "task-received", "task-started", "task-succeeded", "task-failed", "task-rejected",
	"task-revoked", "task-retried", "task-cancelled", "worker-online", "worker-heartbeat", "worker-offline",
}

// Types returns all types in order, Unknown first.
func Types() []Type {
	types := make([]Type, typeCount)
	for i := range types {
		types[i] = Type(i)
	}
	return types
}

// String returns the type's name on the wire, and "other" for Unknown.
func (t Type) String() string { return typeNames[t] }

// OfTask reports whether the type is about one task and carries its uuid.
func (t Type) OfTask() bool { return t >= TaskSent && t <= TaskCancelled }

func parseType(name []byte) Type {
	for i := TaskSent; i < typeCount; i++ {
		if typeNames[i] == string(name) {
			return i
		}
	}
	return Unknown
}

// Event is what the exporter wants of one event; arguments, results and tracebacks are never read.
// The byte slices are valid until the Decoder's next call. Numbers that were absent or malformed
// are NaN.
type Event struct {
	Type Type
	// Hostname is the sender's node name, "worker@host".
	Hostname []byte
	// UUID identifies the task.
	UUID []byte
	// Name of the task: of task-sent and task-received only.
	Name []byte
	// Queue is where the client sent the task: of task-sent only.
	Queue []byte
	// Exception is the class of a failure or retry, cut out of its repr; nothing else of the repr
	// is kept.
	Exception []byte
	// Unregistered is the task name in the repr of NotRegistered('name'), whose worker sends no
	// other event.
	Unregistered []byte
	// Timestamp is the sender's clock, in Unix seconds.
	Timestamp float64
	// ETA is the earliest time of execution, in Unix seconds.
	ETA float64
	// Runtime of task-succeeded in seconds.
	Runtime float64
	// Active and Processed are a worker's running tasks and its total since it started.
	Active, Processed float64
	// traceback is the JSON text of the traceback, until the event is read.
	traceback []byte
	// Malformed is the number of known fields whose value had the wrong type or was out of range,
	// and was ignored.
	Malformed int
}

// maxRuntime is thirty years in seconds; it keeps the sum of runtimes finite.
const maxRuntime = 1e9

var errIncomplete = errors.New("an event without a type, hostname or uuid")

var blankEvent = Event{
	Timestamp: math.NaN(), ETA: math.NaN(), Runtime: math.NaN(), Active: math.NaN(), Processed: math.NaN(),
}

// event reads one event. An error means that the value, though it may be valid JSON, is none.
func (s *scanner) event(e *Event) error {
	*e = blankEvent
	if s.peek() != '{' {
		s.skip(1)
		return errIncomplete
	}
	s.pos++
	// The order of keys is Python's, type last, but nothing depends on it.
	typed := false
	for first := true; s.more(&first, '}'); {
		key := s.key()
		if string(key) == "type" {
			name, ok := s.stringOr()
			typed, e.Type = ok, parseType(name)
			continue
		}
		s.field(e, key)
	}
	e.unwrapException()
	if !typed || len(e.Hostname) == 0 || e.Type.OfTask() && len(e.UUID) == 0 {
		return errIncomplete
	}
	return nil
}

// field reads one member of an event. Python's own reader keeps the last of repeated keys, and so
// does this.
func (s *scanner) field(e *Event, key []byte) {
	switch string(key) {
	case "hostname":
		e.Hostname, _ = s.stringOr()
	case "uuid":
		e.UUID = s.id()
	case "name":
		e.Name = s.optionalString(e)
	case "queue":
		e.Queue = s.optionalString(e)
	case "exception":
		repr := s.optionalString(e)
		e.Exception, e.Unregistered = exceptionClass(repr), unregisteredName(repr)
	case "traceback":
		e.traceback = s.rawString()
	case "timestamp":
		e.Timestamp = s.optionalNumber(e, 1e11)
	case "eta":
		e.ETA = s.optionalTime(e)
	case "runtime":
		e.Runtime = s.optionalNumber(e, maxRuntime)
	case "active":
		e.Active = s.optionalNumber(e, 1e15)
	case "processed":
		e.Processed = s.optionalNumber(e, 1e15)
	default:
		s.skip(1)
	}
}

// id reads a task's id. One that is a UUID object in Python, and not its text, comes as
// {"__type__": "uuid", "__value__": {"hex": "..."}} (kombu/utils/json.py), and is returned as its
// text.
func (s *scanner) id() (value []byte) {
	if s.peek() != '{' {
		value, _ = s.stringOr()
		return value
	}
	s.members(func(key []byte) {
		if string(key) != "__value__" {
			s.skip(1)
			return
		}
		s.members(func(key []byte) {
			if string(key) == "hex" {
				value, _ = s.stringOr()
				return
			}
			s.skip(2) // of an event, in a list, in an object
		})
	})
	if len(value) != 32 {
		return value
	}
	start := len(s.arena)
	for i, c := range value {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			s.arena = append(s.arena, '-')
		}
		s.arena = append(s.arena, c)
	}
	return s.arena[start:len(s.arena):len(s.arena)]
}

func (s *scanner) optionalString(e *Event) []byte {
	// Celery writes null for what a task does not have. That is no mistake to be counted.
	if s.null() {
		return nil
	}
	value, ok := s.stringOr()
	if !ok {
		e.Malformed++
	}
	return value
}

// optionalNumber reads a number from 0 to high, or null.
func (s *scanner) optionalNumber(e *Event, high float64) float64 {
	if s.null() {
		return math.NaN()
	}
	value, ok := s.numberOr()
	if !ok || value < 0 || value > high {
		e.Malformed++
		return math.NaN()
	}
	return value
}

func (s *scanner) optionalTime(e *Event) float64 {
	if s.null() {
		return math.NaN()
	}
	// Celery writes an ETA as text and every other time as a number.
	text, ok := s.stringOr()
	if !ok {
		e.Malformed++
		return math.NaN()
	}
	seconds, ok := ParseTime(string(text))
	if !ok {
		e.Malformed++
	}
	return seconds
}

// ParseTime reads an ISO 8601 time as Python writes it, in Unix seconds. Without a zone it is UTC,
// as in kombu.
func ParseTime(text string) (seconds float64, ok bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, text); err == nil {
			return float64(t.Unix()) + float64(t.Nanosecond())/1e9, true
		}
	}
	return math.NaN(), false
}

// exceptionClass returns the class name in an exception's repr: Err in "Err('x')",
// "pkg.mod.Err('x')", "<Err: 5>" and "<Err object at 0x7f>", and nothing where no class can be
// found.
func exceptionClass(repr []byte) []byte {
	if bytes.HasPrefix(repr, []byte("reject requeue=")) {
		return []byte("Reject") // celery.exceptions.Reject has a repr of its own
	}
	ends := "("
	if angle, found := bytes.CutPrefix(repr, []byte("<")); found {
		repr, ends = angle, ": >"
	}
	end := 0
	for end < len(repr) && isWord(repr[end]) {
		end++
	}
	if end == len(repr) || strings.IndexByte(ends, repr[end]) < 0 {
		return nil
	}
	return repr[bytes.LastIndexByte(repr[:end], '.')+1 : end]
}

// wrapper is the class whose repr, an empty pair of brackets, newer releases of Celery send for
// time limits and lost workers (billiard/einfo.py). Only the traceback says what it wraps.
const wrapper = "ExceptionWithTraceback"

// unwrapException takes the class of a wrapped exception from the last line of the traceback:
// "pkg.Class: text". The traceback itself is dropped.
func (e *Event) unwrapException() {
	if string(e.Exception) == wrapper {
		// The text is still JSON, where an end of line is a backslash and an n.
		lines := bytes.Split(bytes.TrimSuffix(e.traceback, []byte(`\n`)), []byte(`\n`))
		class, _, found := bytes.Cut(lines[len(lines)-1], []byte(":"))
		if found && exceptionClass(append(bytes.Clone(class), '(')) != nil {
			e.Exception = class[bytes.LastIndexByte(class, '.')+1:]
		}
	}
	e.traceback = nil
}

// isWord takes every byte beyond ASCII for a letter: Python's names may have any.
func isWord(c byte) bool {
	return c == '_' || c == '.' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80
}

// unregisteredName returns NAME of the repr NotRegistered('NAME').
func unregisteredName(repr []byte) []byte {
	name, ok := bytes.CutPrefix(repr, []byte("NotRegistered('"))
	if !ok {
		return nil
	}
	name, ok = bytes.CutSuffix(name, []byte("')"))
	if !ok {
		return nil
	}
	return name
}
