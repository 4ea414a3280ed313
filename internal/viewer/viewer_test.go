// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired/dashboards"
	"obstack.dev/obstack/controllers/proof/promclient"
)

// stackDashboards are those of a stack with everything.
func stackDashboards(t testing.TB) []*Dashboard {
	t.Helper()
	stack := dashboards.Stack{
		Namespace: "shop", Name: "shop", Cluster: "eu-1", Datasource: "prometheus", Brokers: []string{"main", "other"},
		HasSLOs: true, HasPython: true, Links: []obsv1.DashboardLink{{Title: "Wiki", URL: "https://wiki.example.com/shop"}},
	}
	for _, f := range []obsv1.Framework{
		obsv1.FrameworkFastAPI, obsv1.FrameworkStarlette, obsv1.FrameworkDjango, obsv1.FrameworkFlask,
		obsv1.FrameworkOpenTelemetry,
	} {
		stack.Monitors = append(stack.Monitors, obsv1.Monitor{Name: "api-" + string(f), Framework: f})
	}
	var all []*Dashboard
	for _, d := range dashboards.Render(stack) {
		all = append(all, parse(t, []byte(d.JSON)))
	}
	return all
}

func parse(t testing.TB, content []byte) *Dashboard {
	t.Helper()
	d, err := Parse(content)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newViewer(t testing.TB, f *fake, all ...*Dashboard) *Viewer {
	t.Helper()
	v, err := New(all, f.client(t))
	if err != nil {
		t.Fatal(err)
	}
	v.now, v.location = func() time.Time { return noon }, time.UTC
	return v
}

func get(t testing.TB, handler http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
	return recorder
}

// undrawn are the things in a dashboard that the viewer does not draw.
func undrawn(d *Dashboard) (found []string) {
	for _, v := range d.Templating.List {
		if text := v.undrawn(); text != "" {
			found = append(found, fmt.Sprintf("variable %s: %s", v.Name, text))
		}
	}
	for i := range d.Annotations.List {
		if text := d.Annotations.List[i].undrawn(); text != "" {
			found = append(found, text)
		}
	}
	for i := range d.Panels {
		for _, text := range d.Panels[i].undrawn() {
			found = append(found, fmt.Sprintf("panel %q: %s", d.Panels[i].Title, text))
		}
	}
	return found
}

// TestTemplatesAreDrawn: whoever changes a dashboard in Grafana learns here what the viewer would
// not show of it.
func TestTemplatesAreDrawn(t *testing.T) {
	templates, err := filepath.Glob("../../controllers/desired/dashboards/*.json")
	if err != nil || len(templates) != 4 {
		t.Fatalf("templates %v, error %v", templates, err)
	}
	all := stackDashboards(t)
	for _, path := range templates {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, parse(t, content))
		if field := unknownField(content, &Dashboard{}); field != "" {
			t.Errorf("%s: the viewer does not know field %q", path, field)
		}
	}
	for _, d := range all {
		for _, text := range undrawn(d) {
			t.Errorf("dashboard %s: the viewer does not draw %s", d.Title, text)
		}
	}
}

// TestUndrawnIsSaid: each of these is in a panel that says so.
func TestUndrawnIsSaid(t *testing.T) {
	const panel = `{"title":"P","type":"stat","gridPos":{"x":0,"y":0,"w":4,"h":4}}`
	for with, want := range map[string]string{
		`"type":"piechart"`:                                            `type &#34;piechart&#34;`,
		`"type":"stat","transparent":true`:                             `field &#34;transparent&#34;`,
		`"type":"stat","fieldConfig":{"defaults":{"mappings":[]}}`:     `field &#34;mappings&#34;`,
		`"type":"stat","fieldConfig":{"defaults":{"unit":"celsius"}}`:  `unit &#34;celsius&#34;`,
		`"type":"stat","transformations":[{"id":"sortBy"}]`:            `transformation &#34;sortBy&#34;`,
		`"type":"stat","options":{"reduceOptions":{"calcs":["mean"]}}`: `calculation &#34;mean&#34;`,
		`"type":"text","options":{"mode":"html","content":"<b>"}`:      `text in &#34;html&#34;`,
		`"type":"heatmap","options":{"calculate":true}`:                `heat map that is calculated`,
		`"type":"stat","fieldConfig":{"overrides":[{"matcher":{"id":"byName","options":"x"},
			"properties":[{"id":"unit","value":{}},{"id":"max","value":1}]}]}`: `override of &#34;max&#34;`,
		`"type":"stat","fieldConfig":{"defaults":{"thresholds":{"steps":[{"color":"#fff"}]}}}`: `colour &#34;#fff&#34;`,
	} {
		d := parse(t, []byte(`{"uid":"u","title":"T","panels":[`+strings.Replace(panel, `"type":"stat"`, with, 1)+`]}`))
		if len(undrawn(d)) == 0 {
			t.Errorf("%s: all is said to be drawn", with)
		}
		if body := get(t, newViewer(t, newFake(t), d), "/d/u").Body.String(); !strings.Contains(body, want) {
			t.Errorf("%s: the page lacks %s:\n%s", with, want, body)
		}
	}
}

var (
	panelStart = regexp.MustCompile(`<section id="panel-`)
	noteText   = regexp.MustCompile(`<p class="note">[^<]*</p>`)
)

// TestEveryPanelIsDrawn on the pages of a stack, with what a Prometheus says, and without notes.
func TestEveryPanelIsDrawn(t *testing.T) {
	f, all := newFake(t), stackDashboards(t)
	v := newViewer(t, f, all...)
	for _, d := range all {
		response := get(t, v, d.path())
		body := response.Body.String()
		panels := len(panelStart.FindAllString(body, -1))
		drawn := strings.Count(body, "<svg") + strings.Count(body, "<table") + strings.Count(body, `"scroll text"`)
		if response.Code != http.StatusOK || panels != len(d.Panels) || drawn != len(d.Panels) {
			t.Errorf("%s: status %d, %d panels, %d drawn, want %d", d.Title, response.Code, panels, drawn, len(d.Panels))
		}
		for _, note := range noteText.FindAllString(body, -1) {
			if !strings.Contains(note, "more values are not drawn") { // The fake has more than a stack.
				t.Errorf("%s: %s", d.Title, note)
			}
		}
		for _, other := range all {
			if !strings.Contains(body, `href="`+other.path()+"?from=now-") {
				t.Errorf("%s does not lead to %s", d.Title, other.Title)
			}
		}
	}
}

func TestPaths(t *testing.T) {
	d := stackDashboards(t)[0]
	v := newViewer(t, newFake(t), d)
	for path, want := range map[string]int{
		"/": 302, d.path(): 200, "/page.js": 200, "/page.css": 200, "/d/other": 404, "/x": 404,
	} {
		response := get(t, v, path)
		if response.Code != want || response.Header().Get("Content-Security-Policy") != policy {
			t.Errorf("%s: status %d, policy %s", path, response.Code, response.Header().Get("Content-Security-Policy"))
		}
	}
	if _, err := New(nil, promclient.Client{}); err == nil {
		t.Error("nothing is served")
	}
}

// TestViewersAskOnce: ten viewers of the same refresh cost Prometheus what one does, and the next
// refresh asks again.
func TestViewersAskOnce(t *testing.T) {
	f, all := newFake(t), stackDashboards(t)
	v := newViewer(t, f, all...)
	look := func() {
		var viewing sync.WaitGroup
		for range 10 {
			viewing.Go(func() { get(t, v, all[0].path()+"?refresh=30s&width=400") })
		}
		viewing.Wait()
	}
	look()
	first, most := f.questions()
	if first == 0 || most != 1 {
		t.Errorf("%d questions, and one was sent %d times, want once each", first, most)
	}
	v.now = func() time.Time { return noon.Add(29 * time.Second) }
	look()
	if again, _ := f.questions(); again != first {
		t.Errorf("%d questions within the refresh, want %d", again, first)
	}
	v.now = func() time.Time { return noon.Add(31 * time.Second) }
	look()
	if next, most := f.questions(); next <= first || most != 1 {
		t.Errorf("%d questions after the next refresh, the most often sent %d times; want more than %d, once each",
			next, most, first)
	}
}

// TestFailuresAreShown in the panels, and are not kept.
func TestFailuresAreShown(t *testing.T) {
	f, all := newFake(t), stackDashboards(t)
	v := newViewer(t, f, all[0])
	f.respond = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	if body := get(t, v, all[0].path()).Body.String(); !strings.Contains(body, "Prometheus: it responds with an error") {
		t.Errorf("the page does not say what is wrong:\n%s", body)
	}
	f.respond = nil
	if body := get(t, v, all[0].path()).Body.String(); strings.Contains(body, "Prometheus: ") {
		t.Error("the failure is kept")
	}
}

// TestScriptIsShort: the page is the server's.
func TestScriptIsShort(t *testing.T) {
	content, err := os.ReadFile("page/page.js")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(content), "\n"); got > 300 {
		t.Errorf("the script has %d lines, want at most 300", got)
	}
}

// TestReadingsAreValues that a crosshair shows.
func TestReadingsAreValues(t *testing.T) {
	d := parse(t, []byte(`{"uid":"u","title":"T","panels":[{"title":"P","type":"timeseries","gridPos":{"w":24,"h":8},
		"fieldConfig":{"defaults":{"unit":"percentunit"}},
		"targets":[{"expr":"a / b","interval":"1m","legendFormat":"all"}]}]}`))
	body := get(t, newViewer(t, newFake(t), d), "/d/u?from=now-1h").Body.String()
	found := regexp.MustCompile(`data-readings="([^"]*)"`).FindStringSubmatch(body)
	if found == nil {
		t.Fatalf("no readings:\n%s", body)
	}
	var r readings
	if err := json.Unmarshal([]byte(strings.ReplaceAll(found[1], "&#34;", `"`)), &r); err != nil {
		t.Fatal(err)
	}
	if r.Count != 61 || r.Step != 60 || len(r.Series) != 1 || len(r.Series[0].Values) != 61 || r.Series[0].Name != "all" ||
		!strings.HasSuffix(r.Series[0].Values[60], " %") || r.From != float64(noon.Add(-time.Hour).Unix()) {
		t.Errorf("readings = %+v", r)
	}
}
