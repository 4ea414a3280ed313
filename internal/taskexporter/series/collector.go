// SPDX-License-Identifier: Apache-2.0

package series

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
)

// Collector offers the series to client_golang, for the protobuf format that carries native
// histograms. The text formats are written by WriteText, which needs a tenth of the time and no
// memory per series.
func (s *Store) Collector() prometheus.Collector { return collector{s} }

type collector struct{ *Store }

// Describe sends nothing: the collector is unchecked, because its label sets come and go.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends a metric for each series of this moment.
func (c collector) Collect(out chan<- prometheus.Metric) {
	// Descriptions are made anew each time: this path is for scrapes in protobuf only, which the
	// text path makes rare.
	for _, entry := range c.sent.snapshot() {
		out <- c.counter(sentFamily, entry.key, entry.count.Load())
	}
	for _, task := range c.tasks.snapshot() {
		for i, family := range counterFamilies {
			out <- c.counter(family, task.key, task.counters[i].Load())
		}
		for _, family := range histogramFamilies {
			if h := family.of(task).Load(); h != nil {
				out <- h.metric(c.desc(family.name, family.help), task.key)
			}
		}
	}
	for _, entry := range c.failures.snapshot() {
		out <- c.counter(failureFamily, entry.task.key, entry.count.Load(), entry.exception)
	}
}

// desc describes a metric. The static labels are not in it: the collector's registerer adds them.
func (c collector) desc(name, help string, more ...string) *prometheus.Desc {
	labels := append([]string{"name", "hostname", "queue_name"}, more...)
	return prometheus.NewDesc(c.config.Prefix+name, help, labels, nil)
}

func (c collector) counter(family counterFamily, key Key, value uint64, exception ...string) prometheus.Metric {
	var more []string
	if len(exception) > 0 {
		more = []string{"exception"}
	}
	values := append([]string{key.Name, key.Hostname, key.Queue}, exception...)
	return prometheus.MustNewConstMetric(c.desc(family.name+"_total", family.help, more...), prometheus.CounterValue,
		float64(value), values...)
}

// metric returns the histogram for client_golang, the native one if there is one, which has the
// classic buckets too.
func (h *histogram) metric(desc *prometheus.Desc, key Key) prometheus.Metric {
	if h.native != nil {
		return h.native
	}
	buckets := make(map[float64]uint64, len(h.bounds))
	var total uint64
	for i, bound := range h.bounds {
		total += h.counts[i].Load()
		buckets[bound] = total
	}
	total += h.counts[len(h.bounds)].Load()
	sum := math.Float64frombits(h.sum.Load())
	return prometheus.MustNewConstHistogram(desc, total, sum, buckets, key.Name, key.Hostname, key.Queue)
}
