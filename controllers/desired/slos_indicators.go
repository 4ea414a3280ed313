// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired/framework"
)

// measure turns an indicator into expressions, or says what about the SLO must be changed.
func measure(stack *obsv1.ObservabilityStack, platform Platform, slo *obsv1.SLO) (measured, *Output) {
	switch slo.Indicator {
	case obsv1.IndicatorTaskSuccess, obsv1.IndicatorQueueWait, obsv1.IndicatorTaskRuntime:
		return measureTasks(stack, platform, slo)
	default:
		return measureRequests(stack, platform, slo)
	}
}

// slowestScrape is the longest interval with which a window of five minutes has four scrapes.
const slowestScrape = 75 * time.Second

func measureRequests(
	stack *obsv1.ObservabilityStack, platform Platform, slo *obsv1.SLO,
) (measured, *Output) {
	monitor := obsv1.Monitor{Name: slo.Monitor}
	monitors := httpMonitors(stack, platform)
	if i := slices.IndexFunc(monitors, func(m obsv1.Monitor) bool { return m.Name == slo.Monitor }); i >= 0 {
		monitor = monitors[i]
	}
	if duration(monitor.Interval) > slowestScrape {
		return measured{}, new(unavailable(nil, obsv1.ReasonScrapeIntervalTooLong, fmt.Sprintf(
			"SLO %s: monitor %s is scraped every %s, and the shortest window of an SLO is 5m, "+
				"which needs four scrapes: write interval: 1m or less for the monitor",
			slo.Name, monitor.Name, monitor.Interval)))
	}
	s := monitorSubject(stack, platform, &monitor)
	if slo.Indicator == obsv1.IndicatorLatency {
		f := framework.Table[monitor.Framework]
		return s.measureTimes(slo, "monitor "+monitor.Name, f.Duration, f.Buckets)
	}
	fill := s.with()
	all := fill.Replace("sum by (<subject>) (rate(<requests>{<series>}[5m]))")
	bad := fill.Replace("sum by (<subject>) (rate(<requests>{<series>,<errors>}[5m]))")
	// As long as nothing has failed there is no series of failures.
	return measured{s, bad + "\nor 0 * " + all, all}, nil
}

func measureTasks(stack *obsv1.ObservabilityStack, platform Platform, slo *obsv1.SLO) (measured, *Output) {
	broker := obsv1.Broker{Name: slo.Broker}
	brokers := stack.Spec.Brokers()
	if i := slices.IndexFunc(brokers, func(b obsv1.Broker) bool { return b.Name == slo.Broker }); i >= 0 {
		broker = brokers[i]
	}
	if problem := invalidPrefix(&broker); problem != nil {
		problem.Message = fmt.Sprintf("SLO %s: %s", slo.Name, problem.Message)
		return measured{}, problem
	}
	s := brokerSubject(stack, platform, &broker)
	switch slo.Indicator {
	case obsv1.IndicatorQueueWait:
		return s.measureTimes(slo, "broker "+broker.Name, metricPrefix(&broker)+"task_queue_wait_time",
			bucketsOf(&broker, "queue-wait-buckets", defaultWaitBuckets))
	case obsv1.IndicatorTaskRuntime:
		return s.measureTimes(slo, "broker "+broker.Name, metricPrefix(&broker)+"task_runtime",
			bucketsOf(&broker, "buckets", defaultRuntimeBuckets))
	}
	fill := s.with("<series>", s.only(slo))
	failed := fill.Replace("sum by (<subject>) (rate(<prefix>task_failed_total{<series>}[5m]))")
	succeeded := fill.Replace("sum by (<subject>) (rate(<prefix>task_succeeded_total{<series>}[5m]))")
	// Either may have no series, and a sum with nothing is nothing.
	failures := fmt.Sprintf("(%s or 0 * %s)", failed, succeeded)
	return measured{s, failures, fmt.Sprintf("%s\n+ (%s or 0 * %s)", failures, succeeded, failed)}, nil
}

// only narrows the series of a broker to the task and the queue of an SLO.
func (s subject) only(slo *obsv1.SLO) string {
	series := s.series
	if slo.Task != "" {
		series += fmt.Sprintf(",name=%q", slo.Task)
	}
	if slo.Queue != "" {
		series += fmt.Sprintf(",%s=%q", labelQueue, slo.Queue)
	}
	return series
}

// measureTimes counts what a histogram has above the threshold, which must be the boundary of a
// bucket: between two of them Prometheus can only guess.
func (s subject) measureTimes(slo *obsv1.SLO, owner, histogram string, bounds []float64) (measured, *Output) {
	threshold := duration(slo.Threshold).Seconds()
	i := slices.IndexFunc(bounds, func(bound float64) bool { return math.Abs(bound-threshold) <= 1e-6 })
	switch {
	case i >= 0:
		fill := s.with("<series>", s.only(slo), "<histogram>", histogram, "<le>", leMatcher(bounds[i]))
		all := fill.Replace("sum by (<subject>) (rate(<histogram>_count{<series>}[5m]))")
		good := fill.Replace("sum by (<subject>) (rate(<histogram>_bucket{<series>,<le>}[5m]))")
		// If the application has other buckets there must be no data, rather than a perfect score
		// or none.
		return measured{s, fmt.Sprintf("clamp_min(%s\n- %s, 0)", all, good), all + "\nand " + good}, nil
	case len(bounds) == 0:
		return measured{}, new(unavailable(nil, obsv1.ReasonInvalidThreshold, fmt.Sprintf(
			"SLO %s: the args of %s give %s no bucket: write them as seconds, such as --buckets=0.5,1,5",
			slo.Name, owner, histogram)))
	default:
		return measured{}, new(unavailable(nil, obsv1.ReasonInvalidThreshold, fmt.Sprintf(
			"SLO %s: the threshold %s is not the boundary of a bucket of %s of %s: write one of %s",
			slo.Name, slo.Threshold, histogram, owner, boundaries(bounds))))
	}
}

// leMatcher matches the bucket with that upper bound. A whole number is "1" where
// the Go client writes it, and "1.0" where the Python client or Prometheus 3 does.
func leMatcher(bound float64) string {
	text := strconv.FormatFloat(bound, 'g', -1, 64)
	if strings.ContainsAny(text, ".e") {
		return fmt.Sprintf("le=%q", text)
	}
	return fmt.Sprintf("le=~%q", regexp.QuoteMeta(text)+`(\.0)?`)
}

// boundaries lists bounds as they are written in the spec. What is no whole
// number of milliseconds cannot be written there.
func boundaries(bounds []float64) string {
	var texts []string
	for _, bound := range bounds {
		left := time.Duration(math.Round(bound*1e3)) * time.Millisecond
		if left == 0 || math.Abs(bound-left.Seconds()) > 1e-6 {
			continue
		}
		var text string
		if hours := left / time.Hour; hours > 0 { // The spec knows no days, as Prometheus does.
			text = fmt.Sprintf("%dh", hours)
		}
		if left %= time.Hour; left > 0 {
			text += model.Duration(left).String()
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

// The upper bounds of the exporter's histograms, in seconds.
var (
	defaultWaitBuckets    = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800}
	defaultRuntimeBuckets = []float64{.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}
)

// bucketsOf a broker's exporter: those of its arguments, as far as it would take
// them, or the default ones.
func bucketsOf(broker *obsv1.Broker, option string, byDefault []float64) []float64 {
	text := exporterOption(broker, option, "")
	if text == "" {
		return byDefault
	}
	var bounds []float64
	for part := range strings.SplitSeq(text, ",") {
		bound, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err == nil && !math.IsInf(bound, 0) && !math.IsNaN(bound) {
			bounds = append(bounds, bound)
		}
	}
	return bounds
}
