// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// The values of the frameworks' slots, as they stand in JSON.
var quotedPlaceholders = func() map[obsv1.Framework]map[string]string {
	all := map[obsv1.Framework]map[string]string{}
	for name, values := range placeholders {
		all[name] = quotedAll(values)
	}
	return all
}()

// filling is what one stack's dashboard is filled in with.
type filling struct {
	stack *obsv1.ObservabilityStack
	// monitors are the values of the slots of each monitor's queries.
	monitors []monitorValues
}

// monitorValues are a monitor's own and those of its framework.
type monitorValues struct{ own, framework map[string]string }

// fill makes the JSON of a dashboard for a stack: one panel a line. Panels with
// nothing to show in this stack are left out.
func (b board) fill(stack *obsv1.ObservabilityStack) string {
	f := filling{stack: stack}
	for i := range b.monitors {
		monitor := &b.monitors[i]
		f.monitors = append(f.monitors, monitorValues{
			quotedAll(map[string]string{"monitor": monitor.Name, "interval": scrapeInterval(b.monitors[i : i+1])}),
			quotedPlaceholders[frameworkName(monitor)],
		})
	}
	head := b.headValues(stack)
	var out strings.Builder
	out.Grow(b.template.size(len(b.monitors)))
	b.template.before.write(&out, head)
	out.WriteString("[\n")
	f.writePanels(&out, b.template.rows, map[string]string{"interval": quoted(scrapeInterval(b.monitors))})
	out.WriteString("\n]")
	b.template.after.write(&out, head)
	out.WriteString("\n")
	return out.String()
}

// headValues are what a dashboard says once: whose it is, and the choices that it offers.
func (b board) headValues(stack *obsv1.ObservabilityStack) map[string]string {
	values := quotedAll(map[string]string{
		"uid": dashboardUID(stack, b.name), "namespace": stack.Namespace, "stack": stack.Name,
		"tag": stackTag(stack), "datasource": stack.Spec.Dashboards.Datasource,
	})
	var monitors, brokers []string
	for i := range b.monitors {
		monitors = append(monitors, b.monitors[i].Name)
	}
	if stack.Spec.Tasks != nil {
		for i := range stack.Spec.Tasks.Brokers {
			brokers = append(brokers, stack.Spec.Tasks.Brokers[i].Name)
		}
	}
	values["monitors"], values["brokers"] = quoted(strings.Join(monitors, ",")), quoted(strings.Join(brokers, ","))
	if len(monitors) > 0 {
		values["monitor"] = quoted(monitors[0])
	}
	var links strings.Builder
	links.WriteString("[")
	for _, link := range stack.Spec.Dashboards.Links {
		// Grafana wants every field.
		links.WriteString(encode(map[string]any{
			"type": "link", "title": link.Title, "url": link.URL, "icon": "external link", "targetBlank": true,
			"asDropdown": false, "includeVars": false, "keepTime": false, "tags": []any{}, "tooltip": "",
		}) + ",")
	}
	b.template.links.write(&links, values)
	values["links"] = links.String()
	return values
}

// stackTag is the tag by which the dashboards of a stack find one another.
func stackTag(stack *obsv1.ObservabilityStack) string {
	return fmt.Sprintf("stack:%s/%s", stack.Namespace, stack.Name)
}

// gridWidth of Grafana, in columns.
const gridWidth = 24

// writePanels writes the panels that have something to show, separated by commas.
func (f filling) writePanels(out *strings.Builder, rows [][]panelTemplate, values map[string]string) {
	y, separator := 0, ""
	for _, row := range rows {
		var shown []panelTemplate
		total, height := 0, 0
		for _, panel := range row {
			if f.shows(panel) {
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
				f.writeQueries(out, panel, values)
			}
			panel.after.write(out, position)
			x, separator = end, ",\n"
		}
		y += height
	}
}

// shows tells whether a panel has something to show in the stack. A text always has.
func (f filling) shows(panel panelTemplate) bool {
	return len(panel.queries) == 0 || slices.ContainsFunc(panel.queries, func(q queryTemplate) bool {
		if q.about == aboutMonitor {
			return slices.ContainsFunc(f.monitors, q.knows)
		}
		return f.has(q.about)
	})
}

// has tells whether the stack has what a query is about.
func (f filling) has(about topic) bool {
	switch about {
	case aboutTasks:
		return f.stack.Spec.Tasks != nil
	case aboutSLOs:
		return len(f.stack.Spec.SLOs) > 0
	default:
		return true
	}
}

// knows tells whether a monitor's framework has the signals that the query asks for.
func (q queryTemplate) knows(monitor monitorValues) bool {
	return q.has(monitor.own, monitor.framework, noRefID)
}

// noRefID stands for the refId where it does not matter which it is.
var noRefID = map[string]string{"refId": ""}

// writeQueries writes the queries of a panel for the stack, as a list.
func (f filling) writeQueries(out *strings.Builder, panel panelTemplate, values map[string]string) {
	opening, n := "[", 0
	add := func(q queryTemplate, own, framework map[string]string) {
		out.WriteString(opening)
		q.write(out, own, framework, map[string]string{"refId": refID(n)})
		opening, n = ",", n+1
	}
	for _, query := range panel.queries {
		if query.about != aboutMonitor {
			if f.has(query.about) {
				add(query, values, nil)
			}
			continue
		}
		for _, monitor := range f.monitors {
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

// scrapeInterval is the longest of the monitors'. Grafana makes $__rate_interval
// at least four times as long, which rate() needs to survive a missed scrape.
func scrapeInterval(monitors []obsv1.Monitor) string {
	longest, text := time.Duration(0), ""
	for i := range monitors {
		interval, err := time.ParseDuration(string(monitors[i].Interval))
		if err == nil && interval > longest {
			longest, text = interval, string(monitors[i].Interval)
		}
	}
	return cmp.Or(text, "30s")
}
