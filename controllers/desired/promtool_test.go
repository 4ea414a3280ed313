// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// promtool is built from the pinned tools, once.
var promtool = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("go", "tool", "-modfile="+filepath.Join("..", "..", "hack", "tools", "go.mod"), "-n", "promtool")
	// Without service discovery: the SDKs of the clouds take minutes to build.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-tags=remove_all_sd")
	var problem bytes.Buffer
	cmd.Stderr = &problem
	path, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build promtool: %w: %s", err, problem.String())
	}
	return strings.TrimSpace(string(path)), nil
})

func runPromtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	path, err := promtool()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = dir
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, output)
	}
}

// TestPromQL runs a real Prometheus engine over every expression that obstack
// ships. A case's alerts become rules.yaml and its panels panels.yaml, in which
// a panel is a recording rule, see panelRules, whose label "query" sets the
// panel's queries apart. A promtool.yaml in the case's folder
// feeds them series and says what is to come out.
func TestPromQL(t *testing.T) {
	for _, tc := range readCases(t) {
		groups, panels := rulesOf(tc), panelRules(t, tc)
		if len(groups) == 0 && len(panels) == 0 {
			continue
		}
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			writeRules(t, filepath.Join(dir, "rules.yaml"), groups)
			writeRules(t, filepath.Join(dir, "panels.yaml"), []monitoringv1.RuleGroup{{Name: "panels", Rules: panels}})
			runPromtool(t, dir, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml", "panels.yaml")
			tests, err := os.ReadFile(filepath.Join("testdata", tc.name, "promtool.yaml"))
			if errors.Is(err, fs.ErrNotExist) {
				return // The case's expressions are only parsed.
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "promtool.yaml"), tests, 0o600); err != nil {
				t.Fatal(err)
			}
			runPromtool(t, dir, "test", "rules", "promtool.yaml")
		})
	}
}

func rulesOf(tc goldenCase) []monitoringv1.RuleGroup {
	var groups []monitoringv1.RuleGroup
	for _, obj := range append(alerts(tc.stack, tc.in).Objects, slos(tc.stack, tc.in).Objects...) {
		groups = append(groups, obj.(*monitoringv1.PrometheusRule).Spec.Groups...)
	}
	return groups
}

func writeRules(t *testing.T, file string, groups []monitoringv1.RuleGroup) {
	t.Helper()
	content := toYAML(t, map[string]any{"groups": groups})
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

var notInMetricNames = regexp.MustCompile(`[^a-z0-9]+`)

// grafana replaces what Grafana would.
func grafana(stack *obsv1.ObservabilityStack, monitor string) *strings.Replacer {
	return strings.NewReplacer("$namespace", stack.Namespace, "$stack", stack.Name, "$monitor", monitor,
		"$broker", ".*", "$queue", ".*", "$task", ".*",
		"$__rate_interval", "2m", "$__interval", "30s", "$__range", "3h")
}

// panelRules are the queries of a stack's dashboards as recording rules: the
// traffic of the overview is panel:overview:traffic.
func panelRules(t *testing.T, tc goldenCase) []monitoringv1.Rule {
	t.Helper()
	var rules []monitoringv1.Rule
	dashboards := dashboardsIn(t, tc.stack, tc.in)
	for _, name := range slices.Sorted(maps.Keys(dashboards)) {
		monitor := ""
		for _, variable := range dashboards[name].Templating.List {
			if variable.Name == "monitor" {
				monitor = fmt.Sprint(variable.Current["value"])
			}
		}
		for _, panel := range dashboards[name].Panels {
			for _, target := range panel.Targets {
				rules = append(rules, monitoringv1.Rule{
					Record: panelName(name, panel.Title),
					Expr:   intstr.FromString(grafana(tc.stack, monitor).Replace(target.Expr)),
					Labels: map[string]string{"query": target.RefID},
				})
			}
		}
	}
	return rules
}

func panelName(dashboard, title string) string {
	return "panel:" + strings.ReplaceAll(dashboard, "-", "_") + ":" +
		strings.Trim(notInMetricNames.ReplaceAllString(strings.ToLower(title), "_"), "_")
}

// TestEveryRuleIsTested: an alert without a unit test is a bug. That every panel
// shows something is TestPanelsShowRealSeries' business.
func TestEveryRuleIsTested(t *testing.T) {
	var tests []byte
	files, err := filepath.Glob("testdata/*/promtool.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tests = append(tests, content...)
	}
	for _, tc := range readCases(t) {
		for _, group := range rulesOf(tc) {
			for _, rule := range group.Rules {
				if text := cmp.Or(rule.Record, "alertname: "+rule.Alert); !bytes.Contains(tests, []byte(text)) {
					t.Errorf("no promtool.yaml tests %s", text)
				}
			}
		}
	}
}
