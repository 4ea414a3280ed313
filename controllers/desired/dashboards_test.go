// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired/dashboards"
	"obstack.dev/obstack/controllers/desired/framework"
)

// TestDashboardFiles reads the files as a person left them after an export from Grafana.
func TestDashboardFiles(t *testing.T) {
	files, err := filepath.Glob("dashboards/*.json")
	if err != nil || len(files) != 4 {
		t.Fatalf("dashboards = %v, error %v; a new file needs a template, see docs/guides/dashboards.md", files, err)
	}
	uids := map[string]bool{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		dashboard := parseDashboard(t, file, content)
		checkDashboard(t, file, dashboard)
		if uids[dashboard.UID] {
			t.Errorf("%s: uid %s is another file's, too", file, dashboard.UID)
		}
		uids[dashboard.UID] = true
		for _, field := range []string{"__inputs", "__requires", "__elements"} {
			if strings.Contains(string(content), field) {
				t.Errorf("%s: has %s: export it without \"for sharing externally\"", file, field)
			}
		}
	}
}

// dashboardsIn are the dashboards among objects, by the name of the dashboard.
func dashboardsIn(t *testing.T, stack *obsv1.ObservabilityStack, in Inputs) map[string]schemaDashboard {
	t.Helper()
	found := map[string]schemaDashboard{}
	for _, obj := range dashboardsOf(stack, in).Objects {
		configMap, ok := obj.(*corev1.ConfigMap)
		if !ok {
			continue
		}
		content := onlyValue(configMap.Data)
		name := strings.TrimPrefix(configMap.Name, dashboardName(stack, ""))
		if left := notFilledIn.FindAllString(content, -1); len(left) > 0 {
			t.Errorf("%s: not filled in: %v", configMap.Name, left)
		}
		found[name] = parseDashboard(t, configMap.Name, []byte(content))
	}
	return found
}

// notFilledIn are marks and placeholders that the builder replaces; those of Grafana are no match.
var notFilledIn = regexp.MustCompile(`[\x{e000}-\x{e003}]|\$\{[a-z_]+:raw\}|stack:namespace/name`)

func TestFilledDashboards(t *testing.T) {
	uids := map[string]string{}
	for _, tc := range readCases(t) {
		for name, dashboard := range dashboardsIn(t, tc.stack, tc.in) {
			where := tc.name + ": " + name
			checkDashboard(t, where, dashboard)
			key := tc.stack.Namespace + "/" + tc.stack.Name + "/" + name
			if other, ok := uids[dashboard.UID]; ok && other != key {
				t.Errorf("%s: uid %v is also that of %s", where, dashboard.UID, other)
			}
			uids[dashboard.UID] = key
			for _, panel := range dashboard.Panels {
				for _, target := range panel.Targets {
					checkSelectors(t, fmt.Sprintf("%s: panel %q", where, panel.Title), target.Expr)
				}
			}
		}
	}
}

// selectorOf finds every selector of an expression: a metric and its matchers.
var selectorOf = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}`)

// checkSelectors: a selector without the stack would show a neighbour's numbers.
func checkSelectors(t *testing.T, where, expr string) {
	t.Helper()
	selectors := selectorOf.FindAllStringSubmatch(expr, -1)
	if len(selectors) == 0 {
		t.Errorf("%s selects nothing: %s", where, expr)
	}
	for _, selector := range selectors {
		if !strings.HasPrefix(selector[2], `namespace="$namespace",obstack_stack="$stack"`) {
			t.Errorf("%s: %s must select the namespace and the stack first", where, selector[0])
		}
	}
}

// TestDashboardUIDsAreStable: a changed uid breaks every bookmark and playlist.
func TestDashboardUIDsAreStable(t *testing.T) {
	stack := &obsv1.ObservabilityStack{}
	stack.Namespace, stack.Name = "shop", "shop"
	for name, want := range map[string]string{
		"overview": "obstack-bd3e242909301efed1ed8830", "http-fastapi": "obstack-95aeeae9e1c230989255d162",
		"tasks": "obstack-af60e271d82d4a78bcf2d321",
	} {
		if got := dashboards.UID(stack.Namespace, stack.Name, name); got != want {
			t.Errorf("uid of %s = %s, want %s", name, got, want)
		}
	}
}

func TestPanelsWithoutDataAreLeftOut(t *testing.T) {
	titles := map[string][]string{}
	for _, tc := range readCases(t) {
		for _, panel := range dashboardsIn(t, tc.stack, tc.in)["overview"].Panels {
			titles[tc.name] = append(titles[tc.name], panel.Title)
		}
	}
	always := []string{"Firing alerts", "Alerts that fire", "Targets up"}
	slos := []string{"Error budget left", "SLO burn rate (1 h)"}
	http := []string{
		"Requests", "5xx ratio", "p95 latency", "Latency (p95)", "Errors (5xx)", "Traffic", "Saturation (busiest process)",
	}
	tasks := []string{"Failing tasks", "Failing tasks (ratio)", "Queue length", "Workers up", "Tasks finished"}
	for name, want := range map[string][]string{
		"dashboards-only-metrics": append(http, always...),
		"dashboards-only-tasks":   append(tasks, always...),
		"dashboards-full":         append(append(append(http, tasks...), slos...), always...),
	} {
		slices.Sort(want)
		slices.Sort(titles[name])
		if diff := cmp.Diff(want, titles[name]); diff != "" {
			t.Errorf("%s: panels (-want +got):\n%s", name, diff)
		}
	}
}

// TestRowsAreFull: what is left out of a row leaves no gap.
func TestRowsAreFull(t *testing.T) {
	for _, tc := range readCases(t) {
		for name, dashboard := range dashboardsIn(t, tc.stack, tc.in) {
			widths := map[int]int{}
			for _, panel := range dashboard.Panels {
				widths[panel.GridPos.Y] += panel.GridPos.W
			}
			for y, width := range widths {
				if width != gridWidth {
					t.Errorf("%s: %s: the row at %d is %d wide, want %d", tc.name, name, y, width, gridWidth)
				}
			}
		}
	}
}

// TestDashboardsSayWhatAFrameworkLacks: an empty panel looks like a fault.
func TestDashboardsSayWhatAFrameworkLacks(t *testing.T) {
	for name, f := range framework.Table {
		stack := &obsv1.ObservabilityStack{}
		stack.Namespace, stack.Name = "shop", "shop"
		stack.Spec.Metrics = &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{{Name: "api", Framework: name, Interval: "2m"}}}
		stack.Spec.Dashboards = &obsv1.DashboardsSpec{Datasource: "prometheus"}
		var said []string
		for _, panel := range dashboardsIn(t, stack, Inputs{})[dashboards.HTTP(name)].Panels {
			var options struct{ Mode, Content string }
			if panel.Type == "text" && strict(panel.Options, &options) == nil {
				said = append(said, options.Content)
			}
			for _, target := range panel.Targets {
				if target.Interval != "2m" {
					t.Errorf("%s: panel %q: interval %q, want the monitor's, or rate() lacks samples", name, panel.Title,
						target.Interval)
				}
			}
		}
		for signal, why := range f.Lacks {
			if !slices.Contains(said, why) {
				t.Errorf("%s lacks %s, and no panel says: %s", name, signal, why)
			}
			if _, ok := f.Names[signal]; ok {
				t.Errorf("%s has and lacks %s", name, signal)
			}
		}
		if !slices.Contains(said, f.Variables()["notes"]) {
			t.Errorf("%s: no panel shows its notes", name)
		}
	}
}

func TestLinksOfTheSpecComeFirst(t *testing.T) {
	stack := &obsv1.ObservabilityStack{}
	stack.Spec.Dashboards = &obsv1.DashboardsSpec{
		Links: []obsv1.DashboardLink{{Title: `Sentry "1"`, URL: "https://sentry.example/issues/?project=1&b=2"}},
	}
	for name, dashboard := range dashboardsIn(t, stack, Inputs{}) {
		first := dashboard.Links[0]
		if first.Title != `Sentry "1"` || first.URL != "https://sentry.example/issues/?project=1&b=2" ||
			!first.TargetBlank || len(dashboard.Links) < 4 {
			t.Errorf("%s: links = %+v", name, dashboard.Links)
		}
	}
}

func BenchmarkDashboards(b *testing.B) {
	for _, tc := range readCases(b) {
		if tc.name == "dashboards-full" {
			for b.Loop() {
				dashboardsOf(tc.stack, tc.in)
			}
		}
	}
}
