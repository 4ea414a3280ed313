// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"
	"text/template/parse"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	corev1 "k8s.io/api/core/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// everyString is a stack with a string in every field that reaches a rule or a dashboard.
const everyString = `
apiVersion: obstack.dev/v1alpha1
kind: ObservabilityStack
metadata: {name: shop, namespace: shop}
spec:
  environment: production
  metrics:
    labels: {release: prometheus}
    monitors:
    - name: api
      selector: {matchLabels: {app: shop-api}}
      scrapeTimeout: 10s
      relabelings:
      - {sourceLabels: [pod], separator: ",", regex: (.*), replacement: $1, targetLabel: replica, action: replace}
      metricRelabelings: [{sourceLabels: [__name__], regex: go_.*, action: drop}]
    - {name: web, selector: {matchLabels: {app: shop-web}}, framework: flask}
  tasks:
    brokers:
    - name: main
      url: redis://redis:6379/0
      queues: [celery]
      args: [--enable-events, --metric-prefix=celery_, "--buckets=1,5", "--queue-wait-buckets=1,5"]
      periodicTasks: [{name: shop.clean_up, interval: 5m}]
      image: exporter.example/x:1
  dashboards:
    folder: Shop
    grafanaURL: https://grafana.example/g
    links: [{title: Sentry, url: https://sentry.example/}]
  alerts:
    labels: {team: shop}
    latency: {window: 5m, threshold: 1s, for: 5m}
    errorRatio: {window: 5m, for: 5m}
    taskFailureRatio: {window: 5m, threshold: "0.1"}
    queueBacklog: {ignoredQueues: [dead]}
    queueStalled: {ignoredQueues: [dead], window: 15m}
    workersLost: {window: 15m}
    targetDown: {threshold: "0.2"}
  slos:
  - {name: up, indicator: availability, monitor: api, objective: "99.9"}
  - {name: fast, indicator: latency, monitor: api, objective: "99", threshold: 500ms}
  - {name: done, indicator: task-success, broker: main, objective: "99", task: shop.pay, queue: pay}
  - {name: wait, indicator: queue-wait, broker: main, objective: "99", threshold: 5s}
  - {name: run, indicator: task-runtime, broker: main, objective: "99", threshold: 5s}
  sentry: {tracesSampleRate: "0.1", release: "1"}
  logging: {level: INFO, format: json}
`

// harmless is what a field holds when hostile strings are compared with it.
const harmless = "harmless"

// hostile are strings that break out of what they are put into.
var hostile = []string{
	`"} or up{namespace="other`, `'} or up{namespace='other`, "`} or up{x=`", "\\", "a\nb}", `5m]) or up[1m`,
	`,namespace=~".*"|.*`, `${1} $1 $namespace [[namespace]]`,
	`{{ query "up" | first | value }}`, `{`, "{{`", `{{"`, `}}{{/*`, `{{define "x"}}`,
	`--metric-prefix=up{namespace="other"} or x_`, `--metric-prefix=`, `--buckets=1}`, `--queue-wait-buckets=0.5"`,
	`https://grafana.example/{{query"up"}}`,
}

// closedSets are types that have an enum since they exist; nothing else was ever stored.
var closedSets = []reflect.Type{
	reflect.TypeFor[obsv1.Framework](), reflect.TypeFor[obsv1.Severity](), reflect.TypeFor[obsv1.Indicator](),
	reflect.TypeFor[obsv1.SLOWindow](), reflect.TypeFor[obsv1.NamespacesFrom](), reflect.TypeFor[obsv1.RolloutPolicy](),
}

// eachString visits every string of a value, and the keys and values of its maps, with what sets
// it.
func eachString(v reflect.Value, path string, visit func(path string, set func(string))) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			eachString(v.Elem(), path, visit)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Type().Field(i); field.IsExported() {
				eachString(v.Field(i), path+"."+field.Name, visit)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachString(v.Index(i), fmt.Sprintf("%s[%d]", path, i), visit)
		}
	case reflect.Map:
		eachEntry(v, path, visit)
	case reflect.String:
		if !slices.Contains(closedSets, v.Type()) {
			visit(path, v.SetString)
		}
	}
}

// eachEntry visits the keys and values of a map from strings to strings.
func eachEntry(v reflect.Value, path string, visit func(path string, set func(string))) {
	if v.Type().Key().Kind() != reflect.String || v.Type().Elem().Kind() != reflect.String {
		return
	}
	for _, key := range v.MapKeys() {
		visit(path+"[key "+key.String()+"]", func(s string) {
			v.SetMapIndex(reflect.ValueOf(s).Convert(key.Type()), v.MapIndex(key))
			v.SetMapIndex(key, reflect.Value{})
		})
		visit(path+"["+key.String()+"]", func(s string) {
			v.SetMapIndex(key, reflect.ValueOf(s).Convert(v.Type().Elem()))
		})
	}
}

// TestStringsOfTheSpecStayStrings writes hostile strings into every field of a stack, past the
// rules of the CRD: what is rendered must ask for the same series and run the same templates as
// with a harmless string, or not be rendered at all.
func TestStringsOfTheSpecStayStrings(t *testing.T) {
	full := goldenCase{stack: admit(t, "every string", []byte(everyString))}
	var paths []string
	eachString(reflect.ValueOf(&full.stack.Spec), "spec", func(path string, _ func(string)) {
		paths = append(paths, path)
	})
	if len(paths) < 80 {
		t.Fatalf("the full stack has only %d strings", len(paths))
	}
	parsed := memo{}
	render := func(path, value string) rendered {
		stack := full.stack.DeepCopy()
		eachString(reflect.ValueOf(&stack.Spec), "spec", func(at string, set func(string)) {
			if at == path {
				set(value)
			}
		})
		return renderedOf(t, path, parsed, goldenCase{stack: stack, in: full.in})
	}
	for _, path := range paths {
		want := render(path, harmless)
		for _, value := range hostile {
			for what, shapes := range render(path, value) {
				for _, shape := range shapes {
					if !slices.Contains(want[what], shape) {
						t.Errorf("%s = %q: %s have %s", path, value, what, shape)
					}
				}
			}
		}
	}
}

// memo spares the parsing of what most fields leave as it is.
type memo map[string][]string

func (m memo) of(content string, shapes func() []string) []string {
	if _, ok := m[content]; !ok {
		m[content] = shapes()
	}
	return m[content]
}

// rendered are the shapes of what was rendered: without the strings that may differ.
type rendered map[string][]string

func renderedOf(t *testing.T, path string, parsed memo, tc goldenCase) rendered {
	t.Helper()
	found := rendered{}
	for _, group := range rulesOf(tc) {
		for _, rule := range group.Rules {
			name := rule.Alert + rule.Record
			expr := rule.Expr.String()
			found["the expressions"] = append(found["the expressions"], parsed.of(name+": "+expr, func() []string {
				return []string{name + ": " + shapeOfExpr(t, path, tc.stack, expr)}
			})...)
			if rule.Alert == "" {
				continue
			}
			for _, texts := range []map[string]string{rule.Labels, rule.Annotations} {
				for _, key := range slices.Sorted(maps.Keys(texts)) {
					shape := actionsOf(t, path, texts[key])
					if len(shape) > 0 {
						found["the templates"] = append(found["the templates"], fmt.Sprintf("%s: %s", name, shape))
					}
				}
			}
		}
	}
	for _, object := range dashboardsOf(tc.stack, tc.in).Objects {
		content := onlyValue(object.(*corev1.ConfigMap).Data)
		found["the panels"] = append(found["the panels"], parsed.of(content, func() []string {
			var shapes []string
			for _, panel := range parseDashboard(t, path, []byte(content)).Panels {
				for _, target := range panel.Targets {
					expr := grafana(tc.stack, "api").Replace(target.Expr)
					shapes = append(shapes, shapeOfExpr(t, path, tc.stack, expr))
				}
			}
			return shapes
		})...)
	}
	return found
}

func onlyValue(data map[string]string) string {
	for _, value := range data {
		return value
	}
	return ""
}

// shapeOfExpr is the expression with its names and numbers, and with the labels of its matchers
// instead of their values. Every selector must name the stack and its namespace.
func shapeOfExpr(t *testing.T, path string, stack *obsv1.ObservabilityStack, text string) string {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		t.Errorf("%s: %v: %s", path, err, text)
		return ""
	}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		for label, want := range map[string]string{"namespace": stack.Namespace, obsv1.SeriesStack: stack.Name} {
			has := slices.ContainsFunc(selector.LabelMatchers, func(m *labels.Matcher) bool {
				return m.Type == labels.MatchEqual && m.Name == label && m.Value == want
			})
			if !has {
				t.Errorf("%s: %s does not select %s=%q", path, selector, label, want)
			}
		}
		for _, m := range selector.LabelMatchers {
			if m.Name == model.MetricNameLabel || m.Name == "namespace" || m.Name == obsv1.SeriesStack {
				continue
			}
			*m = *labels.MustNewMatcher(m.Type, m.Name, "")
		}
		return nil
	})
	return durations.ReplaceAllString(expr.String(), "TIME")
}

// durations and numbers follow from the spec.
var durations = regexp.MustCompile(`\b[0-9]+(\.[0-9]+)?(e-[0-9]+)?(ms|s|m|h|d|w|y)?([0-9]+(ms|s|m|h))*\b`)

// actionsOf a template of Prometheus. Constants are none: they are how a string is escaped.
func actionsOf(t *testing.T, path, text string) []string {
	t.Helper()
	none := func(...any) string { return "" }
	functions := template.FuncMap{}
	for _, name := range []string{
		"humanize", "humanizePercentage", "humanizeDuration", "query", "first", "value", "label",
	} {
		functions[name] = none
	}
	tree, err := template.New("x").Funcs(functions).Parse(`{{ $labels := . }}{{ $value := . }}` + text)
	if err != nil {
		t.Errorf("%s: %v: %s", path, err, text)
		return nil
	}
	if len(tree.Templates()) > 1 {
		t.Errorf("%s: defines a template: %s", path, text)
	}
	var actions []string
	for _, node := range tree.Root.Nodes[2:] {
		switch node := node.(type) {
		case *parse.TextNode:
		case *parse.ActionNode:
			if node.String() != `{{"{"}}` {
				actions = append(actions, node.String())
			}
		default:
			actions = append(actions, node.String())
		}
	}
	return actions
}

// TestEscapedTemplatesSayTheSame: what is escaped must read as it was written.
func TestEscapedTemplatesSayTheSame(t *testing.T) {
	for _, value := range hostile {
		var out strings.Builder
		if err := template.Must(template.New("x").Parse("a"+literal(value)+"b")).Execute(&out, nil); err != nil {
			t.Fatal(err)
		}
		if want := "a" + value + "b"; out.String() != want {
			t.Errorf("a template says %q, want %q", out.String(), want)
		}
	}
}

// TestBadPrefixesAreRefused: the API server refuses them too, but not in stacks that it has
// already.
func TestBadPrefixesAreRefused(t *testing.T) {
	full := goldenCase{stack: admit(t, "every string", []byte(everyString))}
	for _, prefix := range []string{"", "1x", "a-b", `up{namespace="other"} or x_`, "a b", "ä", "x\n"} {
		stack := full.stack.DeepCopy()
		for i := range stack.Spec.Tasks.Brokers {
			stack.Spec.Tasks.Brokers[i].Args = []string{"--metric-prefix=shop_", "--metric-prefix=" + prefix}
		}
		for name, out := range map[string]Output{
			"alerts": alerts(stack, full.in), "slos": slos(stack, full.in), "tasks": tasks(stack, full.in),
		} {
			if out.Status != "False" || !out.Hold || !strings.Contains(out.Message, "--metric-prefix=celery_") {
				t.Errorf("prefix %q: %s: %+v, want %s", prefix, name, conditionOf(out), obsv1.ReasonInvalidArgument)
			}
		}
		for _, rule := range rulesOf(goldenCase{stack: stack, in: full.in}) {
			for _, rule := range rule.Rules {
				if strings.Contains(rule.Expr.String(), "task_") {
					t.Errorf("prefix %q: got the rule %s", prefix, rule.Expr.String())
				}
			}
		}
	}
}
