// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired/framework"
)

// frameworkValues are the values of the placeholders of each framework's names.
var frameworkValues = func() map[obsv1.Framework]map[string]string {
	all := map[obsv1.Framework]map[string]string{}
	for name, f := range framework.Table {
		all[name] = quotedAll(f.Variables())
	}
	return all
}()

// data is what one dashboard of a stack shows.
type data struct {
	stack Stack
	// monitors are the values of the placeholders of each monitor's queries.
	monitors []monitorValues
}

// monitorValues are a monitor's own and those of its framework.
type monitorValues struct{ own, framework map[string]string }

// render makes a dashboard of a stack, about some of its monitors: one panel a line. Panels with
// nothing to show in this stack are left out.
func (t *template) render(stack Stack, name string, monitors []Monitor) Dashboard {
	d := data{stack: stack}
	for i, monitor := range monitors {
		own := quotedAll(map[string]string{
			"monitor":           monitor.Name,
			"monitor in PromQL": inPromQL(monitor.Name),
			"interval":          scrapeInterval(monitors[i : i+1]),
		})
		d.monitors = append(d.monitors, monitorValues{own, frameworkValues[monitor.Framework]})
	}
	head := t.headValues(stack, name, monitors)
	var out strings.Builder
	out.Grow(t.size(len(monitors)))
	t.before.write(&out, head)
	out.WriteString("[\n")
	d.writePanels(&out, t.rows, map[string]string{"interval": quoted(scrapeInterval(monitors))})
	out.WriteString("\n]")
	t.after.write(&out, head)
	out.WriteString("\n")
	return Dashboard{name, out.String()}
}

// inPromQL is a string as it stands between the quotation marks of PromQL.
func inPromQL(s string) string {
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

// size is about the length of a dashboard made from the template, so that it is written into one
// piece of memory.
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

// headValues are what a dashboard says once: whose it is, and the choices that it offers.
func (t *template) headValues(stack Stack, name string, monitors []Monitor) map[string]string {
	var names []string
	for _, monitor := range monitors {
		names = append(names, monitor.Name)
	}
	values := quotedAll(map[string]string{
		"uid": UID(stack.Namespace, stack.Name, name), "namespace": stack.Namespace, "stack": stack.Name,
		"tag":        fmt.Sprintf("stack:%s/%s", stack.Namespace, stack.Name), // by which they find one another
		"datasource": stack.Datasource, "monitors": strings.Join(names, ","), "brokers": strings.Join(stack.Brokers, ","),
	})
	if len(names) > 0 {
		values["monitor"] = quoted(names[0])
	}
	var links strings.Builder
	links.WriteString("[")
	for _, link := range stack.Links {
		// Grafana wants every field.
		fmt.Fprintf(&links, `{"type":"link","title":"%s","url":"%s","icon":"external link","targetBlank":true,`+
			`"asDropdown":false,"includeVars":false,"keepTime":false,"tags":[],"tooltip":""},`,
			quoted(link.Title), quoted(link.URL))
	}
	t.links.write(&links, values)
	values["links"] = links.String()
	return values
}

// gridWidth of Grafana, in columns.
const gridWidth = 24

// writePanels writes the panels that have something to show, separated by commas.
func (d data) writePanels(out *strings.Builder, rows [][]panelTemplate, values map[string]string) {
	y, separator := 0, ""
	for _, row := range rows {
		var shown []panelTemplate
		total, height := 0, 0
		for _, panel := range row {
			if d.shows(panel) {
				shown = append(shown, panel)
				total, height = total+panel.width, max(height, panel.height)
			}
		}
		x, sum := 0, 0
		for _, panel := range shown {
			// The panels of a row share the width of those that are left out.
			sum += panel.width
			end := gridWidth * sum / total
			position := map[string]string{"x": strconv.Itoa(x), "y": strconv.Itoa(y), "w": strconv.Itoa(end - x)}
			out.WriteString(separator)
			panel.before.write(out, position)
			if len(panel.queries) > 0 {
				d.writeQueries(out, panel, values)
			}
			panel.after.write(out, position)
			x, separator = end, ",\n"
		}
		y += height
	}
}

// shows reports whether a panel has something to show in the stack. A text always has.
func (d data) shows(panel panelTemplate) bool {
	return len(panel.queries) == 0 || slices.ContainsFunc(panel.queries, func(q queryTemplate) bool {
		if q.about == aboutMonitor {
			return slices.ContainsFunc(d.monitors, q.knows)
		}
		return d.has(q.about)
	})
}

// has reports whether the stack has what a query is about.
func (d data) has(about topic) bool {
	switch about {
	case aboutTasks:
		return len(d.stack.Brokers) > 0
	case aboutSLOs:
		return d.stack.HasSLOs
	default:
		return true
	}
}

// knows reports whether a monitor's framework has the names that the query asks for.
func (q queryTemplate) knows(monitor monitorValues) bool {
	return q.has(monitor.own, monitor.framework, noRefID)
}

// noRefID stands for the refId where it does not matter which it is.
var noRefID = map[string]string{"refId": ""}

// writeQueries writes the queries of a panel for the stack, as a list.
func (d data) writeQueries(out *strings.Builder, panel panelTemplate, values map[string]string) {
	opening, n := "[", 0
	add := func(q queryTemplate, own, framework map[string]string) {
		out.WriteString(opening)
		q.write(out, own, framework, map[string]string{"refId": refID(n)})
		opening, n = ",", n+1
	}
	for _, query := range panel.queries {
		if query.about != aboutMonitor {
			if d.has(query.about) {
				add(query, values, nil)
			}
			continue
		}
		for _, monitor := range d.monitors {
			if query.knows(monitor) {
				add(query, monitor.own, monitor.framework)
			}
		}
	}
	out.WriteString("]")
}

// refID names the queries of a panel: A to Z, then A1 and on.
func refID(n int) string {
	id := string(rune('A' + n%26))
	if n >= 26 {
		id += strconv.Itoa(n / 26)
	}
	return id
}

// scrapeInterval is the longest of the monitors'. Grafana makes $__rate_interval at least four
// times as long, which rate() needs to survive a missed scrape.
func scrapeInterval(monitors []Monitor) string {
	longest, text := time.Duration(0), ""
	for _, monitor := range monitors {
		interval, err := time.ParseDuration(monitor.Interval)
		if err == nil && interval > longest {
			longest, text = interval, monitor.Interval
		}
	}
	return cmp.Or(text, "30s")
}
