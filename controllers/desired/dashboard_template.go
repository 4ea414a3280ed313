// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"embed"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// dashboardFiles are ordinary Grafana dashboards: open one in Grafana, change
// it, and export it to the same file. stacks.json is not a stack's: it shows the
// operator, and the chart and config/grafana have a copy.
//
//go:embed dashboards/overview.json dashboards/http.json dashboards/tasks.json
var dashboardFiles embed.FS

// dashboard is Grafana's classic JSON model; only what is filled in is named.
type dashboard map[string]any

// template is a dashboard file, ready to be filled in for a stack.
type template struct {
	// before and after the panels.
	before, after text
	// links of the file, as the rest of a list.
	links text
	// rows of the grid, from the top.
	rows [][]panelTemplate
}

type panelTemplate struct {
	width, height int
	// before and after the queries.
	before, after text
	// queries of the file, none for a text.
	queries []queryTemplate
}

// queryTemplate is one query of the file and what it is about.
type queryTemplate struct {
	text
	about topic
}

type topic int

const (
	aboutStack   topic = iota
	aboutMonitor       // once for each monitor
	aboutTasks         // left out of stacks without brokers
	aboutSLOs          // left out of stacks without SLOs
)

// The templates, made when the program starts. The one for HTTP differs by the
// framework's names, and by what it does not expose.
var (
	overviewTemplate = readTemplate("overview", nil)
	tasksTemplate    = readTemplate("tasks", nil)
	httpTemplates    = func() map[obsv1.Framework]*template {
		all := map[obsv1.Framework]*template{}
		for name := range frameworks {
			all[name] = readTemplate("http", func(d dashboard) { useFramework(d, name) })
		}
		return all
	}()
)

// readTemplate decodes a file, changes it, and takes it apart. That the files
// exist and decode is a test's business: they are part of the program.
func readTemplate(name string, change func(dashboard)) *template {
	d := dashboard{}
	if content, err := dashboardFiles.ReadFile("dashboards/" + name + ".json"); err == nil {
		_ = json.Unmarshal(content, &d)
	}
	if change != nil {
		change(d)
	}
	t := &template{rows: panelRows(items(d["panels"]), change != nil)}
	title, _ := d["title"].(string)
	d["uid"] = slot("uid")
	// Titles must be unique within a folder of Grafana.
	d["title"] = title + ": " + slot("namespace") + " / " + slot("stack")
	d["tags"] = []any{"obstack", slot("tag")}
	for _, link := range items(d["links"]) {
		if tags, ok := link["tags"].([]any); ok && slices.Contains(tags, any(exampleTag)) {
			link["tags"] = []any{slot("tag")}
		}
	}
	t.links = newText(d["links"])
	t.links.literals[0] = strings.TrimPrefix(t.links.literals[0], "[")
	d["links"] = rawSlot("links")
	slotVariables(d)
	d["panels"] = rawSlot("panels")
	t.before, t.after = newText(d).split("panels")
	return t
}

// size is about the length of a dashboard made from the template, so that it is written into one piece of memory.
func (t *template) size(monitors int) int {
	n := t.before.size() + t.after.size() + 4096
	for _, row := range t.rows {
		for _, panel := range row {
			n += panel.before.size() + panel.after.size() + 32
			for _, query := range panel.queries {
				one := query.size() + 32
				if query.about == aboutMonitor {
					one = (one + 256) * monitors
				}
				n += one
			}
		}
	}
	return n
}

// exampleTag is the tag in the files that stands for the one which all dashboards of a stack share.
const exampleTag = "stack:namespace/name"

// slotVariables makes the values of a stack's variables slots, and removes those
// that stand for a framework's names, which are filled in.
func slotVariables(d dashboard) {
	templating, _ := d["templating"].(map[string]any)
	var kept []any
	for _, variable := range items(templating["list"]) {
		name, _ := variable["name"].(string)
		switch variable["type"] {
		case "query":
		case "custom":
			variable["query"] = slot(name + "s")
			if variable["includeAll"] != true {
				variable["current"] = current(slot(name))
			}
		case "datasource":
			variable["current"] = current(slot(name))
		default:
			if name != "namespace" && name != "stack" {
				continue
			}
			variable["query"], variable["current"] = slot(name), current(slot(name))
		}
		kept = append(kept, map[string]any(variable))
	}
	templating["list"] = kept
}

func current(value string) map[string]any {
	return map[string]any{"selected": true, "text": value, "value": value}
}

// panelRows groups panels that stand side by side. whole tells that the file's
// "$monitor" is a variable of Grafana, not one query for each monitor.
func panelRows(panels []dashboard, whole bool) [][]panelTemplate {
	var rows [][]panelTemplate
	last := -1.0
	for _, panel := range panels {
		position, _ := panel["gridPos"].(map[string]any)
		y, _ := position["y"].(float64)
		if y != last || len(rows) == 0 {
			rows, last = append(rows, nil), y
		}
		rows[len(rows)-1] = append(rows[len(rows)-1], newPanel(panel, position, whole))
	}
	return rows
}

func newPanel(panel dashboard, position map[string]any, whole bool) panelTemplate {
	width, _ := position["w"].(float64)
	height, _ := position["h"].(float64)
	p := panelTemplate{width: int(width), height: int(height)}
	for _, target := range items(panel["targets"]) {
		p.queries = append(p.queries, newQuery(target, whole))
	}
	panel["gridPos"] = map[string]any{"x": rawSlot("x"), "y": rawSlot("y"), "w": rawSlot("w"), "h": position["h"]}
	if len(p.queries) > 0 {
		panel["targets"] = rawSlot("targets")
	}
	p.before, p.after = newText(panel).split("targets")
	return p
}

// placeholder is what stands for a framework's name in the files, as Grafana writes variables.
var placeholder = regexp.MustCompile(`\$\{([a-z_]+):raw\}`)

func newQuery(target dashboard, whole bool) queryTemplate {
	expr, _ := target["expr"].(string)
	q := queryTemplate{about: aboutStack}
	target["refId"] = slot("refId")
	switch {
	case strings.Contains(expr, "$monitor"):
		if _, ok := target["interval"]; ok {
			target["interval"] = slot("interval")
		}
		if whole {
			break
		}
		q.about = aboutMonitor
		for _, field := range []string{"expr", "legendFormat"} {
			value, _ := target[field].(string)
			value = placeholder.ReplaceAllString(value, slot("$1"))
			target[field] = strings.ReplaceAll(value, "$monitor", slot("monitor"))
		}
	case strings.Contains(expr, "celery_"):
		q.about = aboutTasks
	case strings.Contains(expr, "obstack:slo_"):
		q.about = aboutSLOs
	}
	q.text = newText(target)
	return q
}

// useFramework fills a framework's names in.
func useFramework(d dashboard, name obsv1.Framework) {
	d["title"] = "HTTP (" + string(name) + ")"
	panels, _ := d["panels"].([]any)
	for i, panel := range items(d["panels"]) {
		panels[i] = forFramework(panel, name)
	}
}

// forFramework is a panel with the names of a framework. One that asks for a
// signal which the framework lacks says so instead of staying empty.
func forFramework(panel dashboard, name obsv1.Framework) map[string]any {
	values, lacks := placeholders[name], frameworkSignals[name].lacks
	encoded := encode(panel)
	for _, match := range placeholder.FindAllStringSubmatch(encoded, -1) {
		if why, ok := lacks[match[1]]; ok {
			return saying(panel, why)
		}
		encoded = strings.ReplaceAll(encoded, match[0], quoted(values[match[1]]))
	}
	filled := map[string]any{}
	_ = json.Unmarshal([]byte(encoded), &filled)
	return filled
}

// saying is a panel of text in the place of another.
func saying(panel dashboard, why string) map[string]any {
	return map[string]any{
		"id": panel["id"], "title": panel["title"], "description": panel["description"], "gridPos": panel["gridPos"],
		"type": "text", "fieldConfig": map[string]any{"defaults": map[string]any{}, "overrides": []any{}},
		"options": map[string]any{"mode": "markdown", "content": why},
	}
}

// items are the objects of a JSON list.
func items(list any) []dashboard {
	elements, _ := list.([]any)
	out := make([]dashboard, 0, len(elements))
	for _, element := range elements {
		if object, ok := element.(map[string]any); ok {
			out = append(out, object)
		}
	}
	return out
}
