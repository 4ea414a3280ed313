// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

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
	board := dashboard{}
	readJSON(t, chart+"/files/operator-dashboard.json", &board)
	if !regexp.MustCompile(`^[-a-zA-Z0-9_]{1,40}$`).MatchString(board.UID) || board.Title == "" || board.SchemaVersion < 39 {
		t.Errorf("uid %q, title %q, schemaVersion %d", board.UID, board.Title, board.SchemaVersion)
	}
	if board.ID != nil || board.Inputs != nil {
		t.Error("id and __inputs are for imports by hand; Grafana's file provisioning does not resolve them")
	}
	if first := board.Templating.List[0]; first.Name != "datasource" || first.Type != "datasource" {
		t.Errorf("first variable %+v, want the data source", first)
	}
	seen := map[int]bool{}
	for _, panel := range board.Panels {
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

// A metric that nobody exports makes an empty panel.
func TestDashboardOfTheOperatorAsksForMetricsThatExist(t *testing.T) {
	board := dashboard{}
	readJSON(t, chart+"/files/operator-dashboard.json", &board)
	known := []string{
		"obstack_stacks", "obstack_component_total", "obstack_component_duration_seconds_bucket",
		"controller_runtime_reconcile_total", "controller_runtime_reconcile_time_seconds_bucket",
		"controller_runtime_active_workers", "controller_runtime_max_concurrent_reconciles",
		"workqueue_depth", "rest_client_requests_total", "process_resident_memory_bytes", "process_cpu_seconds_total",
	}
	metric := regexp.MustCompile(`([a-z_]+)\{`)
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			if !strings.Contains(target.Expr, `namespace=~"$namespace", job=~"$job"`) || target.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q: %s does not follow the variables", panel.Title, target.Expr)
			}
			for _, found := range metric.FindAllStringSubmatch(target.Expr, -1) {
				if !slices.Contains(known, found[1]) {
					t.Errorf("panel %q asks for %s", panel.Title, found[1])
				}
			}
		}
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
