// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired/dashboards"
	"obstack.dev/obstack/controllers/desired/framework"
)

// subject is what rules are about: a monitor or a broker of a stack.
type subject struct {
	stack    *obsv1.ObservabilityStack
	platform Platform
	// label that its series carry, SeriesMonitor or SeriesBroker, and the name that they have in
	// it.
	label, name string
	// dashboard that shows most of it.
	dashboard string
	// series are the label matchers of its series.
	series string
	// usual is the window of alerts for which the spec sets none, shortest the least that has data.
	usual, shortest time.Duration
	// values of placeholders, each after its placeholder.
	values []string
}

func newSubject(
	stack *obsv1.ObservabilityStack, platform Platform, label, name, dashboard string, values ...string,
) subject {
	series := fmt.Sprintf(`namespace=%q,%s=%q,%s=%q`, stack.Namespace, obsv1.SeriesStack, stack.Name, label, name)
	if cluster := platform.cluster(); cluster != "" {
		series += fmt.Sprintf(",%s=%q", obsv1.SeriesCluster, cluster)
	}
	s := subject{stack: stack, platform: platform, label: label, name: name, dashboard: dashboard, series: series}
	s.values = append(values,
		// Every alert has these labels, so that one can inhibit others about the same thing.
		"<subject>", fmt.Sprintf("namespace, %s, %s", obsv1.SeriesStack, label),
		"<series>", series, "<name>", literal(name), "<stack>", literal(stack.Namespace+"/"+stack.Name))
	return s
}

func monitorSubject(stack *obsv1.ObservabilityStack, platform Platform, monitor *obsv1.Monitor) subject {
	f := framework.Table[monitor.Framework]
	s := newSubject(stack, platform, obsv1.SeriesMonitor, monitor.Name, dashboards.HTTP(monitor.Framework),
		"<requests>", f.Requests, "<errors>", f.Errors, "<duration>", f.Duration)
	// With fewer than four scrapes one missed scrape leaves rate() without data.
	s.usual, s.shortest = 5*time.Minute, 4*duration(monitor.Interval)
	return s
}

func brokerSubject(stack *obsv1.ObservabilityStack, platform Platform, broker *obsv1.Broker) subject {
	s := newSubject(stack, platform, obsv1.SeriesBroker, broker.Name, dashboards.Tasks, "<prefix>", metricPrefix(broker))
	s.usual = 10 * time.Minute
	return s
}

// with replaces placeholders by their values, the given ones before those of the subject.
func (s subject) with(values ...string) *strings.Replacer {
	return strings.NewReplacer(slices.Concat(values, s.values)...)
}

// window that an alert looks back on.
func (s subject) window(set obsv1.Window) string {
	return model.Duration(max(cmp.Or(duration(set), s.usual), s.shortest)).String()
}

// labelQueue is the exporter's label for a queue.
const labelQueue = "queue_name"

func metricPrefix(broker *obsv1.Broker) string {
	return exporterOption(broker, "metric-prefix", "celery_")
}

// prefixFormat is that of a metric's name: the prefix becomes part of every expression.
var prefixFormat = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)

// invalidPrefix says what is wrong with the prefix of a broker's metrics, if anything is. CEL
// checks it, but not in stacks that were written before it did.
func invalidPrefix(broker *obsv1.Broker) *Output {
	if prefixFormat.MatchString(metricPrefix(broker)) {
		return nil
	}
	problem := unavailable(nil, obsv1.ReasonInvalidArgument, fmt.Sprintf(
		"the args of broker %s give its metrics a prefix that is no name of a metric: write for example "+
			"--metric-prefix=celery_",
		broker.Name))
	problem.Hold = true
	return &problem
}

// exporterOption is the value of an option in the exporter's arguments; the last one wins, as
// there.
func exporterOption(broker *obsv1.Broker, name, fallback string) string {
	for _, arg := range broker.Args {
		if value, ok := strings.CutPrefix(arg, "--"+name+"="); ok {
			fallback = value
		}
	}
	return fallback
}

// duration that CEL has checked; 0 if it was stored before.
func duration[T ~string](text T) time.Duration {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return 0
	}
	return parsed
}

// number that CEL has checked; 0 if it was stored before.
func number(text string) float64 {
	parsed, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return parsed
}
