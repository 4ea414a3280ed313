// SPDX-License-Identifier: Apache-2.0

package series

import (
	"io"
	"math"
	"strconv"
	"sync/atomic"
)

type counterFamily struct{ name, help string }

// counterFamilies are named and meant as the peer's; task_cancelled it does not know.
var counterFamilies = [counterCount]counterFamily{
	Received:  {"task_received", "Tasks received by a worker."},
	Started:   {"task_started", "Tasks whose execution a worker began."},
	Succeeded: {"task_succeeded", "Tasks that finished without an error."},
	Rejected:  {"task_rejected", "Tasks rejected by a worker, to be queued again or moved to a dead letter queue."},
	Revoked:   {"task_revoked", "Tasks revoked, expired or terminated. Several workers may report one."},
	Retried:   {"task_retried", "Executions that failed and will be retried."},
	Cancelled: {"task_cancelled", "Executions given up because the worker lost its connection to the broker."},
}

var (
	sentFamily    = counterFamily{"task_sent", "Tasks published by a client that sends task-sent events."}
	failureFamily = counterFamily{"task_failed", "Tasks that finished in an error, by the class of the exception."}
)

// histogramFamily is a histogram of seconds. The unit is not in the names, against Prometheus'
// custom, because dashboards were made with the peer's.
type histogramFamily struct {
	name, help string
	of         func(*Task) *atomic.Pointer[histogram]
	bounds     func(*Config) []float64
}

// task-succeeded has the runtime that the worker measured. A failure's is ours: the worker's
// task-failed has none.
var (
	runtimeFamily = &histogramFamily{
		"task_runtime", "Runtime of tasks that succeeded, in seconds.",
		func(t *Task) *atomic.Pointer[histogram] { return &t.runtime },
		func(c *Config) []float64 { return c.RuntimeBuckets },
	}
	failedRuntimeFamily = &histogramFamily{
		"task_failed_runtime", "Time from the start of tasks to their failure, in seconds.",
		func(t *Task) *atomic.Pointer[histogram] { return &t.failedRuntime },
		func(c *Config) []float64 { return c.RuntimeBuckets },
	}
	waitFamily = &histogramFamily{
		"task_queue_wait_time", "Time that tasks waited in a queue, without a wanted delay (ETA), in seconds.",
		func(t *Task) *atomic.Pointer[histogram] { return &t.wait },
		func(c *Config) []float64 { return c.WaitBuckets },
	}
	histogramFamilies = []*histogramFamily{runtimeFamily, failedRuntimeFamily, waitFamily}
)

// flushSize is how much text is gathered before it is written, in bytes.
const flushSize = 32 << 10

// textWriter gathers lines and keeps the first error of the writer below.
type textWriter struct {
	out io.Writer
	buf []byte
	err error
}

// flush writes when there is enough. After an error nothing more is written, because the reader
// went away.
func (w *textWriter) flush(atLeast int) {
	if len(w.buf) < atLeast || w.err != nil {
		return
	}
	_, w.err = w.out.Write(w.buf)
	w.buf = w.buf[:0]
}

// sample writes one line. The suffix of the name and an extra label, such as le, may be empty.
func (w *textWriter) sample(name, suffix, labels, extra string, value uint64) {
	w.start(name, suffix, labels, extra)
	w.buf = strconv.AppendUint(w.buf, value, 10)
	w.buf = append(w.buf, '\n')
	w.flush(flushSize)
}

func (w *textWriter) start(name, suffix, labels, extra string) {
	w.buf = append(w.buf, name...)
	w.buf = append(w.buf, suffix...)
	w.buf = append(w.buf, '{')
	w.buf = append(w.buf, labels...)
	w.buf = append(w.buf, extra...)
	w.buf = append(w.buf, "} "...)
}

func (w *textWriter) header(name, kind, help string) {
	w.buf = append(w.buf, "# HELP "+name+" "+help+"\n# TYPE "+name+" "+kind+"\n"...)
}

// WriteText writes all series in Prometheus' text format, or in OpenMetrics without the final EOF
// line.
func (s *Store) WriteText(out io.Writer, openMetrics bool) error {
	w := &textWriter{out: out, buf: make([]byte, 0, flushSize+1024)}
	name := s.counterHeader(w, sentFamily, openMetrics)
	for _, entry := range s.sent.snapshot() {
		w.sample(name, "", entry.labels, "", entry.count.Load())
	}
	// Both formats demand that the lines of a family stand together, hence one pass over all tasks
	// for each. Zeros are written: increase() over a series that begins at 1 is 0, and an alert on
	// the first failure would never fire. The _created series of the Python client, a fifth of what
	// the peer writes, are left out: nothing is asked of them.
	tasks := s.tasks.snapshot()
	for c, family := range counterFamilies {
		name := s.counterHeader(w, family, openMetrics)
		for _, task := range tasks {
			w.sample(name, "", task.labels, "", task.counters[c].Load())
		}
	}
	name = s.counterHeader(w, failureFamily, openMetrics)
	for _, entry := range s.failures.snapshot() {
		w.sample(name, "", entry.labels, "", entry.count.Load())
	}
	for _, family := range histogramFamilies {
		s.writeHistograms(w, family, tasks)
	}
	w.flush(0)
	return w.err
}

// counterHeader writes a counter's header and returns the name of its samples. OpenMetrics names
// the family without _total.
func (s *Store) counterHeader(w *textWriter, family counterFamily, openMetrics bool) string {
	name := s.config.Prefix + family.name
	if openMetrics {
		w.header(name, "counter", family.help)
	} else {
		w.header(name+"_total", "counter", family.help)
	}
	return name + "_total"
}

// writeHistograms writes a family, with classic buckets: native histograms have no text format.
func (s *Store) writeHistograms(w *textWriter, family *histogramFamily, tasks []*Task) {
	name := s.config.Prefix + family.name
	w.header(name, "histogram", family.help)
	bounds := family.bounds(&s.config)
	// Formatted once, and not for each of thousands of series.
	le := make([]string, 0, len(bounds)+1)
	for _, bound := range bounds {
		le = append(le, `,le="`+formatBound(bound)+`"`)
	}
	le = append(le, `,le="+Inf"`)
	for _, task := range tasks {
		if h := family.of(task).Load(); h != nil {
			w.histogram(name, task.labels, le, h)
		}
	}
}

// histogram writes one histogram. Its count is the sum of the buckets read: both agree.
func (w *textWriter) histogram(name, labels string, le []string, h *histogram) {
	var total uint64
	for i := range h.counts {
		total += h.counts[i].Load()
		w.sample(name, "_bucket", labels, le[i], total)
	}
	w.sample(name, "_count", labels, "", total)
	// The sum is read after the buckets, so it may know of an observation more.
	w.start(name, "_sum", labels, "")
	w.buf = strconv.AppendFloat(w.buf, math.Float64frombits(h.sum.Load()), 'g', -1, 64)
	w.buf = append(w.buf, '\n')
}
