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
	// RecordEvents has data for as long as an SLO has.
	RecordEvents    = "obstack:slo_events:rate5m"
	recordErrors    = "obstack:slo_errors:rate5m"
	recordRatio     = "obstack:slo_errors:ratio_rate" // and the window
	recordObjective = "obstack:slo_objective:ratio"
	recordBudget    = "obstack:slo_error_budget_remaining:ratio"
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
		measured, problem := measure(stack, in.Platform, slo)
		if problem != nil {
			problem.Hold = true
			problems = append(problems, *problem)
			continue
		}
		objects = append(objects, &monitoringv1.PrometheusRule{
			ObjectMeta: objectMeta(stack, componentSLOs, sloName(stack, slo.Name),
				prometheusLabels(stack, in.discovered().PrometheusRules)),
			Spec: monitoringv1.PrometheusRuleSpec{Groups: sloGroups(slo, measured)},
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

// sloGroups are the rules of one SLO in two groups. The long windows read thousands of samples and
// change slowly, so they are evaluated less often; still often enough to be never older than what
// an instant query looks back on. The sums of alerts rely on the interval of the first.
func sloGroups(slo *obsv1.SLO, m measured) []monitoringv1.RuleGroup {
	r := sloRules{
		measured: m, slo: slo, budget: (100 - number(slo.Objective)) / 100,
		recorded: fmt.Sprintf("%s,%s=%q", m.series, obsv1.SeriesSLO, slo.Name),
	}
	fast, slow := r.burns(slo.Alerts.Page, burnFast), r.burns(slo.Alerts.Ticket, burnSlow)
	quick := []monitoringv1.Rule{r.record(RecordEvents, m.events), r.record(recordErrors, m.errors)}
	long := []monitoringv1.Rule{r.record(recordObjective, fmt.Sprintf("vector(%s)", decimal(1-r.budget)))}
	for _, window := range windowsOf(slo, slices.Concat(fast, slow)) {
		if strings.HasSuffix(window, "d") {
			long = append(long, r.ratio(window))
		} else {
			quick = append(quick, r.ratio(window))
		}
	}
	quick = append(quick, r.burnAlerts(alertTable["slos"][0], fast, cmp.Or(slo.Alerts.Page.Severity, "critical"))...)
	quick = append(quick, r.burnAlerts(alertTable["slos"][1], slow, cmp.Or(slo.Alerts.Ticket.Severity, "warning"))...)
	long = append(long, r.record(recordBudget,
		fmt.Sprintf("1 - %s%s{%s} / %s", recordRatio, slo.Window, r.recorded, decimal(r.budget))))
	return []monitoringv1.RuleGroup{
		{Name: GroupName(m.stack, "slo:"+slo.Name), Interval: new(monitoringv1.Duration("1m")), Rules: quick},
		{Name: GroupName(m.stack, "slo:"+slo.Name+":long"), Interval: new(monitoringv1.Duration("2m")), Rules: long},
	}
}

// sloRules writes the rules of one SLO.
type sloRules struct {
	measured
	slo *obsv1.SLO
	// budget is the share of events that may be bad.
	budget float64
	// recorded are the label matchers of what is recorded of the SLO. One that was moved to another
	// monitor or broker leaves its past behind.
	recorded string
}

func (r sloRules) record(name, expr string) monitoringv1.Rule {
	labels := map[string]string{
		"namespace": r.stack.Namespace, obsv1.SeriesStack: r.stack.Name, r.label: r.name, obsv1.SeriesSLO: r.slo.Name,
	}
	if cluster := r.platform.cluster(); cluster != "" {
		labels[obsv1.SeriesCluster] = cluster
	}
	return monitoringv1.Rule{Record: name, Expr: intstr.FromString(expr), Labels: labels}
}

// ratio records the share of bad events within a window. It divides the sums of the rates, so that
// a night with ten requests weighs less than a day with a million, which the mean of ratios would
// get wrong. A time without data weighs nothing. Of no events none are bad: 0, and not 0/0; the
// least divisor is far below the rate that a single event in five minutes has, 1/300 s.
func (r sloRules) ratio(window string) monitoringv1.Rule {
	expr := fmt.Sprintf("sum_over_time(%s{%s}[%s]) / clamp_min(sum_over_time(%s{%s}[%s]), 1e-9)",
		recordErrors, r.recorded, window, RecordEvents, r.recorded, window)
	if window == "5m" {
		expr = fmt.Sprintf("%s{%s} / clamp_min(%s{%s}, 1e-9)", recordErrors, r.recorded, RecordEvents, r.recorded)
	}
	return r.record(recordRatio+window, expr)
}

// windowsOf an SLO are those that something reads: the alerts, the dashboard (1h) and the budget.
func windowsOf(slo *obsv1.SLO, burns []burn) []string {
	windows := []string{"1h", string(slo.Window)}
	for _, b := range burns {
		windows = append(windows, b.long, b.short)
	}
	all := []string{"5m", "30m", "1h", "2h", "6h", "1d", "3d", "7d", "28d", "30d", "90d"}
	return slices.DeleteFunc(all, func(window string) bool { return !slices.Contains(windows, window) })
}

// burns are the lines of the table that can come true: with an objective of 90 %, nothing burns
// 14.4 times too fast, because that would be 144 % of all events.
func (r sloRules) burns(tuning obsv1.BurnAlert, table []burn) []burn {
	if tuning.Disabled {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(table), func(b burn) bool { return b.factor*r.budget >= 1 })
}

// burnAlerts is one alert on all burn rates, if there are any. It counts bad events by the sum of
// their rate times the 60 s between two samples. An event then counts 1 on average, and from 0.84
// to 1.12, because how many samples show it varies; half an event less than the minimum is asked
// for.
func (r sloRules) burnAlerts(t alertTemplate, burns []burn, severity obsv1.Severity) []monitoringv1.Rule {
	if len(burns) == 0 {
		return nil
	}
	var lines []string
	for _, b := range burns {
		fill := strings.NewReplacer("<ratio>", recordRatio, "<errors>", recordErrors, "<recorded>", r.recorded,
			"<long>", b.long, "<short>", b.short, "<limit>", decimal(b.factor*r.budget),
			"<failures>", decimal(float64(r.slo.Alerts.MinimumFailures)-0.5))
		lines = append(lines, fill.Replace("  <ratio><long>{<recorded>} > <limit>\n"+
			"  and <ratio><short>{<recorded>} > <limit>\n  and 60 * sum_over_time(<errors>{<recorded>}[<long>]) >= <failures>"))
	}
	about := r.subject
	about.dashboard = dashboards.Overview
	tuning := tuning{severity: severity, values: []string{
		"<burns>", strings.Join(lines, "\nor\n"), "<budget>", decimal(r.budget), "<window>", literal(string(r.slo.Window)),
		"<slo>", literal(r.slo.Name), "<objective>", literal(r.slo.Objective),
	}}
	return []monitoringv1.Rule{about.alert(t, tuning, obsv1.SeriesSLO, r.slo.Name)}
}

// decimal writes a number without what binary fractions add to it.
func decimal(number float64) string {
	return strconv.FormatFloat(number, 'g', 10, 64)
}
