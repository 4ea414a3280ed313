// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"maps"
	"strings"
	"testing"
	"testing/fstest"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired/framework"
)

// minimal is a dashboard file with one panel and what the templates need.
const minimal = `{"title": "Shop", "links": [], "templating": {"list": [{"name": "namespace", "type": "constant"}]},
	"panels": [{"title": "Traffic", "gridPos": {"x": 0, "y": 0, "w": 24, "h": 8}, "targets": [{"expr": "up{}"}]}]}`

func TestLoadReturnsEveryError(t *testing.T) {
	for name, tc := range map[string]struct{ old, with, want string }{
		"not JSON":            {`{"title"`, `{title`, "decode dashboard http"},
		"no title":            {`"title": "Shop"`, `"name": "Shop"`, "field title is <nil>, want string"},
		"no links":            {`"links": []`, `"links": {}`, "field links is map[string]interface {}"},
		"no variables":        {`"templating"`, `"variables"`, "field templating is <nil>"},
		"variables no list":   {`{"list"`, `{"lists"`, "field list is <nil>"},
		"variable no name":    {`{"name": "namespace"`, `{"title": "namespace"`, "field name is <nil>"},
		"no panels":           {`"panels"`, `"rows"`, "field panels is <nil>"},
		"panel no object":     {`"panels": [`, `"panels": ["x", `, "field panels[0] is string, want an object"},
		"no position":         {`"gridPos"`, `"position"`, "panel Traffic: field gridPos is <nil>"},
		"no row":              {`"y": 0`, `"y": "0"`, "panel Traffic: field y is string, want float64"},
		"no width":            {`"w": 24`, `"w": null`, "panel Traffic: field w is <nil>"},
		"no height":           {`"h": 8`, `"height": 8`, "panel Traffic: field h is <nil>"},
		"queries no list":     {`"targets": [{"expr": "up{}"}]`, `"targets": 1`, "panel Traffic: field targets is float64"},
		"query no expression": {`{"expr": "up{}"}`, `{"query": "up{}"}`, "panel Traffic: field expr is <nil>"},
		"unknown variable":    {`up{}`, `rate(${latency:raw}{})`, "neither has nor lacks ${latency:raw}"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(minimal, tc.old) {
				t.Fatalf("the minimal dashboard has no %s", tc.old)
			}
			broken := strings.Replace(minimal, tc.old, tc.with, 1)
			for _, file := range []string{"overview", "http", "tasks"} {
				content := minimalFiles(t)
				if name == "no title" && file == "http" {
					continue // Its title is the framework's.
				}
				content[file+".json"].Data = []byte(broken)
				want := strings.ReplaceAll(tc.want, "dashboard http", "dashboard "+file)
				wantLoadError(t, content, want)
				delete(content, file+".json")
				wantLoadError(t, content, "read dashboard "+file)
			}
		})
	}
}

// minimalFiles are the minimal dashboard under every name.
func minimalFiles(t *testing.T) fstest.MapFS {
	t.Helper()
	content := fstest.MapFS{}
	for _, name := range []string{"overview", "http", "tasks"} {
		content[name+".json"] = &fstest.MapFile{Data: []byte(minimal)}
	}
	if _, err := load(content); err != nil {
		t.Fatalf("the minimal dashboard is refused: %v", err)
	}
	return content
}

func wantLoadError(t *testing.T, content fstest.MapFS, want string) {
	t.Helper()
	if _, err := load(content); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error = %v, want %q", err, want)
	}
}

func TestEncodeReturnsItsError(t *testing.T) {
	if _, err := encode(map[string]any{"expr": func() {}}); err == nil || !strings.Contains(err.Error(), "encode JSON") {
		t.Errorf("error = %v, want one about JSON", err)
	}
	r := &reader{}
	if r.text(func() {}); r.err == nil {
		t.Error("a reader hides the error")
	}
}

// TestRenderSkipsUnknownFrameworks: the CRD of a newer obstack may know more of them.
func TestRenderSkipsUnknownFrameworks(t *testing.T) {
	rendered := Render(Stack{Name: "shop", Monitors: []obsv1.Monitor{
		{Name: "api", Framework: "rails"}, {Name: "web", Framework: obsv1.FrameworkFlask},
	}})
	var names []string
	for _, dashboard := range rendered {
		names = append(names, dashboard.Name)
	}
	if got := strings.Join(names, " "); got != "overview http-flask" {
		t.Errorf("dashboards = %s, want the overview and that of flask", got)
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

// TestFrameworksNameEveryVariable: each has a name for what another has, or says why not.
func TestFrameworksNameEveryVariable(t *testing.T) {
	all := map[string]string{}
	for _, f := range framework.Table {
		maps.Copy(all, f.Variables())
	}
	// The label by which exceptions are grouped matters only where they are counted.
	delete(all, "exception")
	for name, f := range framework.Table {
		for variable := range all {
			_, has := f.Variables()[variable]
			if _, lacks := f.Lacks[variable]; has == lacks {
				t.Errorf("%s: has %s: %t, lacks it: %t, want one of both", name, variable, has, lacks)
			}
		}
	}
}
