// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"github.com/prometheus/client_golang/prometheus"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
)

var injectionsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "obstack_injections_total",
	Help: "Pods that the webhook was called for, by outcome (injected, refused, skipped or failed) and reason.",
}, []string{"outcome", "reason"})

func init() {
	ctrlmetrics.Registry.MustRegister(injectionsTotal)
}

func countInjection(outcome, reason string) {
	injectionsTotal.WithLabelValues(outcome, reason).Inc()
}
