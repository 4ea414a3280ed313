// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Names of the alerts on brokers. Each has a page of its name in docs/runbooks.
const (
	alertHighTaskFailureRatio = "ObstackHighTaskFailureRatio"
	alertQueueBacklog         = "ObstackQueueBacklog"
	alertQueueStalled         = "ObstackQueueStalled"
	alertWorkersLost          = "ObstackWorkersLost"
	alertSchedulerSilent      = "ObstackSchedulerSilent"
	alertBrokerUnreachable    = "ObstackBrokerUnreachable"
)

// labelQueue is the exporter's label for a queue; labelTask sets alerts on single tasks apart.
const (
	labelQueue = "queue_name"
	labelTask  = "task"
)

func brokerAlerts(stack *obsv1.ObservabilityStack, broker *obsv1.Broker, spec *obsv1.AlertsSpec) []choice {
	s := brokerSubject(stack, broker)
	choices := []choice{
		{spec.TaskFailureRatio.Disabled, highTaskFailureRatio(s, broker, spec.TaskFailureRatio)},
		{spec.QueueBacklog.Disabled, queueBacklog(s, broker, spec.QueueBacklog)},
		{spec.QueueStalled.Disabled, queueStalled(s, broker, spec.QueueStalled)},
		{spec.WorkersLost.Disabled, workersLost(s, broker, spec.WorkersLost)},
	}
	for _, task := range broker.PeriodicTasks {
		choices = append(choices,
			choice{spec.SchedulerSilent.Disabled, schedulerSilent(s, broker, task, spec.SchedulerSilent)})
	}
	return append(choices,
		choice{spec.TargetDown.Disabled, targetDown(s, spec.TargetDown)},
		choice{spec.BrokerUnreachable.Disabled, brokerUnreachable(s, broker, spec.BrokerUnreachable)})
}

// taskWindow is the window of an alert on tasks: 10m where the spec sets none.
func taskWindow(set obsv1.Window) string {
	return model.Duration(span(set, 10*time.Minute)).String()
}

func highTaskFailureRatio(s subject, broker *obsv1.Broker, tuning obsv1.RatioAlert) monitoringv1.Rule {
	by := "sum " + s.by()
	window := fmt.Sprintf("{%s}[%s]", s.series(), taskWindow(tuning.Window))
	failures := taskMetric(broker, "task_failed_total") + window
	failed := fmt.Sprintf("%s (rate(%s))", by, failures)
	succeeded := fmt.Sprintf("%s (rate(%s%s))", by, taskMetric(broker, "task_succeeded_total"), window)
	// While no task ever succeeded there may be no such series, and a sum with nothing is nothing.
	expr := fmt.Sprintf("%s / (%s + (%s or 0 * %s)) > %g\nand %s (increase(%s)) >= %d",
		failed, failed, succeeded, failed, share(tuning.Threshold), by, failures, minimumFailures)
	return s.alert(alertHighTaskFailureRatio, expr, tuning.For, tuning.Severity,
		annotation("Tasks of broker %s of stack %s/%s fail", s.name, s.stack.Namespace, s.stack.Name),
		annotation("{{ $value | humanizePercentage }} of the finished tasks failed, above the threshold of %s.",
			percent(tuning.Threshold)))
}

func queueBacklog(s subject, broker *obsv1.Broker, tuning obsv1.QueueBacklogAlert) monitoringv1.Rule {
	expr := fmt.Sprintf("max %s (%s{%s%s}) > %d",
		s.by(labelQueue), taskMetric(broker, "queue_length"), s.series(), otherQueues(tuning.IgnoredQueues), tuning.Threshold)
	return s.alert(alertQueueBacklog, expr, tuning.For, tuning.Severity,
		annotation("Messages pile up in queue {{ $labels.queue_name }} of broker %s of stack %s/%s", s.name,
			s.stack.Namespace, s.stack.Name),
		annotation(`{{ $value | printf "%%.0f" }} messages wait, above the threshold of %d.`, tuning.Threshold))
}

// queueStalled fires when messages waited through the whole window and no task
// of the queue was started in it.
//
// Whose queue a start is of, the exporter may not know (docs/reference/task-exporter.md).
// Where no start was ever counted for a queue, its getting shorter counts as one.
func queueStalled(s subject, broker *obsv1.Broker, tuning obsv1.QueueStalledAlert) monitoringv1.Rule {
	by, series := s.by(labelQueue), s.series()
	window := taskWindow(tuning.Window)
	length := fmt.Sprintf("%s{%s%s}", taskMetric(broker, "queue_length"), series, otherQueues(tuning.IgnoredQueues))
	started := fmt.Sprintf("%s{%s}", taskMetric(broker, "task_started_total"), series)
	expr := strings.Join([]string{
		fmt.Sprintf("min %s (min_over_time(%s[%s])) > 0", by, length, window),
		// Else an exporter that has just started would know of nothing but the messages.
		fmt.Sprintf("and max %s (%s offset %s) > 0", by, length, window),
		fmt.Sprintf("unless %s", happened(by, started, window)),
		fmt.Sprintf("unless (max %s (resets(%s[%s])) > 0 unless sum %s (%s))", by, length, window, by, started),
	}, "\n")
	return s.alert(alertQueueStalled, expr, tuning.For, tuning.Severity,
		annotation("Nothing works on queue {{ $labels.queue_name }} of broker %s of stack %s/%s", s.name, s.stack.Namespace,
			s.stack.Name),
		annotation(`{{ $value | printf "%%.0f" }} messages or more have been waiting for %s, and no task of the queue was `+
			`started.`, window))
}

// happened is not empty if a counter rose within the window. increase() does not
// see the first count of a series, so one that is new and not 0 has risen as well:
// after a restart of the exporter every series is new.
func happened(by, counter, window string) string {
	return fmt.Sprintf("(sum %s (increase(%s[%s])) > 0 or sum %s (%s unless %s offset %s) > 0)",
		by, counter, window, by, counter, counter, window)
}

// workersLost counts by the exporter's counter: the series of the lost workers
// themselves are purged, and those of workers that left in peace look the same.
func workersLost(s subject, broker *obsv1.Broker, tuning obsv1.WorkersLostAlert) monitoringv1.Rule {
	window := taskWindow(tuning.Window)
	expr := fmt.Sprintf("round(sum %s (increase(%s{%s}[%s]))) >= %d",
		s.by(), taskMetric(broker, "worker_lost_total"), s.series(), window, tuning.Threshold)
	return s.alert(alertWorkersLost, expr, "", tuning.Severity,
		annotation("Workers of broker %s of stack %s/%s were lost", s.name, s.stack.Namespace, s.stack.Name),
		annotation(`Workers lost within %s: {{ $value | printf "%%.0f" }}. They fell silent without a goodbye; what they `+
			`were working on is lost or runs again.`, window))
}

// schedulerSilent fires when a periodic task was neither sent nor received within
// its interval, and the exporter was there at its beginning and end to see it.
func schedulerSilent(s subject, broker *obsv1.Broker, task obsv1.PeriodicTask,
	tuning obsv1.SchedulerSilentAlert) monitoringv1.Rule {
	by, series := s.by(), s.series()
	// A minute more than the interval: when a run shows depends on the scrapes, too.
	window := model.Duration(time.Duration(seconds(task.Interval))*time.Second + time.Minute).String()
	lines := []string{
		fmt.Sprintf("max %s (up{%s}) == 1", by, series),
		fmt.Sprintf("and max %s (up{%s} offset %s) == 1", by, series, window),
	}
	for _, metric := range []string{"task_sent_total", "task_received_total"} {
		counter := fmt.Sprintf("%s{%s,name=%q}", taskMetric(broker, metric), series, task.Name)
		lines = append(lines, "unless "+happened(by, counter, window))
	}
	// Without the broker nothing is heard, which is another alert's business. A
	// restart takes seconds and must not blind the alert for a day.
	lines = append(lines, fmt.Sprintf("unless max %s (avg_over_time(%s{%s}[%s])) < 0.9", by,
		taskMetric(broker, "exporter_broker_up"), series, window))
	rule := s.alert(alertSchedulerSilent, strings.Join(lines, "\n"), tuning.For, tuning.Severity,
		annotation("The scheduler of stack %s/%s does not send %s", s.stack.Namespace, s.stack.Name, task.Name),
		annotation("%s, expected every %s, was neither sent nor received on broker %s within that time.", task.Name,
			task.Interval, s.name))
	rule.Labels[labelTask] = literal(task.Name)
	return rule
}

func brokerUnreachable(s subject, broker *obsv1.Broker, tuning obsv1.BrokerUnreachableAlert) monitoringv1.Rule {
	expr := fmt.Sprintf("max %s (%s{%s}) == 0", s.by(), taskMetric(broker, "exporter_broker_up"), s.series())
	return s.alert(alertBrokerUnreachable, expr, tuning.For, tuning.Severity,
		annotation("The task exporter of stack %s/%s does not reach broker %s", s.stack.Namespace, s.stack.Name, s.name),
		"The task exporter runs and is not connected. Other alerts on tasks and queues are blind, and if the workers do "+
			"not reach the broker either, no task runs.")
}

// otherQueues is a label matcher for the queues that are not ignored, with a comma before it.
func otherQueues(ignored []string) string {
	if len(ignored) == 0 {
		return ""
	}
	patterns := make([]string, 0, len(ignored))
	for _, queue := range ignored {
		patterns = append(patterns, regexp.QuoteMeta(queue))
	}
	return fmt.Sprintf(",%s!~%q", labelQueue, strings.Join(patterns, "|"))
}

// taskMetric is the name that a broker's exporter gives a metric.
func taskMetric(broker *obsv1.Broker, name string) string {
	return metricPrefix(broker) + name
}

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

// exporterOption is the value of an option in the exporter's arguments; the last one wins.
func exporterOption(broker *obsv1.Broker, name, fallback string) string {
	for _, arg := range broker.Args {
		if value, ok := strings.CutPrefix(arg, "--"+name+"="); ok {
			fallback = value
		}
	}
	return fallback
}
