// SPDX-License-Identifier: Apache-2.0

// Package dashboards renders the Grafana dashboards of a stack from the JSON files beside it. It
// gets plain data and knows no component; it depends on the table of frameworks, not vice versa.
package dashboards

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"slices"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired/framework"
)

// files are ordinary Grafana dashboards: open one in Grafana, change it, and export it to the same
// file. stacks.json is not a stack's: it shows the operator, and the chart and config/grafana have
// a copy.
//
//go:embed overview.json http.json tasks.json
var files embed.FS

// embedded are the templates of the files in the program. Like a regular expression in the code,
// they are read when the program starts; a test reads them as well.
var embedded = must(load(files, framework.Table))

func must(t *templates, err error) *templates {
	if err != nil {
		panic(err)
	}
	return t
}

// Names of the dashboards that a stack has at most once.
const (
	Overview = "overview"
	Tasks    = "tasks"
)

// HTTP is the name of the dashboard of a framework's monitors.
func HTTP(name obsv1.Framework) string { return "http-" + string(name) }

// Stack is what the dashboards of one stack are about.
type Stack struct {
	Namespace, Name string
	// Datasource is the uid of the data source that the dashboards open with.
	Datasource string
	Monitors   []Monitor
	// Brokers are the names of the stack's brokers.
	Brokers []string
	HasSLOs bool
	Links   []Link
}

// Monitor is an HTTP service of the stack.
type Monitor struct {
	Name      string
	Framework obsv1.Framework
	// Interval between two scrapes, such as 30s.
	Interval string
}

// Link is shown at the top of every dashboard.
type Link struct{ Title, URL string }

// Dashboard is one dashboard of a stack.
type Dashboard struct {
	// Name distinguishes the dashboards of a stack.
	Name string
	// JSON is Grafana's classic schema, one panel a line.
	JSON string
}

// Render makes the dashboards of a stack: the overview, one for each framework of its HTTP
// services, whose metrics have other names, and one for tasks.
func Render(stack Stack) []Dashboard {
	all := []Dashboard{embedded.overview.render(stack, Overview, stack.Monitors)}
	for _, name := range frameworksOf(stack) {
		if t, ok := embedded.http[name]; ok {
			of := slices.DeleteFunc(slices.Clone(stack.Monitors), func(m Monitor) bool { return m.Framework != name })
			all = append(all, t.render(stack, HTTP(name), of))
		}
	}
	if len(stack.Brokers) > 0 {
		all = append(all, embedded.tasks.render(stack, Tasks, nil))
	}
	return all
}

// frameworksOf a stack's monitors, each once, in the order of their names.
func frameworksOf(stack Stack) []obsv1.Framework {
	var names []obsv1.Framework
	for _, monitor := range stack.Monitors {
		names = append(names, monitor.Framework)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// UID of a dashboard is stable for a stack and has 32 characters; Grafana allows 40.
func UID(namespace, stack, dashboard string) string {
	sum := sha256.Sum256([]byte(namespace + "/" + stack + "/" + dashboard))
	return "obstack-" + hex.EncodeToString(sum[:12])
}
