// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"errors"
	"math"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"obstack.dev/obstack/internal/taskexporter/broker"
	"obstack.dev/obstack/internal/taskexporter/wire"
)

// metrics are the exporter's own: what it read, what it could not, and whether it hears the broker
// at all.
type metrics struct {
	registry *prometheus.Registry
	register prometheus.Registerer // adds the static labels
	prefix   string

	events                                                         []prometheus.Counter // by wire.Type
	messages                                                       prometheus.Counter
	malformedEnvelopes, malformedTypes, malformedBodies            prometheus.Counter
	malformedEvents, malformedFields                               prometheus.Counter
	droppedMessages, droppedWorkers, droppedRepeated, largeReplies prometheus.Counter
	brokerUp, lagSeconds                                           prometheus.Gauge
	reconnects, brokerErrors, replies, missingReplies, lost        prometheus.Counter
	controlErrors                                                  *prometheus.CounterVec
}

// newMetrics registers everything that is counted as it happens. What is a state at the time of a
// scrape is in stateCollector.
func newMetrics(prefix, version string, static map[string]string) *metrics {
	registry := prometheus.NewRegistry()
	m := &metrics{registry: registry, prefix: prefix, register: prometheus.WrapRegistererWith(static, registry)}
	m.register.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())
	m.register.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: prefix + "exporter_build_info", Help: "The program's version; always 1.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	}, func() float64 { return 1 }))
	events := m.vector("exporter_events_total", "Events read, by type; \"other\" are those of no known type.", "type")
	// All types are there from the start, so that the first event of one is an increase.
	for _, t := range wire.Types() {
		m.events = append(m.events, events.WithLabelValues(t.String()))
	}
	m.messages = m.counter("exporter_messages_total", "Messages read from the broker. One holds one event or a list.")
	malformed := m.vector("exporter_malformed_total",
		"What was not understood: whole messages (envelope, content_type, body), single events, or fields of events that "+
			"were counted.", "reason")
	// Envelope, content type and body lose a whole message; an event is one item of a list whose
	// others count; a field is one value that is left out of an event that counts.
	m.malformedEnvelopes = malformed.WithLabelValues("envelope")
	m.malformedTypes = malformed.WithLabelValues("content_type")
	m.malformedBodies = malformed.WithLabelValues("body")
	m.malformedEvents = malformed.WithLabelValues("event")
	m.malformedFields = malformed.WithLabelValues("field")
	dropped := m.vector("exporter_dropped_total",
		"Messages dropped because processing fell behind (backlog), events of workers beyond the limit (workers), replies "+
			"of workers that are too large (large_reply), and events that repeat how a task finished (repeated).", "reason")
	m.droppedMessages = dropped.WithLabelValues("backlog")
	// Celery 5.7 reports a hard time limit twice, once from each side of the pool.
	m.droppedRepeated = dropped.WithLabelValues("repeated")
	m.droppedWorkers = dropped.WithLabelValues("workers")
	m.largeReplies = dropped.WithLabelValues("large_reply")
	// Zero from the start: before the first subscription the broker is not up.
	m.brokerUp = m.gauge("exporter_broker_up", "Whether the exporter is connected to the broker and subscribed to events.")
	m.lagSeconds = m.gauge("exporter_event_lag_seconds",
		"Age of the last event read, by the clocks of its sender and of this machine.")
	m.reconnects = m.counter("exporter_reconnects_total", "How often the subscription was made again after it was lost.")
	m.brokerErrors = m.counter("exporter_broker_errors_total", "Failed attempts to subscribe and lost subscriptions.")
	m.controlErrors = m.vector("exporter_control_errors_total",
		"Failed connections for questions and failed questions to the broker and to workers.", "question")
	m.missingReplies = m.counter("exporter_worker_replies_missing_total",
		"Replies of live workers that were asked for and did not come.")
	m.replies = m.counter("exporter_worker_replies_total", "Replies of workers to questions of the exporter.")
	// A counter without a host, so that it outlives the purge of that host, and an alert on its
	// increase fires.
	m.lost = m.counter("worker_lost_total",
		"Workers that sent no heartbeat within the timeout and had not said that they leave.")
	return m
}

func (m *metrics) counter(name, help string) prometheus.Counter {
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: m.prefix + name, Help: help})
	m.register.MustRegister(counter)
	return counter
}

func (m *metrics) vector(name, help, label string) *prometheus.CounterVec {
	vector := prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.prefix + name, Help: help}, []string{label})
	m.register.MustRegister(vector)
	return vector
}

func (m *metrics) gauge(name, help string) prometheus.Gauge {
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: m.prefix + name, Help: help})
	m.register.MustRegister(gauge)
	return gauge
}

// malformed counts a message that was not understood, by the decoder's error.
func (m *metrics) malformed(err error) {
	switch {
	case errors.Is(err, wire.ErrEnvelope):
		m.malformedEnvelopes.Inc()
	case errors.Is(err, broker.ErrTooLarge):
		m.largeReplies.Inc()
	case errors.Is(err, wire.ErrContentType):
		m.malformedTypes.Inc()
	default:
		m.malformedBodies.Inc()
	}
}

// lag records the age of an event; NaN is no timestamp.
func (m *metrics) lag(now time.Time, timestamp float64) {
	// It is negative if the sender's clock is ahead, and is shown so: a clock that is wrong is
	// worth knowing of.
	if !math.IsNaN(timestamp) {
		m.lagSeconds.Set(float64(now.UnixNano())/1e9 - timestamp)
	}
}
