// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// stateCollector shows workers, queues and limits as they are at the moment of the scrape. It reads
// memory only.
type stateCollector struct {
	*Exporter

	workerUp, workerActive, queueLength, consumers, queueWorkers, queueProcesses, unackedMessages *prometheus.Desc
	eventsEnabled, workersByEvents, tasksTracked, tasksEvicted, seriesKept, seriesRefused         *prometheus.Desc
	backlogBytes, heartbeatAge, connectionUp, controlUp, inspectionAge                            *prometheus.Desc
}

func newStateCollector(e *Exporter) *stateCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(e.metrics.prefix+name, help, labels, nil)
	}
	return &stateCollector{
		Exporter: e,
		workerUp: desc(
			"worker_up",
			"Whether a worker of the host gave a sign of life within the timeout.",
			"hostname",
		),
		workerActive: desc(
			"worker_tasks_active",
			"Tasks that the host's workers are processing, by their last heartbeats.",
			"hostname",
		),
		heartbeatAge: desc(
			"worker_last_heartbeat_age_seconds",
			"Time since a worker of the host that has not said goodbye gave a sign of life, the longest.",
			"hostname",
		),
		queueLength:  desc("queue_length", "Messages waiting in the queue, of all priorities.", "queue_name"),
		consumers:    desc("active_consumer_count", "Consumers of the queue (RabbitMQ only).", "queue_name"),
		queueWorkers: desc("active_worker_count", "Live workers that consume the queue.", "queue_name"),
		queueProcesses: desc(
			"active_process_count",
			"Processes, or threads, of the live workers that consume the queue.",
			"queue_name",
		),
		unackedMessages: desc(
			"unacked_messages",
			"Messages delivered to workers and not acknowledged, of all queues (Redis only).",
		),
		eventsEnabled: desc(
			"exporter_task_events_enabled",
			"0 if live workers process tasks without sending task events; absent while nothing shows it.",
		),
		workersByEvents: desc("exporter_workers", "Live workers, by whether they send task events.", "task_events"),
		tasksTracked:    desc("exporter_tasks_tracked", "Tasks that are stored."),
		tasksEvicted: desc(
			"exporter_tasks_evicted_total",
			"Tasks forgotten before they finished, because of the limit.",
		),
		seriesKept: desc("exporter_series", "Series of tasks that are kept."),
		seriesRefused: desc(
			"exporter_series_refused_total",
			"Events counted under \"overflow\" because of the limit of series.",
		),
		backlogBytes: desc("exporter_backlog_bytes", "Messages read and not processed yet."),
		connectionUp: desc("exporter_connection_up", "Whether a connection to the broker is there.", "connection"),
		controlUp: desc(
			"exporter_control_up",
			"Whether a question to the broker or to workers got a reply when it was last asked.",
			"question",
		),
		inspectionAge: desc(
			"exporter_inspection_age_seconds",
			"Time since all live workers replied to a question about their queues and pools.",
		),
	}
}

// Describe sends nothing, because what is shown depends on the broker.
func (c *stateCollector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of this moment.
func (c *stateCollector) Collect(out chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	// Two workers on one host share the label, as with the peer, which shows the last heartbeat
	// alone: up is true if one of them is, and the running tasks are a sum.
	picture := c.tracker.workers.picture(c.clock())
	connected := c.connected.Load()
	for host, state := range picture.hosts {
		gauge(c.workerUp, boolean(state.up), host)
		gauge(c.workerActive, state.active, host)
		// Nobody can be heard without a subscription.
		if connected && state.silence >= 0 {
			gauge(c.heartbeatAge, state.silence.Seconds(), host)
		}
	}
	c.collectQueues(picture, gauge)
	c.collectStates(gauge)
	// Absent and not 1 while no worker has had a task: an alert on 0 must not depend on a guess.
	if enabled, known := picture.eventsEnabled(); known {
		gauge(c.eventsEnabled, boolean(enabled))
	}
	gauge(c.workersByEvents, float64(picture.on), "on")
	gauge(c.workersByEvents, float64(picture.off), "off")
	gauge(c.workersByEvents, float64(picture.unknown), "unknown")
	gauge(c.tasksTracked, float64(c.tracker.tasks.tracked.Load()))
	gauge(c.seriesKept, float64(c.tracker.store.Kept()))
	gauge(c.backlogBytes, float64(c.mailbox.bytes()))
	counter := func(desc *prometheus.Desc, value uint64) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value))
	}
	counter(c.tasksEvicted, c.tracker.tasks.evicted.Load())
	counter(c.seriesRefused, c.tracker.store.Refused())
}

// collectQueues shows the queues that were asked for, seen in events or consumed by workers. What
// could not be read, or no worker has said, is left out.
func (c *stateCollector) collectQueues(picture fleet, gauge func(*prometheus.Desc, float64, ...string)) {
	depths := c.tracker.queues.depths()
	// Workers may consume a queue that no client was seen to send to.
	for queue := range picture.queues {
		if _, known := depths[queue]; !known {
			depths[queue] = queueState{}
		}
	}
	for queue, state := range depths {
		sum := picture.queues[queue]
		if c.workers != nil && picture.consumersKnown() {
			gauge(c.queueWorkers, float64(sum.workers), queue)
		}
		if c.workers != nil && picture.processesKnown() {
			gauge(c.queueProcesses, float64(sum.processes), queue)
		}
		if !state.read {
			continue
		}
		gauge(c.queueLength, float64(state.depth.Messages), queue)
		// Redis does not know who waits for a list.
		if state.depth.Consumers >= 0 {
			gauge(c.consumers, float64(state.depth.Consumers), queue)
		}
	}
	if unacked := c.tracker.queues.unacked.Load(); unacked >= 0 {
		gauge(c.unackedMessages, float64(unacked))
	}
}

// collectStates shows what works of the connections and of the questions that are turned on.
func (c *stateCollector) collectStates(gauge func(*prometheus.Desc, float64, ...string)) {
	for _, connection := range c.connections() {
		gauge(c.connectionUp, boolean(connection.Up), connection.Name)
	}
	for _, question := range c.questions() {
		if question.Known {
			gauge(c.controlUp, boolean(question.Up), question.Name)
		}
	}
	if at := c.inspected.Load(); at > 0 {
		gauge(c.inspectionAge, c.clock().Sub(time.Unix(0, at)).Seconds())
	}
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
