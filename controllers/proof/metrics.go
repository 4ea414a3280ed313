// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	roundsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "obstack_proof_rounds_total",
		Help: "Rounds of proofs, by who was asked and outcome: succeeded, or failed (it is asked again later).",
	}, []string{"source", "outcome"})

	roundDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "obstack_proof_round_duration_seconds",
		Help:    "Time for asking once about all stacks concerned.",
		Buckets: prometheus.ExponentialBuckets(0.01, 4, 7),
	}, []string{"source"})

	proofDesc = prometheus.NewDesc("obstack_stack_last_proof_timestamp_seconds",
		"When the source that has not done so for longest last found out whether parts of the stack work.",
		[]string{"namespace", "stack"}, nil)
)

func init() {
	ctrlmetrics.Registry.MustRegister(roundsTotal, roundDuration)
}

// measured counts and times a round, and logs why it failed.
func measured(ctx context.Context, source Source, round func() error) error {
	start := time.Now()
	err := round()
	if ctx.Err() != nil {
		return err
	}
	outcome := "succeeded"
	if err != nil {
		outcome = "failed"
		ctrl.Log.WithName("proof").Error(err, "Could not ask whether what was written works", "source", source)
	}
	roundsTotal.WithLabelValues(string(source), outcome).Inc()
	roundDuration.WithLabelValues(string(source)).Observe(time.Since(start).Seconds())
	return err
}

// Register makes the age of what the Store knows a metric.
func (s *Store) Register() {
	ctrlmetrics.Registry.Unregister(s)
	ctrlmetrics.Registry.MustRegister(s)
}

// Describe implements prometheus.Collector.
func (*Store) Describe(ch chan<- *prometheus.Desc) { ch <- proofDesc }

// Collect implements prometheus.Collector.
func (s *Store) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for stack, records := range s.known {
		var oldest time.Time
		for _, r := range records {
			if !r.found.IsZero() && (oldest.IsZero() || r.found.Before(oldest)) {
				oldest = r.found
			}
		}
		if !oldest.IsZero() {
			ch <- prometheus.MustNewConstMetric(proofDesc, prometheus.GaugeValue, float64(oldest.Unix()), stack.Namespace,
				stack.Name)
		}
	}
}
