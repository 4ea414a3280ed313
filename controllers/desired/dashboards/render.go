// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired/framework"
)

// values of placeholders, in JSON.
type values map[string]string

// fill puts the values into a text; a placeholder without one becomes nothing.
func (v values) fill(out *strings.Builder, text string) {
	for more := true; more; {
		var literal, name string
		literal, text, more = strings.Cut(text, markOpens)
		out.WriteString(literal)
		name, text, _ = strings.Cut(text, markCloses)
		out.WriteString(v[name])
	}
}

// add quotes strings.
func (v values) add(plain map[string]string) {
	for name, value := range plain {
		v[name] = quoted(value)
	}
}

// quoted is a string as it stands between the quotation marks of JSON. A string always encodes.
func quoted(s string) string {
	encoded, _ := encode(s)
	return encoded[1 : len(encoded)-1]
}

// inPromQL is a string as it stands between the quotation marks of PromQL.
func inPromQL(s string) string {
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

// render makes a dashboard of a stack, about some of its monitors, and about one framework if it
// has a name: one panel a line. Panels with nothing to show in this stack are left out.
func (t *template) render(stack Stack, name string, of obsv1.Framework, monitors []obsv1.Monitor) Dashboard {
	all, cluster := headValues(stack, name, of, monitors), clusterValues(stack.Cluster)
	maps.Copy(all, cluster)
	each := make([]values, len(monitors))
	for i, monitor := range monitors {
		each[i] = maps.Clone(cluster)
		each[i].add(stack.frameworkOf(monitor).Variables())
		each[i].add(map[string]string{
			"monitor": monitor.Name, "monitor in PromQL": inPromQL(monitor.Name),
			"interval": scrapeInterval(monitors[i : i+1]),
		})
	}
	var out, panels strings.Builder
	panels.Grow(t.size)
	f := framework.Table[of]
	if of != "" && len(monitors) == 1 {
		f = stack.frameworkOf(monitors[0])
	}
	y := 0
	for _, row := range t.rows {
		y += writeRow(&panels, row, y, f, all, each)
	}
	all["panels"] = panels.String()
	out.Grow(len(t.head) + panels.Len() + 1024)
	all.fill(&out, t.head)
	out.WriteString("\n")
	return Dashboard{name, out.String()}
}

// frameworkOf a monitor of the stack.
func (s Stack) frameworkOf(monitor obsv1.Monitor) framework.Framework {
	if s.HasPython && monitor.Name == obsv1.MonitorPython {
		return framework.Table[monitor.Framework].OfBundle()
	}
	return framework.Table[monitor.Framework]
}

// headValues are what a dashboard says once: whose it is, and the choices that it offers.
func headValues(stack Stack, name string, of obsv1.Framework, monitors []obsv1.Monitor) values {
	var names []string
	for _, monitor := range monitors {
		names = append(names, monitor.Name)
	}
	all := values{}
	all.add(framework.Table[of].Variables())
	all.add(map[string]string{
		"uid": UID(stack.Namespace, stack.Name, name), "namespace": stack.Namespace, "stack": stack.Name,
		"tag":       fmt.Sprintf("stack:%s/%s", stack.Namespace, stack.Name), // by which they find one another
		"framework": string(of), "datasource": stack.Datasource,
		"monitors": strings.Join(names, ","), "interval": scrapeInterval(monitors),
	})
	if len(names) > 0 {
		all["monitor"] = quoted(names[0])
	}
	if len(stack.Brokers) > 0 {
		all["brokers"] = quoted(strings.Join(stack.Brokers, ","))
	}
	if stack.HasSLOs {
		all["slos"] = ""
	}
	if stack.HasPython {
		all["python"] = ""
	}
	for _, link := range stack.Links {
		// Grafana wants every field.
		all["links"] += fmt.Sprintf(`{"type":"link","title":"%s","url":"%s","icon":"external link","targetBlank":true,`+
			`"asDropdown":false,"includeVars":false,"keepTime":false,"tags":[],"tooltip":""},`,
			quoted(link.Title), quoted(link.URL))
	}
	return all
}

// clusterValues are a constant of the dashboard and a matcher of every query. Without a cluster
// both are nothing.
func clusterValues(cluster string) values {
	if cluster == "" {
		return values{}
	}
	return values{
		"cluster matcher": `,cluster=\"$cluster\"`,
		"cluster variable": fmt.Sprintf(`{"name":"cluster","type":"constant","label":"Cluster","hide":2,"query":"%[1]s",`+
			`"current":{"selected":true,"text":"%[1]s","value":"%[1]s"},"skipUrlSync":true},`, quoted(cluster)),
	}
}

// gridWidth of Grafana, in columns.
const gridWidth = 24

// writeRow writes the panels of a row that have something to show, and returns the height. They
// share the width of those that are left out.
func writeRow(out *strings.Builder, row []panel, y int, f framework.Framework, all values, each []values) (height int) {
	var shown []panel
	var targets []string
	total := 0
	for _, p := range row {
		list := p.targets(all, each)
		if reason, lacks := why(f, p.names); lacks {
			p.text = strings.Replace(p.lacking, placeholder("why"), quoted(reason), 1)
		} else if list == "" && len(p.queries) > 0 {
			continue
		}
		shown, targets = append(shown, p), append(targets, list)
		total, height = total+p.width, max(height, p.height)
	}
	x, sum := 0, 0
	for i, p := range shown {
		sum += p.width
		end := gridWidth * sum / total
		all["x"], all["y"], all["w"] = strconv.Itoa(x), strconv.Itoa(y), strconv.Itoa(end-x)
		all["targets"] = targets[i]
		if out.Len() > 0 {
			out.WriteString(",\n")
		}
		all.fill(out, p.text)
		x = end
	}
	return height
}

// why says what a framework lacks of some names, if it lacks one.
func why(f framework.Framework, names []string) (reason string, lacks bool) {
	for _, name := range names {
		if reason, lacks = f.Lacks[name]; lacks {
			return reason, true
		}
	}
	return "", false
}

// targets are the queries of a panel that have something to ask for in the stack, as a list; none
// is empty.
func (p panel) targets(all values, each []values) string {
	var out strings.Builder
	n := 0
	for _, q := range p.queries {
		of := []values{all}
		if q.each {
			of = each
		}
		for _, v := range of {
			if slices.ContainsFunc(q.needs, func(name string) bool { _, has := v[name]; return !has }) {
				continue
			}
			out.WriteString(",")
			v["refId"] = refID(n)
			v.fill(&out, q.text)
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return "[" + out.String()[1:] + "]"
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
func scrapeInterval(monitors []obsv1.Monitor) string {
	var longest time.Duration
	text := obsv1.Duration("30s")
	for _, monitor := range monitors {
		interval, err := time.ParseDuration(string(monitor.Interval))
		if err == nil && interval > longest {
			longest, text = interval, monitor.Interval
		}
	}
	return string(text)
}
