// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"regexp"
	"testing"
)

// gridWidth of Grafana, in columns.
const gridWidth = 24

var dashboardUIDFormat = regexp.MustCompile(`^[-_A-Za-z0-9]{1,40}$`)

func checkDashboard(t *testing.T, name string, dashboard schemaDashboard) {
	t.Helper()
	if !dashboardUIDFormat.MatchString(dashboard.UID) {
		t.Errorf("%s: uid %q: want at most 40 letters, digits, '-' and '_'", name, dashboard.UID)
	}
	if dashboard.ID != nil {
		t.Errorf("%s: id is %v: set it to null, ids belong to one Grafana", name, *dashboard.ID)
	}
	if first := dashboard.Templating.List; len(first) == 0 ||
		first[0].Name != "datasource" || first[0].Type != "datasource" {
		t.Errorf("%s: the first variable must be datasource, of that type", name)
	}
	if len(dashboard.Links) == 0 {
		t.Errorf("%s: leads nowhere: want links to the other dashboards and the runbooks", name)
	}
	for _, annotation := range dashboard.Annotations.List {
		checkSource(t, name+": annotation "+annotation.Name, &annotation.Datasource)
	}
	checkPanels(t, name, dashboard.Panels)
}

func checkPanels(t *testing.T, name string, panels []schemaPanel) {
	t.Helper()
	if len(panels) == 0 {
		t.Errorf("%s has no panels", name)
	}
	ids, titles := map[int]bool{}, map[string]bool{}
	for _, panel := range panels {
		where := fmt.Sprintf("%s: panel %q", name, panel.Title)
		if ids[panel.ID] || titles[panel.Title] || panel.ID == 0 {
			t.Errorf("%s: its id or title is not unique", where)
		}
		ids[panel.ID], titles[panel.Title] = true, true
		if panel.Type == "row" {
			continue
		}
		if panel.Description == "" {
			t.Errorf("%s has no description", where)
		}
		if panel.Type != "text" {
			checkTargets(t, where, panel)
		}
	}
	checkGrid(t, name, panels)
}

// checkGrid: panels do not overlap, and those side by side are equally high.
func checkGrid(t *testing.T, name string, panels []schemaPanel) {
	t.Helper()
	var taken [200][gridWidth]bool
	heights := map[int]int{}
	for _, panel := range panels {
		at := panel.GridPos
		if heights[at.Y] == 0 {
			heights[at.Y] = at.H
		}
		if heights[at.Y] != at.H || at.W < 3 || at.H < 1 {
			t.Errorf("%s: panel %q: panels side by side must be equally high, and wide enough to read: %+v", name, panel.Title,
				at)
		}
		for y := at.Y; y < at.Y+at.H; y++ {
			for x := at.X; x < at.X+at.W; x++ {
				if x >= gridWidth || taken[y][x] {
					t.Fatalf("%s: panel %q lies over another one or beyond the grid: %+v", name, panel.Title, at)
				}
				taken[y][x] = true
			}
		}
	}
}

func checkTargets(t *testing.T, where string, panel schemaPanel) {
	t.Helper()
	checkSource(t, where, panel.Datasource)
	// Columns of a table and the axis of a heat map have units of their own.
	if panel.Type != "table" && panel.Type != "heatmap" && panel.FieldConfig.Defaults.Unit == "" {
		t.Errorf("%s has no unit", where)
	}
	if len(panel.Targets) == 0 {
		t.Errorf("%s asks nothing", where)
	}
	refIDs := map[string]bool{}
	for _, target := range panel.Targets {
		checkSource(t, where, target.Datasource)
		if refIDs[target.RefID] || target.RefID == "" {
			t.Errorf("%s: refId %q is used twice or empty", where, target.RefID)
		}
		refIDs[target.RefID] = true
		checkRanges(t, where, target.Expr)
	}
}

var rangeSelector = regexp.MustCompile(`\}\[([^\]]+)\]`)

// checkRanges: a fixed range shows gaps or stale numbers, depending on the scrape interval and on
// what is shown.
func checkRanges(t *testing.T, where, expr string) {
	t.Helper()
	for _, window := range rangeSelector.FindAllStringSubmatch(expr, -1) {
		if window[1] != "$__rate_interval" && window[1] != "$__range" {
			t.Errorf("%s: the range [%s] does not follow what Grafana shows: want $__rate_interval or $__range", where,
				window[1])
		}
	}
}

func checkSource(t *testing.T, where string, source *schemaSource) {
	t.Helper()
	if source == nil || *source != (schemaSource{"prometheus", "${datasource}"}) {
		t.Errorf("%s: the data source is %v, want the variable", where, source)
	}
}
