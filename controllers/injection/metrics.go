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

var injectionEngine = prometheus.NewGaugeVec(prometheus.GaugeOpts{
	Name: "obstack_injection_engine",
	Help: "1 for what adds settings to Pods: Policy, Webhook, or None if the policy is not there.",
}, []string{"engine"})

func init() {
	ctrlmetrics.Registry.MustRegister(injectionsTotal, injectionEngine)
}

func countInjection(outcome, reason string) {
	injectionsTotal.WithLabelValues(outcome, reason).Inc()
}
