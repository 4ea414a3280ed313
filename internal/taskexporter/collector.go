// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// stateCollector shows workers, queues and limits as they are at the moment of the scrape. It reads memory only.
type stateCollector struct {
	*tracker
	backlog func() int

	workerUp, workerActive, queueLength, consumers, queueWorkers, queueProcesses, unacked *prometheus.Desc
	eventsEnabled, workersByEvents, tasksTracked, tasksEvicted, seriesKept, seriesRefused *prometheus.Desc
	backlogBytes                                                                          *prometheus.Desc
}

func newStateCollector(t *tracker, backlog func() int) *stateCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(t.metrics.prefix+name, help, labels, nil)
	}
	return &stateCollector{
		tracker: t, backlog: backlog,
		workerUp:        desc("worker_up", "Whether a worker of the host gave a sign of life within the timeout.", "hostname"),
		workerActive:    desc("worker_tasks_active", "Tasks that the host's workers are processing, by their last heartbeats.", "hostname"),
		queueLength:     desc("queue_length", "Messages waiting in the queue, of all priorities.", "queue_name"),
		consumers:       desc("active_consumer_count", "Consumers of the queue (RabbitMQ only).", "queue_name"),
		queueWorkers:    desc("active_worker_count", "Live workers that consume the queue.", "queue_name"),
		queueProcesses:  desc("active_process_count", "Processes, or threads, of the live workers that consume the queue.", "queue_name"),
		unacked:         desc("unacked_messages", "Messages delivered to workers and not acknowledged, of all queues (Redis only)."),
		eventsEnabled:   desc("exporter_task_events_enabled", "0 if live workers process tasks without sending task events; absent while nothing tells."),
		workersByEvents: desc("exporter_workers", "Live workers, by whether they send task events.", "task_events"),
		tasksTracked:    desc("exporter_tasks_tracked", "Tasks that are remembered."),
		tasksEvicted:    desc("exporter_tasks_evicted_total", "Tasks forgotten before they finished, because of the limit."),
		seriesKept:      desc("exporter_series", "Series of tasks that are kept."),
		seriesRefused:   desc("exporter_series_refused_total", "Events counted under \"overflow\" because of the limit of series."),
		backlogBytes:    desc("exporter_backlog_bytes", "Messages read and not processed yet."),
	}
}

// Describe sends nothing, because what is shown depends on the broker.
func (c *stateCollector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of this moment.
func (c *stateCollector) Collect(out chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	// Two workers on one host share the label, as with the peer, which shows the last heartbeat alone: up is true if one of
	// them is, and the running tasks are a sum.
	picture := c.workers.picture()
	for host, state := range picture.hosts {
		gauge(c.workerUp, boolean(state.up), host)
		gauge(c.workerActive, state.active, host)
	}
	c.collectQueues(picture, gauge)
	// Absent and not 1 while no worker has had a task: an alert on 0 must not depend on a guess.
	if enabled, known := picture.eventsEnabled(); known {
		gauge(c.eventsEnabled, boolean(enabled))
	}
	gauge(c.workersByEvents, float64(picture.on), "on")
	gauge(c.workersByEvents, float64(picture.off), "off")
	gauge(c.workersByEvents, float64(picture.unknown), "unknown")
	gauge(c.tasksTracked, float64(c.tasks.tracked.Load()))
	gauge(c.seriesKept, float64(c.store.Kept()))
	gauge(c.backlogBytes, float64(c.backlog()))
	counter := func(desc *prometheus.Desc, value uint64) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value))
	}
	counter(c.tasksEvicted, c.tasks.evicted.Load())
	counter(c.seriesRefused, c.store.Refused())
}

// collectQueues shows the queues that were asked for, seen in events or consumed by workers. A depth that could not be
// read is left out.
func (c *stateCollector) collectQueues(picture fleet, gauge func(*prometheus.Desc, float64, ...string)) {
	depths, unacked := c.queues.read()
	names := c.queues.list()
	// Workers may consume a queue that no client was seen to send to.
	for queue := range picture.queues {
		names = append(names, queue)
	}
	slices.Sort(names)
	for _, queue := range slices.Compact(names) {
		sum := picture.queues[queue]
		gauge(c.queueWorkers, float64(sum.workers), queue)
		gauge(c.queueProcesses, float64(sum.processes), queue)
		depth, known := depths[queue]
		if !known {
			continue
		}
		gauge(c.queueLength, float64(depth.Messages), queue)
		// Redis does not know who waits for a list.
		if depth.Consumers >= 0 {
			gauge(c.consumers, float64(depth.Consumers), queue)
		}
	}
	if unacked >= 0 {
		gauge(c.unacked, float64(unacked))
	}
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
