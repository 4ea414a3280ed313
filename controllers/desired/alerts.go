// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired/dashboards"
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
	brokers := brokersOf(stack)
	for i := range brokers {
		if problem := invalidPrefix(&brokers[i]); problem != nil {
			return *problem
		}
	}
	groups := alertGroups(stack, spec)
	if len(groups) == 0 {
		return available(nil, "every alert is disabled")
	}
	rule := &monitoringv1.PrometheusRule{
		ObjectMeta: objectMeta(stack, componentAlerts, alertsName(stack), prometheusLabels(stack)),
		Spec:       monitoringv1.PrometheusRuleSpec{Groups: groups},
	}
	alerts := count(countAlerts(groups), "alert")
	out := available([]client.Object{rule}, alerts+" in place")
	out.Covered = alerts
	return out
}

func alertGroups(stack *obsv1.ObservabilityStack, spec *obsv1.AlertsSpec) []monitoringv1.RuleGroup {
	var http, tasks []monitoringv1.Rule
	monitors := monitorsOf(stack)
	for i := range monitors {
		http = append(http, enabled(monitorAlerts(stack, &monitors[i], spec))...)
	}
	brokers := brokersOf(stack)
	for i := range brokers {
		tasks = append(tasks, enabled(brokerAlerts(stack, &brokers[i], spec))...)
	}
	var groups []monitoringv1.RuleGroup
	for _, group := range []monitoringv1.RuleGroup{{Name: "http", Rules: http}, {Name: "tasks", Rules: tasks}} {
		if len(group.Rules) == 0 {
			continue
		}
		group.Name = groupName(stack, group.Name)
		for i := range group.Rules {
			addLabels(&group.Rules[i], spec.Labels)
		}
		groups = append(groups, group)
	}
	return groups
}

// groupName of a group of rules. Prometheus wants the names unique within a file,
// not within a cluster; the stack's name makes them readable on its rules page.
func groupName(stack *obsv1.ObservabilityStack, part string) string {
	return fmt.Sprintf("obstack:%s/%s:%s", stack.Namespace, stack.Name, part)
}

// choice is an alert that the spec may have disabled.
type choice struct {
	disabled bool
	rule     monitoringv1.Rule
}

func enabled(choices []choice) []monitoringv1.Rule {
	var rules []monitoringv1.Rule
	for _, c := range choices {
		if !c.disabled {
			rules = append(rules, c.rule)
		}
	}
	return rules
}

// subject is what a rule is about: a monitor or a broker of a stack.
type subject struct {
	stack *obsv1.ObservabilityStack
	// label that its series carry, SeriesMonitor or SeriesBroker, and their name in it.
	label, name string
	// dashboard that shows most of it.
	dashboard string
}

func monitorSubject(stack *obsv1.ObservabilityStack, monitor *obsv1.Monitor) subject {
	return subject{stack, obsv1.SeriesMonitor, monitor.Name, dashboards.HTTP(monitor.Framework)}
}

func brokerSubject(stack *obsv1.ObservabilityStack, broker *obsv1.Broker) subject {
	return subject{stack, obsv1.SeriesBroker, broker.Name, dashboards.Tasks}
}

// series are the label matchers of the subject's series.
func (s subject) series() string {
	return fmt.Sprintf(`namespace=%q,%s=%q,%s=%q`, s.stack.Namespace, obsv1.SeriesStack, s.stack.Name, s.label, s.name)
}

// by aggregates over everything but the subject and the given labels. Every alert
// has these labels, so that one can inhibit others about the same thing.
func (s subject) by(more ...string) string {
	return "by (" + strings.Join(append([]string{"namespace", obsv1.SeriesStack, s.label}, more...), ", ") + ")"
}

// alert is a rule about the subject. It carries the subject as a label, as its series do: promtool
// calls two alerts that have a name and all labels in common duplicates. Summary and description
// are templates.
func (s subject) alert(
	name, expr string, hold obsv1.Duration, severity obsv1.Severity, summary, description string,
) monitoringv1.Rule {
	rule := monitoringv1.Rule{
		Alert:  name,
		Expr:   intstr.FromString(expr),
		Labels: map[string]string{"severity": string(severity), s.label: literal(s.name)},
		Annotations: map[string]string{
			"summary":     summary,
			"description": description,
			"runbook_url": runbooks + name + ".md",
		},
	}
	if hold != "" && seconds(hold) > 0 {
		rule.For = new(monitoringv1.Duration(hold))
	}
	if spec := s.stack.Spec.Dashboards; spec != nil {
		rule.Annotations["dashboard_url"] = annotation("%s/d/%s?var-%s=%s", strings.TrimRight(spec.GrafanaURL, "/"),
			dashboards.UID(s.stack.Namespace, s.stack.Name, s.dashboard),
			strings.TrimPrefix(s.label, "obstack_"), url.QueryEscape(s.name))
	}
	return rule
}

// countAlerts counts as people do: an alert of several groups, each for its own subjects, is one.
func countAlerts(groups []monitoringv1.RuleGroup) int {
	names := map[string]bool{}
	for _, group := range groups {
		for i := range group.Rules {
			names[group.Rules[i].Alert] = true
		}
	}
	return len(names)
}

// targetDown is about the scrape itself. Where there is no target, which a share
// cannot show, absent() names the subject from its matchers.
func targetDown(s subject, tuning obsv1.TargetDownAlert) monitoringv1.Rule {
	expr := fmt.Sprintf("1 - avg %s (up{%s}) > %g\nor absent(up{%s})",
		s.by(), s.series(), share(tuning.Threshold), s.series())
	return s.alert(alertTargetDown, expr, tuning.For, tuning.Severity,
		annotation("Prometheus cannot scrape %s of stack %s/%s", s.name, s.stack.Namespace, s.stack.Name),
		annotation("{{ $value | humanizePercentage }} of the targets cannot be scraped or are not there, "+
			"above the threshold of %s. Other alerts about them are blind.", percent(tuning.Threshold)))
}

// window of an alert on a monitor: what the spec says, and at least four scrapes,
// because with fewer one missed scrape leaves rate() without data.
func window(set obsv1.Window, monitor *obsv1.Monitor) string {
	span := span(set, 5*time.Minute)
	if interval, err := time.ParseDuration(string(monitor.Interval)); err == nil {
		span = max(span, 4*interval)
	}
	return model.Duration(span).String()
}

// span is the length of a window, or the fallback where none is set.
func span(set obsv1.Window, fallback time.Duration) time.Duration {
	parsed, err := time.ParseDuration(string(set))
	if err != nil {
		return fallback
	}
	return parsed
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
