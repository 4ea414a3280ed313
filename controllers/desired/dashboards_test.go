// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// TestDashboardFiles reads the files as a person left them after an export from Grafana.
func TestDashboardFiles(t *testing.T) {
	files, err := dashboardFiles.ReadDir("dashboards")
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, file := range files {
		have = append(have, strings.TrimSuffix(file.Name(), ".json"))
	}
	if diff := cmp.Diff(dashboardNames, have); diff != "" {
		t.Errorf("dashboardNames and the files differ (-names +files):\n%s", diff)
	}
	for _, name := range have {
		content, err := dashboardFiles.ReadFile("dashboards/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(content, &d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		checkDashboard(t, name, d)
	}
}

var dashboardUIDFormat = regexp.MustCompile(`^[-_A-Za-z0-9]{1,40}$`)

func checkDashboard(t *testing.T, name string, d dashboard) {
	t.Helper()
	if !dashboardUIDFormat.MatchString(fmt.Sprint(d["uid"])) {
		t.Errorf("%s: uid %q: want at most 40 letters, digits, '-' and '_'", name, d["uid"])
	}
	if d["id"] != nil {
		t.Errorf("%s: id is %v: set it to null, ids belong to one Grafana", name, d["id"])
	}
	for _, field := range []string{"__inputs", "__requires", "__elements"} {
		if _, ok := d[field]; ok {
			t.Errorf("%s: has %s: export it without \"for sharing externally\"", name, field)
		}
	}
	templating, _ := d["templating"].(map[string]any)
	var variables []string
	for _, variable := range items(templating["list"]) {
		variables = append(variables, fmt.Sprintf("%s:%s", variable["name"], variable["type"]))
	}
	if len(variables) == 0 || variables[0] != "datasource:datasource" {
		t.Errorf("%s: variables are %v: the first must be datasource, of that type", name, variables)
	}
	checkPanels(t, name, items(d["panels"]))
}

func checkPanels(t *testing.T, name string, panels []dashboard) {
	t.Helper()
	if len(panels) == 0 {
		t.Errorf("%s has no panels", name)
	}
	ids, titles := map[any]bool{}, map[any]bool{}
	var taken [200][gridWidth]bool
	for _, panel := range panels {
		title := panel["title"]
		if ids[panel["id"]] || titles[title] {
			t.Errorf("%s: panel %v: its id or title is not unique", name, title)
		}
		ids[panel["id"]], titles[title] = true, true
		if panel["description"] == nil || panel["description"] == "" {
			t.Errorf("%s: panel %v has no description", name, title)
		}
		checkTargets(t, fmt.Sprintf("%s: panel %v", name, title), panel)
		position := panel["gridPos"].(map[string]any)
		at := func(field string) int { return int(position[field].(float64)) }
		for y := at("y"); y < at("y")+at("h"); y++ {
			for x := at("x"); x < at("x")+at("w"); x++ {
				if x >= gridWidth || taken[y][x] {
					t.Fatalf("%s: panel %v lies over another one or beyond the grid: %v", name, title, position)
				}
				taken[y][x] = true
			}
		}
	}
}

func checkTargets(t *testing.T, name string, panel dashboard) {
	t.Helper()
	want := map[string]any{"type": "prometheus", "uid": "${datasource}"}
	refIDs := map[any]bool{}
	for _, target := range append(items(panel["targets"]), panel) {
		if diff := cmp.Diff(want, target["datasource"]); diff != "" {
			t.Errorf("%s: every datasource must be the variable (-want +got):\n%s", name, diff)
		}
	}
	for _, target := range items(panel["targets"]) {
		if refIDs[target["refId"]] {
			t.Errorf("%s: refId %v is used twice", name, target["refId"])
		}
		refIDs[target["refId"]] = true
	}
}

// dashboardsOf are the dashboards that a stack gets, by their ConfigMap's name.
func dashboardsOf(t *testing.T, stack *obsv1.ObservabilityStack, in Inputs) map[string]dashboard {
	t.Helper()
	found := map[string]dashboard{}
	for _, obj := range dashboards(stack, in).Objects {
		configMap, ok := obj.(*corev1.ConfigMap)
		if !ok {
			continue
		}
		_, content := onlyEntry(configMap.Data)
		d := dashboard{}
		if err := json.Unmarshal([]byte(content), &d); err != nil {
			t.Fatalf("%s: %v", configMap.Name, err)
		}
		found[configMap.Name] = d
	}
	return found
}

// filledIn are the placeholders that the builder replaces; those that Grafana replaces stay.
var filledIn = regexp.MustCompile(`\$monitor|\$\{(monitor|requests|errors|duration)\b`)

func TestFilledDashboards(t *testing.T) {
	uids := map[any]string{}
	for _, tc := range readCases(t) {
		for name, d := range dashboardsOf(t, tc.stack, tc.in) {
			name = tc.name + ": " + name
			checkDashboard(t, name, d)
			key := tc.stack.Namespace + "/" + tc.stack.Name
			if other, ok := uids[d["uid"]]; ok && other != key {
				t.Errorf("%s: uid %v is also that of stack %s", name, d["uid"], other)
			}
			uids[d["uid"]] = key
			if found := filledIn.FindAllString(encode(d), -1); len(found) > 0 {
				t.Errorf("%s: not filled in: %v", name, found)
			}
			for _, panel := range items(d["panels"]) {
				if len(items(panel["targets"])) == 0 {
					t.Errorf("%s: panel %v has nothing to show", name, panel["title"])
				}
			}
		}
	}
}

// TestDashboardUIDsAreStable: a changed uid breaks every bookmark and playlist.
func TestDashboardUIDsAreStable(t *testing.T) {
	stack := &obsv1.ObservabilityStack{}
	stack.Namespace, stack.Name = "shop", "shop"
	if got, want := dashboardUID(stack, "overview"), "obstack-bd3e242909301efed1ed8830"; got != want {
		t.Errorf("uid = %s, want %s", got, want)
	}
}

func TestPanelsWithoutDataAreLeftOut(t *testing.T) {
	titles := map[string][]string{}
	for _, tc := range readCases(t) {
		for _, d := range dashboardsOf(t, tc.stack, tc.in) {
			for _, panel := range items(d["panels"]) {
				titles[tc.name] = append(titles[tc.name], fmt.Sprint(panel["title"]))
			}
		}
	}
	for name, want := range map[string][]string{
		"dashboards-only-metrics": {"API p95 latency", "API 5xx ratio", "Request rate"},
		"dashboards-only-tasks":   {"Task failure ratio", "Queue length", "Workers"},
		"dashboards-full":         {"API p95 latency", "API 5xx ratio", "Task failure ratio", "Request rate", "Queue length", "Workers"},
	} {
		if diff := cmp.Diff(want, titles[name]); diff != "" {
			t.Errorf("%s: panels (-want +got):\n%s", name, diff)
		}
	}
}

// TestPanelsWithoutQueriesStay: a person may add a row or a text to a file.
func TestPanelsWithoutQueriesStay(t *testing.T) {
	place := func(x, w float64) map[string]any { return map[string]any{"x": x, "y": 0.0, "w": w, "h": 4.0} }
	query := []any{map[string]any{"expr": "celery_worker_up"}}
	got := fillPanels(&obsv1.ObservabilityStack{}, []dashboard{
		{"title": "Tasks only", "gridPos": place(0, 12), "targets": query},
		{"title": "Read me", "gridPos": place(12, 12)},
	})
	want := []any{map[string]any{"title": "Read me", "gridPos": place(0, 12)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("panels (-want +got):\n%s", diff)
	}
}

func TestRefIDsAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for n := range 200 {
		if id := refID(n); seen[id] {
			t.Errorf("refID(%d) = %s, as before", n, id)
		} else {
			seen[id] = true
		}
	}
}
