// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired/dashboards"
)

// What is recorded of an SLO. docs/guides/slos.md says who reads it.
const (
	recordErrors    = "obstack:slo_errors:rate5m"
	recordEvents    = "obstack:slo_events:rate5m"
	recordRatio     = "obstack:slo_errors:ratio_rate" // and the window
	recordObjective = "obstack:slo_objective:ratio"
	recordBudget    = "obstack:slo_error_budget_remaining:ratio"
)

// Names of the alerts on SLOs. Each has a page of its name in docs/runbooks.
const (
	alertBurnFast = "ObstackErrorBudgetBurnFast"
	alertBurnSlow = "ObstackErrorBudgetBurnSlow"
)

// slos makes one PrometheusRule for each SLO, so that the rules of one that was
// changed into something impossible stay as they are, beside those of the others.
func slos(stack *obsv1.ObservabilityStack, in Inputs) Output {
	if len(stack.Spec.SLOs) == 0 {
		return Output{}
	}
	if in.MissingAPIs[PrometheusRuleKind.GroupKind()] {
		return missingAPI(nil, PrometheusRuleKind, prometheusOperator)
	}
	var objects []client.Object
	var problems []Output
	for i := range stack.Spec.SLOs {
		slo := &stack.Spec.SLOs[i]
		measured, problem := measure(stack, slo)
		if problem != nil {
			problem.Hold = true
			problems = append(problems, *problem)
			continue
		}
		objects = append(objects, &monitoringv1.PrometheusRule{
			ObjectMeta: objectMeta(stack, componentSLOs, sloName(stack, slo.Name), prometheusLabels(stack)),
			Spec:       monitoringv1.PrometheusRuleSpec{Groups: sloGroups(slo, measured)},
		})
	}
	out := available(objects, count(len(objects), "SLO")+" in place")
	if len(problems) > 0 {
		out = worst(objects, problems)
	}
	if len(objects) > 0 {
		out.Covered = count(len(objects), "SLO")
	}
	return out
}

// measured is what an SLO counts.
type measured struct {
	subject
	// errors and events are expressions of bad and of all events per second over
	// the last five minutes, by the labels of the subject.
	errors, events string
}

// burn is one line of the table in the SRE workbook, "Alerting on SLOs": the
// budget burns factor times too fast over the long window, and still does over the short one.
type burn struct {
	factor      float64
	long, short string
}

var (
	burnFast = []burn{{14.4, "1h", "5m"}, {6, "6h", "30m"}}
	burnSlow = []burn{{3, "1d", "2h"}, {1, "3d", "6h"}}
)

// sloGroups are the rules of one SLO in two groups. The long windows read
// thousands of samples and change slowly, so they are evaluated less often;
// still often enough to be never older than what an instant query looks back on.
func sloGroups(slo *obsv1.SLO, m measured) []monitoringv1.RuleGroup {
	r := sloRules{slo: slo, measured: m, budget: budgetOf(slo.Objective)}
	quick := []monitoringv1.Rule{r.record(recordEvents, m.events), r.record(recordErrors, m.errors)}
	slow := []monitoringv1.Rule{r.record(recordObjective, fmt.Sprintf("vector(%s)", decimal(1-r.budget)))}
	alerts := r.alerts()
	windows := r.windows()
	for _, window := range windows {
		if strings.HasSuffix(window, "d") {
			slow = append(slow, r.ratio(window))
		} else {
			quick = append(quick, r.ratio(window))
		}
	}
	slow = append(slow, r.record(recordBudget,
		fmt.Sprintf("1 - %s%s{%s} / %s", recordRatio, slo.Window, r.recorded(), decimal(r.budget))))
	return []monitoringv1.RuleGroup{
		{
			Name: groupName(m.stack, "slo:"+slo.Name), Interval: new(monitoringv1.Duration(quickInterval)),
			Rules: append(quick, alerts...),
		},
		{Name: groupName(m.stack, "slo:"+slo.Name+":long"), Interval: new(monitoringv1.Duration(slowInterval)), Rules: slow},
	}
}

// Intervals of the two groups. The sums of alerts rely on the first.
const (
	quickInterval = "1m"
	slowInterval  = "2m"
)

// sloRules writes the rules of one SLO.
type sloRules struct {
	measured
	slo *obsv1.SLO
	// budget is the share of events that may be bad.
	budget float64
}

// recorded are the label matchers of what is recorded of the SLO. An SLO that was
// moved to another monitor or broker leaves its past behind.
func (r sloRules) recorded() string {
	return fmt.Sprintf(`%s,%s=%q`, r.series(), obsv1.SeriesSLO, r.slo.Name)
}

func (r sloRules) record(name, expr string) monitoringv1.Rule {
	return monitoringv1.Rule{Record: name, Expr: intstr.FromString(expr), Labels: map[string]string{
		"namespace": r.stack.Namespace, obsv1.SeriesStack: r.stack.Name, r.label: r.name, obsv1.SeriesSLO: r.slo.Name,
	}}
}

// ratio records the share of bad events within a window. It divides the sums of
// the rates, so that a night with ten requests weighs less than a day with a
// million, which the mean of ratios would get wrong. A time without data weighs
// nothing. Of no events none are bad: 0, and not 0/0.
func (r sloRules) ratio(window string) monitoringv1.Rule {
	errors, events := recordErrors+"{"+r.recorded()+"}", recordEvents+"{"+r.recorded()+"}"
	if window != "5m" {
		errors, events = fmt.Sprintf("sum_over_time(%s[%s])", errors, window),
			fmt.Sprintf("sum_over_time(%s[%s])", events, window)
	}
	return r.record(recordRatio+window, fmt.Sprintf("%s / clamp_min(%s, %s)", errors, events, nearlyNothing))
}

// nearlyNothing is far below the rate that a single event in five minutes has, 1/300 s.
const nearlyNothing = "1e-9"

// windows are those that something reads: the alerts, the dashboard (1h) and the budget.
func (r sloRules) windows() []string {
	windows := []string{"1h", string(r.slo.Window)}
	for _, pair := range slices.Concat(r.burns(r.slo.Alerts.Page, burnFast), r.burns(r.slo.Alerts.Ticket, burnSlow)) {
		windows = append(windows, pair.long, pair.short)
	}
	return slices.DeleteFunc(slices.Clone(allWindows), func(window string) bool {
		return !slices.Contains(windows, window)
	})
}

var allWindows = []string{"5m", "30m", "1h", "2h", "6h", "1d", "3d", "7d", "28d", "30d", "90d"}

// burns are the lines of the table that can come true: with an objective of 90 %,
// nothing burns 14.4 times too fast, because that would be 144 % of all events.
func (r sloRules) burns(tuning obsv1.BurnAlert, table []burn) []burn {
	if tuning.Disabled {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(table), func(b burn) bool { return b.factor*r.budget >= 1 })
}

func (r sloRules) alerts() []monitoringv1.Rule {
	var rules []monitoringv1.Rule
	page, ticket := r.slo.Alerts.Page, r.slo.Alerts.Ticket
	if burns := r.burns(page, burnFast); len(burns) > 0 {
		rules = append(rules, r.burnAlert(alertBurnFast, burns, cmp.Or(page.Severity, "critical"), "fast"))
	}
	if burns := r.burns(ticket, burnSlow); len(burns) > 0 {
		rules = append(rules, r.burnAlert(alertBurnSlow, burns, cmp.Or(ticket.Severity, "warning"), "slowly but surely"))
	}
	return rules
}

// burnAlert counts bad events by the sum of their rate times the 60 s between two
// samples. An event then counts 1 on average, and from 0.84 to 1.12, because how
// many samples show it varies; half an event less than the minimum is asked for.
func (r sloRules) burnAlert(name string, burns []burn, severity obsv1.Severity, pace string) monitoringv1.Rule {
	var lines []string
	for _, b := range burns {
		limit := decimal(b.factor * r.budget)
		lines = append(lines, fmt.Sprintf("  %s%s{%s} > %s\n  and %s%s{%s} > %s\n  and 60 * sum_over_time(%s{%s}[%s]) >= %s",
			recordRatio, b.long, r.recorded(), limit, recordRatio, b.short, r.recorded(), limit,
			recordErrors, r.recorded(), b.long, decimal(float64(r.slo.Alerts.MinimumFailures)-0.5)))
	}
	expr := fmt.Sprintf("(\n%s\n) / %s", strings.Join(lines, "\nor\n"), decimal(r.budget))
	about := r.subject
	about.dashboard = dashboards.Overview
	rule := about.alert(name, expr, "", severity,
		annotation("SLO %s of stack %s/%s uses up its error budget %s", r.slo.Name, r.stack.Namespace, r.stack.Name, pace),
		annotation(`The error budget burns {{ $value | printf "%%.1f" }} times as fast as `+
			"the objective of %s %% within %s allows.", r.slo.Objective, r.slo.Window))
	rule.Labels[obsv1.SeriesSLO] = literal(r.slo.Name)
	if alerts := r.stack.Spec.Alerts; alerts != nil {
		addLabels(&rule, alerts.Labels)
	}
	return rule
}

// budgetOf an objective in percent, which CEL has checked.
func budgetOf(objective string) float64 {
	percent, err := strconv.ParseFloat(objective, 64)
	if err != nil {
		return 1
	}
	return (100 - percent) / 100
}

// decimal writes a number without what binary fractions add to it.
func decimal(number float64) string {
	return strconv.FormatFloat(number, 'g', 10, 64)
}
