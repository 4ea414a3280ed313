// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// metricName finds the metrics in an expression.
var metricName = regexp.MustCompile(`([a-z_]+)\{`)

type dashboard struct {
	ID            *int
	UID           string
	Title         string
	SchemaVersion int
	Inputs        any `json:"__inputs"`
	Templating    struct {
		List []struct{ Name, Type string }
	}
	Panels []struct {
		ID         int
		Type       string
		Title      string
		Datasource struct{ Type, UID string }
		GridPos    struct{ X, Y, W, H int }
		Targets    []struct {
			Expr       string
			Datasource struct{ Type, UID string }
		}
	}
}

func TestDashboardOfTheOperatorLoads(t *testing.T) {
	dashboard := dashboard{}
	readJSON(t, chart+"/files/operator-dashboard.json", &dashboard)
	if !regexp.MustCompile(`^[-a-zA-Z0-9_]{1,40}$`).MatchString(dashboard.UID) ||
		dashboard.Title == "" || dashboard.SchemaVersion < 39 {
		t.Errorf("uid %q, title %q, schemaVersion %d", dashboard.UID, dashboard.Title, dashboard.SchemaVersion)
	}
	if dashboard.ID != nil || dashboard.Inputs != nil {
		t.Error("id and __inputs are for imports by hand; Grafana's file provisioning does not resolve them")
	}
	if first := dashboard.Templating.List[0]; first.Name != "datasource" || first.Type != "datasource" {
		t.Errorf("first variable %+v, want the data source", first)
	}
}

func TestPanelsOfTheOperatorsDashboard(t *testing.T) {
	dashboard := dashboard{}
	readJSON(t, chart+"/files/operator-dashboard.json", &dashboard)
	seen := map[int]bool{}
	for _, panel := range dashboard.Panels {
		if seen[panel.ID] || panel.ID == 0 || panel.GridPos.X+panel.GridPos.W > 24 {
			t.Errorf("panel %q: id %d must be unique and the panel within 24 columns", panel.Title, panel.ID)
		}
		seen[panel.ID] = true
		if panel.Type == "row" {
			continue
		}
		if len(panel.Targets) == 0 || panel.Datasource.UID != "${datasource}" {
			t.Errorf("panel %q has no query or not the chosen data source", panel.Title)
		}
	}
}

func TestDashboardOfTheOperatorFollowsItsVariables(t *testing.T) {
	dashboard := dashboard{}
	readJSON(t, chart+"/files/operator-dashboard.json", &dashboard)
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			selectors := strings.Count(target.Expr, `{namespace=~"$namespace", job=~"$job"`)
			if selectors == 0 ||
				selectors != len(metricName.FindAllString(target.Expr, -1)) || target.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q: %s", panel.Title, target.Expr)
			}
		}
	}
}

// TestDashboardHasOneSource: the chart and config/grafana hold copies of what the dashboards' own
// tests check.
func TestDashboardHasOneSource(t *testing.T) {
	want := string(read(t, root+"/controllers/desired/dashboards/stacks.json"))
	if got := string(read(t, chart+"/files/operator-dashboard.json")); got != want {
		t.Error("the chart's dashboard differs from controllers/desired/dashboards/stacks.json: run make generate")
	}
	configMap := only[corev1.ConfigMap](t, kustomize(t, "grafana"), "ConfigMap")
	if configMap.Data["obstack-operator.json"] != want ||
		configMap.Labels["grafana_dashboard"] != "1" || configMap.Name != "obstack-dashboard" {
		t.Errorf("config/grafana: ConfigMap %s with labels %v differs from the source: run make generate", configMap.Name,
			configMap.Labels)
	}
}

func TestDashboardReachesTheConfigMapUnchanged(t *testing.T) {
	configMap := only[corev1.ConfigMap](t, renderChart(t, "--set", "metrics.dashboard.enabled=true"), "ConfigMap")
	want := string(read(t, chart+"/files/operator-dashboard.json"))
	if got := configMap.Data["obstack-system-obstack.json"]; strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("the ConfigMap holds %d bytes that are not the dashboard's %d", len(got), len(want))
	}
	if configMap.Labels["grafana_dashboard"] != "1" {
		t.Errorf("labels %v, want the one that Grafana's sidecar looks for", configMap.Labels)
	}
}
