// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"errors"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

// metrics are the exporter's own: what it read, what it could not, and whether it hears the broker at all.
type metrics struct {
	registry *prometheus.Registry
	register prometheus.Registerer // adds the static labels
	prefix   string

	events                                                 []prometheus.Counter // by wire.Type
	messages                                               prometheus.Counter
	malformedEnvelopes, malformedTypes, malformedBodies    prometheus.Counter
	malformedEvents, malformedFields                       prometheus.Counter
	droppedMessages, droppedWorkers, droppedRepeated       prometheus.Counter
	brokerUp, lagSeconds                                   prometheus.Gauge
	reconnects, brokerErrors, controlErrors, replies, lost prometheus.Counter
	wakeControl                                            func() // tells that a new worker was heard of
}

func newMetrics(prefix string, static map[string]string) *metrics {
	registry := prometheus.NewRegistry()
	m := &metrics{registry: registry, prefix: prefix, register: prometheus.WrapRegistererWith(static, registry), wakeControl: func() {}}
	m.register.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())
	events := m.vector("exporter_events_total", "Events read, by type; \"other\" are those of no known type.", "type")
	for _, t := range wire.Types() {
		m.events = append(m.events, events.WithLabelValues(t.String()))
	}
	m.messages = m.counter("exporter_messages_total", "Messages read from the broker. One holds one event or a list.")
	malformed := m.vector("exporter_malformed_total",
		"What was not understood: whole messages (envelope, content_type, body), single events, or fields of events that were counted.", "reason")
	m.malformedEnvelopes = malformed.WithLabelValues("envelope")
	m.malformedTypes = malformed.WithLabelValues("content_type")
	m.malformedBodies = malformed.WithLabelValues("body")
	m.malformedEvents = malformed.WithLabelValues("event")
	m.malformedFields = malformed.WithLabelValues("field")
	dropped := m.vector("exporter_dropped_total",
		"Messages dropped because processing fell behind (backlog), events of workers beyond the limit (workers), and events that repeat how a task finished (repeated).", "reason")
	m.droppedMessages = dropped.WithLabelValues("backlog")
	m.droppedRepeated = dropped.WithLabelValues("repeated")
	m.droppedWorkers = dropped.WithLabelValues("workers")
	m.brokerUp = m.gauge("exporter_broker_up", "Whether the exporter is connected to the broker and subscribed to events.")
	m.lagSeconds = m.gauge("exporter_event_lag_seconds", "Age of the last event read, by the clocks of its sender and of this machine.")
	m.reconnects = m.counter("exporter_reconnects_total", "How often the subscription was made again after it was lost.")
	m.brokerErrors = m.counter("exporter_broker_errors_total", "Failed attempts to subscribe and lost subscriptions.")
	m.controlErrors = m.counter("exporter_control_errors_total", "Failed readings of queue depths and failed questions to workers.")
	m.replies = m.counter("exporter_worker_replies_total", "Replies of workers to questions of the exporter.")
	m.lost = m.counter("worker_lost_total", "Workers that sent no heartbeat within the timeout and had not said that they leave.")
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
	case errors.Is(err, wire.ErrContentType):
		m.malformedTypes.Inc()
	default:
		m.malformedBodies.Inc()
	}
}

// lag records the age of an event; NaN is no timestamp.
func (m *metrics) lag(now time.Time, timestamp float64) {
	if !math.IsNaN(timestamp) {
		m.lagSeconds.Set(float64(now.UnixNano())/1e9 - timestamp)
	}
}
