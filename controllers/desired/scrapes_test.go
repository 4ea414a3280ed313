// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired/framework"
)

// test/scrapes holds what each framework and the task exporter expose, kept from
// a run of test/dashboards, which compares it with newer versions. The panels
// are tried on it here, in a real engine and without real parts.
const scrapes = "../../test/scrapes"

// realStack has a monitor for each framework, and a broker.
func realStack(t *testing.T) *obsv1.ObservabilityStack {
	t.Helper()
	file := "../../test/dashboards/testdata/stack.yaml"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return admit(t, file, content)
}

// scraped are the samples of a scrape: metric, labels as text, and value.
type scraped struct {
	name, labels string
	value        float64
}

var sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$`)

func readScrape(t *testing.T, name string) []scraped {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(scrapes, name+".prom"))
	if err != nil {
		t.Fatal(err)
	}
	var found []scraped
	for line := range strings.Lines(string(content)) {
		match := sampleLine.FindStringSubmatch(strings.TrimSpace(line))
		if match == nil || strings.HasSuffix(match[1], "_created") {
			continue
		}
		value, err := strconv.ParseFloat(match[3], 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found = append(found, scraped{match[1], match[2], value})
	}
	return found
}

// ofOthers are metrics that neither a framework nor the task exporter exposes, and who does.
var ofOthers = []struct{ series, values, source string }{
	{`up{namespace="shop",obstack_stack="shop",obstack_monitor="MONITOR",pod="p"}`, "1x60", "Prometheus"},
	{
		`ALERTS{namespace="shop",obstack_stack="shop",alertname="ObstackHighLatency",alertstate="firing"}`, "1x60",
		"Prometheus",
	},
	{recordBudget + `{namespace="shop",obstack_stack="shop",slo="fast"}`, "0.5x60", "the rules of SLOs"},
	{recordRatio + `1h{namespace="shop",obstack_stack="shop",slo="fast"}`, "0.01x60", "the rules of SLOs"},
	{recordObjective + `{namespace="shop",obstack_stack="shop",slo="fast"}`, "0.99x60", "the rules of SLOs"},
	{`kube_pod_container_info{namespace="shop",pod="p",image="shop:1"}`, "_x50 1x10", "kube-state-metrics"},
}

// realSeries are the scrapes as promtool's series: counters grow by it each 30 s, gauges stay.
func realSeries(t *testing.T, stack *obsv1.ObservabilityStack) []map[string]string {
	t.Helper()
	var all []map[string]string
	add := func(name, label, of string) {
		target := fmt.Sprintf(`namespace="shop",obstack_stack="shop",%s=%q,pod="p"`, label, of)
		if of == obsv1.MonitorPython {
			target += fmt.Sprintf(`,%s="shop/web"`, obsv1.SeriesWorkload)
		}
		for _, s := range readScrape(t, name) {
			value := strconv.FormatFloat(s.value, 'f', -1, 64)
			values := value + "x60"
			if growing.MatchString(s.name) {
				values = value + "+" + value + "x60"
			}
			labels := strings.Trim(target+","+s.labels, ",")
			all = append(all, map[string]string{"series": s.name + "{" + labels + "}", "values": values})
		}
	}
	for i := range stack.Spec.Metrics.Monitors {
		monitor := &stack.Spec.Metrics.Monitors[i]
		add(string(monitor.Framework), obsv1.SeriesMonitor, monitor.Name)
		for _, other := range ofOthers {
			if name := strings.ReplaceAll(other.series, "MONITOR", monitor.Name); i == 0 || name != other.series {
				all = append(all, map[string]string{"series": name, "values": other.values})
			}
		}
	}
	add(obsv1.MonitorPython, obsv1.SeriesMonitor, obsv1.MonitorPython)
	add("task-exporter", obsv1.SeriesBroker, stack.Spec.Tasks.Brokers[0].Name)
	return all
}

var growing = regexp.MustCompile(`_(total|count|sum|bucket)$`)

// TestPanelsShowRealSeries evaluates every query of every dashboard over what
// the frameworks and the exporter really expose: each must show a number.
func TestPanelsShowRealSeries(t *testing.T) {
	stack := realStack(t)
	rules := panelRules(t, goldenCase{stack: stack})
	rules = append(rules, annotationRules(t, stack)...)
	var expectations []any
	for _, rule := range rules {
		selector := fmt.Sprintf("%s{query=%q}", rule.Record, rule.Labels["query"])
		expectations = append(expectations, map[string]any{
			// A value that is not a number is not equal to itself.
			"expr": fmt.Sprintf("count(%s == %s) > bool 0", selector, selector), "eval_time": "29m",
			"exp_samples": []any{map[string]any{"labels": "{}", "value": 1}},
		})
	}
	if len(expectations) < 200 {
		t.Errorf("only %d queries, want those of the overview, five frameworks and the tasks", len(expectations))
	}
	dir := t.TempDir()
	writeRules(t, filepath.Join(dir, "panels.yaml"), []monitoringv1.RuleGroup{{Name: "panels", Rules: rules}})
	tests := map[string]any{
		"rule_files": []string{"panels.yaml"}, "evaluation_interval": "29m",
		"tests": []any{
			map[string]any{"interval": "30s", "input_series": realSeries(t, stack), "promql_expr_test": expectations},
		},
	}
	if err := os.WriteFile(filepath.Join(dir, "test.yaml"), []byte(toYAML(t, tests)), 0o600); err != nil {
		t.Fatal(err)
	}
	runPromtool(t, dir, "test", "rules", "test.yaml")
}

// annotationRules are the queries of the annotations, which have no panel.
func annotationRules(t *testing.T, stack *obsv1.ObservabilityStack) []monitoringv1.Rule {
	t.Helper()
	var rules []monitoringv1.Rule
	for name, dashboard := range dashboardsIn(t, stack, Inputs{}) {
		for _, annotation := range dashboard.Annotations.List {
			rules = append(rules, monitoringv1.Rule{
				Record: panelName(name, "annotation "+annotation.Name), Labels: map[string]string{"query": "Anno"},
				Expr: intstr.FromString(grafana(stack, "").Replace(annotation.Target.Expr)),
			})
		}
	}
	return rules
}

// TestEveryMetricIsExposed: a branch of an expression that selects nothing may
// hide behind another that selects something.
func TestEveryMetricIsExposed(t *testing.T) {
	stack := realStack(t)
	exposed := map[string]map[string]bool{}
	for i := range stack.Spec.Metrics.Monitors {
		name := string(stack.Spec.Metrics.Monitors[i].Framework)
		exposed["http-"+name] = namesOf(readScrape(t, name))
	}
	exposed[obsv1.MonitorPython] = namesOf(readScrape(t, obsv1.MonitorPython))
	exposed["tasks"] = namesOf(readScrape(t, "task-exporter"))
	exposed["overview"] = map[string]bool{}
	for _, names := range exposed {
		maps.Copy(exposed["overview"], names)
	}
	var others []string
	for _, other := range ofOthers {
		name, _, _ := strings.Cut(other.series, "{")
		others = append(others, name)
	}
	for name, dashboard := range dashboardsIn(t, stack, Inputs{}) {
		for _, panel := range dashboard.Panels {
			for _, target := range panel.Targets {
				checkNames(t, fmt.Sprintf("%s: panel %q", name, panel.Title), target.Expr, exposed[name], others)
			}
		}
	}
}

// checkNames looks the metrics and labels of an expression up.
func checkNames(t *testing.T, where, expr string, exposed map[string]bool, others []string) {
	t.Helper()
	for _, label := range labelsIn(expr) {
		if !exposed["label "+label] && !slices.Contains(labelsOfOthers, label) {
			t.Errorf("%s uses the label %s, which is in no scrape", where, label)
		}
	}
	for _, selector := range selectorOf.FindAllStringSubmatch(expr, -1) {
		if metric := selector[1]; !exposed[metric] && !slices.Contains(others, metric) {
			t.Errorf("%s asks for %s, which is in no scrape", where, metric)
		}
	}
}

// namesOf the metrics, and of their labels after the word label.
func namesOf(samples []scraped) map[string]bool {
	names := map[string]bool{}
	for _, s := range samples {
		names[s.name] = true
		for _, label := range labelOf.FindAllStringSubmatch("{"+s.labels, -1) {
			names["label "+label[1]] = true
		}
	}
	return names
}

var (
	labelOf  = regexp.MustCompile(`[{,]([a-z_]+)(?:=|!)`)
	grouping = regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`)
)

// labelsIn an expression, whether it selects or groups by them. A group by a
// label that does not exist is one line without a name, not an error.
func labelsIn(expr string) []string {
	var labels []string
	for _, match := range labelOf.FindAllStringSubmatch(expr, -1) {
		labels = append(labels, match[1])
	}
	for _, match := range grouping.FindAllStringSubmatch(expr, -1) {
		labels = append(labels, strings.Split(match[1], ", ")...)
	}
	return labels
}

// labelsOfOthers are those of targets, of rules, and those that prometheus-flask-exporter has only
// with group_by.
var labelsOfOthers = []string{
	"namespace", obsv1.SeriesStack, obsv1.SeriesMonitor, obsv1.SeriesWorkload, obsv1.SeriesBroker, "slo", "alertstate",
	"url_rule", "endpoint",
}

// TestEveryBoundaryIsExposed: an Apdex of a boundary that a histogram lacks would be 0.
func TestEveryBoundaryIsExposed(t *testing.T) {
	stack := realStack(t)
	for i := range stack.Spec.Metrics.Monitors {
		name := stack.Spec.Metrics.Monitors[i].Framework
		// OpenTelemetry's exporter writes 1, the Python client 1.0; Prometheus 3 stores 1.0.
		for _, boundary := range []*regexp.Regexp{regexp.MustCompile(`le="0[.]25"`), regexp.MustCompile(`le="1([.]0)?"`)} {
			if !slices.ContainsFunc(readScrape(t, string(name)), func(s scraped) bool {
				return s.name == framework.Table[name].Duration+"_bucket" && boundary.MatchString(s.labels)
			}) {
				t.Errorf("%s has no boundary %s", name, boundary)
			}
		}
	}
}
