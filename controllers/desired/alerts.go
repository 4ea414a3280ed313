// SPDX-License-Identifier: Apache-2.0

package desired

import (
	_ "embed"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired/dashboards"
)

const runbooks = "https://github.com/obstack/obstack/blob/main/docs/runbooks/"

//go:embed alerts.yaml
var alertsYAML []byte

// alertTable has the alerts of each group.
var alertTable = func() (table map[string][]alertTemplate) {
	if err := yaml.UnmarshalStrict(alertsYAML, &table); err != nil {
		panic(err) // Any test of a stack would see it.
	}
	return table
}()

// alertTemplate is an alert with placeholders.
type alertTemplate struct {
	Alert, Expr, Summary, Description string
	// EachPeriodicTask makes it one alert for each of the broker's periodic tasks.
	EachPeriodicTask bool
}

// alerts makes one PrometheusRule with the default alerts: one of each kind for each monitor and
// broker.
func alerts(stack *obsv1.ObservabilityStack, in Inputs) Output {
	if stack.Spec.Alerts == nil {
		return Output{}
	}
	if in.MissingAPIs[PrometheusRuleKind.GroupKind()] {
		return missingAPI(nil, PrometheusRuleKind, prometheusOperator)
	}
	groups, problem := alertGroups(stack, in.Platform)
	if problem != nil {
		return *problem
	}
	if len(groups) == 0 {
		return available(nil, "every alert is disabled")
	}
	names := map[string]bool{} // An alert that both groups have is one to people.
	for _, group := range groups {
		for _, rule := range group.Rules {
			names[rule.Alert] = true
		}
	}
	out := available([]client.Object{&monitoringv1.PrometheusRule{
		ObjectMeta: objectMeta(stack, componentAlerts, alertsName(stack),
			prometheusLabels(stack, in.discovered().PrometheusRules)),
		Spec: monitoringv1.PrometheusRuleSpec{Groups: groups},
	}}, count(len(names), "alert")+" in place")
	out.Covered = count(len(names), "alert")
	return out
}

// AlertGroups are the default alerts of a stack as far as its platform does not matter, none if all
// are disabled.
func AlertGroups(stack *obsv1.ObservabilityStack) ([]monitoringv1.RuleGroup, *Output) {
	return alertGroups(stack, Platform{})
}

func alertGroups(stack *obsv1.ObservabilityStack, platform Platform) ([]monitoringv1.RuleGroup, *Output) {
	spec := stack.Spec.Alerts
	var monitors, brokers []monitoringv1.Rule
	for _, monitor := range httpMonitors(stack, platform) {
		monitors = append(monitors, monitorSubject(stack, platform, &monitor).alerts("http", spec, nil)...)
	}
	for _, broker := range stack.Spec.Brokers() {
		if problem := invalidPrefix(&broker); problem != nil {
			return nil, problem
		}
		brokers = append(brokers, brokerSubject(stack, platform, &broker).alerts("tasks", spec, broker.PeriodicTasks)...)
	}
	var groups []monitoringv1.RuleGroup
	if len(monitors) > 0 {
		groups = append(groups, monitoringv1.RuleGroup{Name: GroupName(stack, "http"), Rules: monitors})
	}
	if len(brokers) > 0 {
		groups = append(groups, monitoringv1.RuleGroup{Name: GroupName(stack, "tasks"), Rules: brokers})
	}
	return groups, nil
}

// GroupName of a group of rules. Prometheus wants the names unique within a file, not within a
// cluster; the stack's name makes them readable on its rules page.
func GroupName(stack *obsv1.ObservabilityStack, part string) string {
	return fmt.Sprintf("obstack:%s/%s:%s", stack.Namespace, stack.Name, part)
}

// alerts are those of a group about the subject, as the spec tunes them.
func (s subject) alerts(group string, spec *obsv1.AlertsSpec, tasks []obsv1.PeriodicTask) (rules []monitoringv1.Rule) {
	all := s.tunings(spec)
	for _, t := range alertTable[group] {
		tuning := all[t.Alert]
		switch {
		case tuning.disabled, t.Alert == alertTargetDown && s.mayNotServe():
		case t.EachPeriodicTask:
			for _, task := range tasks {
				tuning.values = s.taskValues(task)
				rules = append(rules, s.alert(t, tuning, "task", task.Name))
			}
		default:
			rules = append(rules, s.alert(t, tuning, "", ""))
		}
	}
	return rules
}

// alertTargetDown is about the scrape itself.
const alertTargetDown = "ObstackTargetDown"

// mayNotServe reports whether a target that is down may be as it should: what gets the bundle for
// Python may be another language, or have metrics of its own.
func (s subject) mayNotServe() bool {
	return s.label == obsv1.SeriesMonitor && s.name == obsv1.MonitorPython && s.stack.Spec.Python != nil
}

// tuning is what a spec says of an alert.
type tuning struct {
	disabled bool
	severity obsv1.Severity
	hold     obsv1.Duration
	// values of placeholders.
	values []string
}

// tunings by the alert's name. A <threshold> is a number of PromQL, a <limit> the same in words.
func (s subject) tunings(spec *obsv1.AlertsSpec) map[string]tuning {
	latency, backlog, stalled, lost := spec.Latency, spec.QueueBacklog, spec.QueueStalled, spec.WorkersLost
	down, silent, unreachable := spec.TargetDown, spec.SchedulerSilent, spec.BrokerUnreachable
	ratio := func(r obsv1.RatioAlert) tuning {
		share := number(r.Threshold)
		return tuning{r.Disabled, r.Severity, r.For, []string{
			// As humanizePercentage writes it, so that value and threshold compare.
			"<threshold>", fmt.Sprintf("%g", share), "<limit>", fmt.Sprintf("%.4g%%", 100*share), "<window>", s.window(r.Window),
		}}
	}
	return map[string]tuning{
		"ObstackHighLatency": {latency.Disabled, latency.Severity, latency.For, []string{
			"<threshold>", fmt.Sprintf("%g", duration(latency.Threshold).Seconds()),
			"<limit>", literal(string(latency.Threshold)), "<window>", s.window(latency.Window),
		}},
		"ObstackHighErrorRatio":       ratio(spec.ErrorRatio),
		"ObstackHighTaskFailureRatio": ratio(spec.TaskFailureRatio),
		alertTargetDown: ratio(obsv1.RatioAlert{
			Disabled: down.Disabled, Severity: down.Severity, For: down.For, Threshold: down.Threshold,
		}),
		"ObstackQueueBacklog": {backlog.Disabled, backlog.Severity, backlog.For, []string{
			"<threshold>", fmt.Sprint(backlog.Threshold), "<limit>", fmt.Sprint(backlog.Threshold),
			"<queues>", otherQueues(backlog.IgnoredQueues),
		}},
		"ObstackQueueStalled": {stalled.Disabled, stalled.Severity, stalled.For, []string{
			"<window>", s.window(stalled.Window), "<queues>", otherQueues(stalled.IgnoredQueues),
		}},
		"ObstackWorkersLost": {lost.Disabled, lost.Severity, "", []string{
			"<threshold>", fmt.Sprint(lost.Threshold), "<window>", s.window(lost.Window),
		}},
		"ObstackSchedulerSilent":   {silent.Disabled, silent.Severity, silent.For, nil},
		"ObstackBrokerUnreachable": {unreachable.Disabled, unreachable.Severity, unreachable.For, nil},
	}
}

// taskValues are the values of the placeholders for a periodic task.
func (s subject) taskValues(task obsv1.PeriodicTask) []string {
	// A minute more than the interval: when a run shows depends on the scrapes, too.
	window := duration(task.Interval).Truncate(time.Second) + time.Minute
	return []string{
		"<task>", literal(task.Name), "<interval>", literal(string(task.Interval)),
		"<window>", model.Duration(window).String(), "<task series>", fmt.Sprintf("%s,name=%q", s.series, task.Name),
	}
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

// alert makes a rule from a template, with a further label if it is not empty. It carries the
// subject as a label, as its series do: promtool calls two alerts that have a name and all labels
// in common duplicates. The labels of the spec do not replace those that say what the alert is
// about, or one stack's alert could pass for another's.
func (s subject) alert(t alertTemplate, tuning tuning, label, value string) monitoringv1.Rule {
	labels := map[string]string{"severity": string(tuning.severity), s.label: literal(s.name)}
	if label != "" {
		labels[label] = literal(value)
	}
	if cluster := s.platform.cluster(); cluster != "" {
		labels[obsv1.SeriesCluster] = literal(cluster)
	}
	spec := s.alertsSpec()
	for key, value := range spec.Labels {
		_, taken := labels[key]
		if !taken && key != "namespace" && key != labelQueue && !strings.HasPrefix(key, "obstack_") {
			labels[key] = literal(string(value))
		}
	}
	if _, taken := labels[labelEnvironment]; !taken && s.stack.Spec.Environment != "" {
		labels[labelEnvironment] = literal(s.stack.Spec.Environment)
	}
	fill := s.with(tuning.values...)
	annotations := map[string]string{
		"summary":     fill.Replace(t.Summary),
		"description": fill.Replace(t.Description),
		"runbook_url": runbook(spec.RunbookBase, t.Alert),
	}
	if spec := s.stack.Spec.Dashboards; spec != nil {
		annotations["dashboard_url"] = literal(fmt.Sprintf("%s/d/%s?var-%s=%s", strings.TrimRight(spec.GrafanaURL, "/"),
			dashboards.UID(s.stack.Namespace, s.stack.Name, s.dashboard),
			strings.TrimPrefix(s.label, "obstack_"), url.QueryEscape(s.name)))
	}
	expr := intstr.FromString(fill.Replace(t.Expr))
	rule := monitoringv1.Rule{Alert: t.Alert, Expr: expr, Labels: labels, Annotations: annotations}
	if duration(tuning.hold) > 0 {
		rule.For = new(monitoringv1.Duration(tuning.hold))
	}
	return rule
}

// labelEnvironment says of an alert where the stack runs.
const labelEnvironment = "environment"

// alertsSpec is that of the stack, or for the SLOs of a stack without one what the platform
// gives to all.
func (s subject) alertsSpec() *obsv1.AlertsSpec {
	if s.stack.Spec.Alerts != nil {
		return s.stack.Spec.Alerts
	}
	if s.platform.Spec == nil {
		return &obsv1.AlertsSpec{}
	}
	defaults := &s.platform.Spec.Defaults
	return &obsv1.AlertsSpec{
		Labels: alertLabels(&s.stack.Spec, defaults), RunbookBase: defaults.Alerts.RunbookBase,
	}
}

// runbook of an alert: ours, or the page of its name under an address.
func runbook(base obsv1.RunbookBase, alert string) string {
	if base == "" {
		return runbooks + alert + ".md"
	}
	return literal(strings.TrimRight(string(base), "/") + "/" + alert)
}

// literal escapes a string for Prometheus' templates, which could read every series.
func literal(s string) string {
	return strings.ReplaceAll(s, "{", `{{"{"}}`)
}
