// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"

	"obstack.dev/obstack/test/testenv"
)

// TestAlertsOfTheOperator: chart and kustomize ship the same rules, which Prometheus' own tool
// accepts and tests, each with a runbook.
func TestAlertsOfTheOperator(t *testing.T) {
	rule := only[monitoringv1.PrometheusRule](t, renderChart(t, "--set", "metrics.prometheusRule.enabled=true",
		"--set", "metrics.prometheusRule.labels.release=kps"), "PrometheusRule")
	if diff := gocmp.Diff(rule.Spec, only[monitoringv1.PrometheusRule](t, kustomize(t, "prometheus"),
		"PrometheusRule").Spec); diff != "" {
		t.Errorf("the rules of the chart are not those of config/prometheus: run make generate (-chart +kustomize)\n%s", diff)
	}
	if rule.Labels["release"] != "kps" {
		t.Errorf("labels %v, want the one by which Prometheus selects rules", rule.Labels)
	}
	dir := t.TempDir()
	rules, err := yaml.Marshal(rule.Spec)
	if err != nil {
		t.Fatal(err)
	}
	tests := read(t, "testdata/prometheus/promtool.yaml")
	for name, content := range map[string][]byte{"rules.yaml": rules, "promtool.yaml": tests} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	promtool, err := testenv.Tool(t.Context(), "promtool")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"},
		{"test", "rules", "promtool.yaml"}} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = dir
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", args[0], err, output)
		}
	}
	for _, alert := range rule.Spec.Groups[0].Rules {
		_, page, _ := strings.Cut(alert.Annotations["runbook_url"], "/blob/main/")
		if !strings.HasPrefix(string(read(t, root+"/"+page)), "# "+alert.Alert+"\n") {
			t.Errorf("%s has no runbook of its name at %s", alert.Alert, page)
		}
		if !strings.Contains(string(tests), "alertname: "+alert.Alert+"\n    exp_alerts") {
			t.Errorf("no promtool test has %s fire", alert.Alert)
		}
	}
}
