// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"strconv"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Names of the alerts. Each has a page of its name in docs/runbooks.
const (
	alertHighLatency          = "ObstackHighLatency"
	alertHighErrorRatio       = "ObstackHighErrorRatio"
	alertHighTaskFailureRatio = "ObstackHighTaskFailureRatio"
)

const runbooks = "https://github.com/obstack/obstack/blob/main/docs/runbooks/"

// alerts makes one PrometheusRule with the default alerts: one of each kind for
// each monitor and broker.
func alerts(stack *obsv1.ObservabilityStack, in Inputs) Output {
	spec := stack.Spec.Alerts
	if spec == nil {
		return Output{}
	}
	if in.MissingAPIs[PrometheusRuleKind.GroupKind()] {
		return missingAPI(nil, PrometheusRuleKind, prometheusOperator)
	}
	groups := alertGroups(stack, spec)
	if len(groups) == 0 {
		return available(nil, "every alert is disabled")
	}
	rule := &monitoringv1.PrometheusRule{
		ObjectMeta: objectMeta(stack, componentAlerts, alertsName(stack), prometheusLabels(stack)),
		Spec:       monitoringv1.PrometheusRuleSpec{Groups: groups},
	}
	return available([]client.Object{rule}, count(countRules(groups), "alert")+" in place")
}

func alertGroups(stack *obsv1.ObservabilityStack, spec *obsv1.AlertsSpec) []monitoringv1.RuleGroup {
	var http, tasks []monitoringv1.Rule
	monitors := monitorsOf(stack)
	for i := range monitors {
		if !spec.Latency.Disabled {
			http = append(http, about(obsv1.SeriesMonitor, monitors[i].Name, highLatency(stack, &monitors[i], spec.Latency)))
		}
		if !spec.ErrorRatio.Disabled {
			http = append(http, about(obsv1.SeriesMonitor, monitors[i].Name, highErrorRatio(stack, &monitors[i], spec.ErrorRatio)))
		}
	}
	if stack.Spec.Tasks != nil && !spec.TaskFailureRatio.Disabled {
		for i := range stack.Spec.Tasks.Brokers {
			broker := stack.Spec.Tasks.Brokers[i].Name
			tasks = append(tasks, about(obsv1.SeriesBroker, broker, highTaskFailureRatio(stack, broker, spec.TaskFailureRatio)))
		}
	}
	var groups []monitoringv1.RuleGroup
	for _, group := range []monitoringv1.RuleGroup{{Name: "http", Rules: http}, {Name: "tasks", Rules: tasks}} {
		if len(group.Rules) == 0 {
			continue
		}
		// Prometheus wants the names of groups unique within a file, not within a
		// cluster; the stack's name makes them readable on its rules page.
		group.Name = fmt.Sprintf("obstack:%s/%s:%s", stack.Namespace, stack.Name, group.Name)
		for i := range group.Rules {
			addLabels(&group.Rules[i], spec.Labels)
		}
		groups = append(groups, group)
	}
	return groups
}

// about labels an alert with what it is about, as its series are. promtool calls
// two alerts that have a name and all labels in common duplicates.
func about(label, name string, rule monitoringv1.Rule) monitoringv1.Rule {
	rule.Labels[label] = name
	return rule
}

func addLabels(rule *monitoringv1.Rule, labels map[string]obsv1.AlertLabelValue) {
	for key, value := range labels {
		rule.Labels[key] = string(value)
	}
}

func countRules(groups []monitoringv1.RuleGroup) int {
	n := 0
	for _, group := range groups {
		n += len(group.Rules)
	}
	return n
}

// An alert on a share needs volume, or one failure at night is 100 %. The
// guards count what happened in the window of the rate.
const (
	// minimumFailures within the window: fewer are an incident for Sentry, not for a pager.
	minimumFailures = 3
	// minimumRequests within the window: of fewer, the slowest one alone is the 95th percentile.
	minimumRequests = 20
)

func highLatency(stack *obsv1.ObservabilityStack, monitor *obsv1.Monitor, tuning obsv1.LatencyAlert) monitoringv1.Rule {
	f, series, window := frameworkOf(monitor), monitorSeries(stack, monitor.Name), rateWindow(monitor)
	by := fmt.Sprintf("sum by (namespace, %s, %s", obsv1.SeriesStack, obsv1.SeriesMonitor)
	expr := fmt.Sprintf("histogram_quantile(0.95, %s, le) (rate(%s_bucket{%s}[%s]))) > %g\nand %s) (increase(%s_count{%s}[%s])) >= %d",
		by, f.duration, series, window, seconds(tuning.Threshold), by, f.duration, series, window, minimumRequests)
	return rule(alertHighLatency, expr, tuning.For, tuning.Severity,
		fmt.Sprintf("%s of stack %s/%s answers slowly", monitor.Name, stack.Namespace, stack.Name),
		fmt.Sprintf("The 95th percentile of the response time is {{ $value | humanizeDuration }}, above the threshold of %s.", tuning.Threshold))
}

func highErrorRatio(stack *obsv1.ObservabilityStack, monitor *obsv1.Monitor, tuning obsv1.RatioAlert) monitoringv1.Rule {
	f, series, window := frameworkOf(monitor), monitorSeries(stack, monitor.Name), rateWindow(monitor)
	by := fmt.Sprintf("sum by (namespace, %s, %s)", obsv1.SeriesStack, obsv1.SeriesMonitor)
	errors := fmt.Sprintf("%s{%s,%s}[%s]", f.requests, series, f.errors, window)
	expr := fmt.Sprintf("%s (rate(%s)) / %s (rate(%s{%s}[%s])) > %g\nand %s (increase(%s)) >= %d",
		by, errors, by, f.requests, series, window, share(tuning.Threshold), by, errors, minimumFailures)
	return rule(alertHighErrorRatio, expr, tuning.For, tuning.Severity,
		fmt.Sprintf("%s of stack %s/%s answers with server errors", monitor.Name, stack.Namespace, stack.Name),
		fmt.Sprintf("{{ $value | humanizePercentage }} of the requests are answered with 5xx, above the threshold of %s.", percent(tuning.Threshold)))
}

func highTaskFailureRatio(stack *obsv1.ObservabilityStack, broker string, tuning obsv1.RatioAlert) monitoringv1.Rule {
	by := fmt.Sprintf("sum by (namespace, %s, %s)", obsv1.SeriesStack, obsv1.SeriesBroker)
	window := fmt.Sprintf("{%s}[10m]", brokerSeries(stack, broker))
	failed := fmt.Sprintf("%s (rate(celery_task_failed_total%s))", by, window)
	succeeded := fmt.Sprintf("%s (rate(celery_task_succeeded_total%s))", by, window)
	// While no task has ever succeeded there may be no such series, and a sum with nothing is nothing.
	expr := fmt.Sprintf("%s / (%s + (%s or 0 * %s)) > %g\nand %s (increase(celery_task_failed_total%s)) >= %d",
		failed, failed, succeeded, failed, share(tuning.Threshold), by, window, minimumFailures)
	return rule(alertHighTaskFailureRatio, expr, tuning.For, tuning.Severity,
		fmt.Sprintf("Tasks of broker %s of stack %s/%s fail", broker, stack.Namespace, stack.Name),
		fmt.Sprintf("{{ $value | humanizePercentage }} of the finished tasks failed, above the threshold of %s.", percent(tuning.Threshold)))
}

func rule(name, expr string, hold obsv1.Duration, severity obsv1.Severity, summary, description string) monitoringv1.Rule {
	return monitoringv1.Rule{
		Alert:  name,
		Expr:   intstr.FromString(expr),
		For:    new(monitoringv1.Duration(hold)),
		Labels: map[string]string{"severity": string(severity)},
		Annotations: map[string]string{
			"summary":     summary,
			"description": description,
			"runbook_url": runbooks + name + ".md",
		},
	}
}

// rateWindow is five minutes, or four scrapes where those take longer: with
// fewer, one missed scrape leaves rate() without data.
func rateWindow(monitor *obsv1.Monitor) string {
	window := 5 * time.Minute
	if interval, err := time.ParseDuration(string(monitor.Interval)); err == nil {
		window = max(window, 4*interval)
	}
	return model.Duration(window).String()
}

// seconds of a duration that CEL has checked.
func seconds(d obsv1.Duration) float64 {
	parsed, err := time.ParseDuration(string(d))
	if err != nil {
		return 0
	}
	return parsed.Seconds()
}

// share is the number that CEL has checked to be one.
func share(threshold string) float64 {
	parsed, err := strconv.ParseFloat(threshold, 64)
	if err != nil {
		return 0
	}
	return parsed
}

// percent writes a share as humanizePercentage does, so that value and threshold compare.
func percent(threshold string) string {
	return fmt.Sprintf("%.4g%%", 100*share(threshold))
}
