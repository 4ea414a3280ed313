// SPDX-License-Identifier: Apache-2.0

package shop

import (
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired/framework"
)

// metrics are those that dashboards and alerts read of prometheus-fastapi-instrumentator, under the
// names that the table of frameworks has.
type metrics struct {
	registry   *prometheus.Registry
	requests   *prometheus.CounterVec
	inProgress *prometheus.GaugeVec
	// all has many buckets and no labels, routes the labels and few buckets.
	all    prometheus.Histogram
	routes *prometheus.HistogramVec
}

func newMetrics() *metrics {
	names := framework.Table[obsv1.FrameworkFastAPI]
	route, method, status := names.Names["route"], names.Names["method"], names.Names["status"]
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: names.Requests, Help: "Total number of requests by method, status and handler.",
		}, []string{route, method, status}),
		inProgress: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: names.Names["in_progress"], Help: "Number of HTTP requests in progress.",
		}, []string{route, method}),
		all: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: names.Duration, Help: "Latency with many buckets but no API specific labels.", Buckets: names.Buckets,
		}),
		routes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: names.Names["route_duration"], Help: "Latency with only few buckets by handler.",
			Buckets: []float64{.1, .5, 1},
		}, []string{route, method}),
	}
	// The processes' metrics have the same names in every language.
	m.registry.MustRegister(m.requests, m.inProgress, m.all, m.routes,
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// observe counts and times what a route does.
func (m *metrics) observe(method, route string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began, response := time.Now(), &recorder{ResponseWriter: w}
		m.inProgress.WithLabelValues(route, method).Inc()
		next.ServeHTTP(response, r)
		m.inProgress.WithLabelValues(route, method).Dec()
		took := time.Since(began).Seconds()
		m.requests.WithLabelValues(route, method, fmt.Sprintf("%dxx", response.status/100)).Inc()
		m.routes.WithLabelValues(route, method).Observe(took)
		m.all.Observe(took)
	})
}

// recorder keeps the status of a response.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}
