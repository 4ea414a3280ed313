// SPDX-License-Identifier: Apache-2.0

// Package dashboards renders the Grafana dashboards of a stack from the JSON files beside it. It
// gets plain data and knows no component; it depends on the table of frameworks, not vice versa.
package dashboards

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"maps"
	"slices"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired/framework"
)

// files are ordinary Grafana dashboards: open one in Grafana, change it, and export it to the same
// file.
//
//go:embed overview.json http.json tasks.json
var files embed.FS

// AllStacks is the dashboard of all stacks, for whoever runs obstack. The chart and config/grafana
// have a copy.
//
//go:embed stacks.json
var AllStacks string

// embedded are the templates of the files in the program, by name. Like a regular expression in the
// code, they are read when the program starts; a test reads them as well.
var embedded = func() map[string]*template {
	all, err := load(files)
	if err != nil {
		panic(err)
	}
	return all
}()

// Names of the dashboards that a stack has at most once.
const (
	Overview = "overview"
	Tasks    = "tasks"
)

// http is the file of the dashboards of HTTP services.
const http = "http"

// HTTP is the name of the dashboard of a framework's monitors.
func HTTP(name obsv1.Framework) string { return http + "-" + string(name) }

// Stack is what the dashboards of one stack are about.
type Stack struct {
	Namespace, Name string
	// Cluster is the value of the label of that name on the series; empty if they have none.
	Cluster string
	// Datasource is the uid of the data source that the dashboards open with.
	Datasource string
	Monitors   []obsv1.Monitor
	// Brokers are the names of the stack's brokers.
	Brokers []string
	HasSLOs bool
	// HasPython is whether the monitor with the name obsv1.MonitorPython is what the bundle for
	// Python serves.
	HasPython bool
	Links     []obsv1.DashboardLink
}

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
	var all []Dashboard
	for _, p := range plan(stack) {
		all = append(all, embedded[p.file].render(stack, p.name, p.framework, p.monitors))
	}
	return all
}

// Names of the dashboards that Render makes.
func Names(stack Stack) []string {
	var names []string
	for _, p := range plan(stack) {
		names = append(names, p.name)
	}
	return names
}

// planned is a dashboard before it is rendered.
type planned struct {
	file, name string
	framework  obsv1.Framework
	monitors   []obsv1.Monitor
}

func plan(stack Stack) []planned {
	all := []planned{{file: Overview, name: Overview, monitors: stack.Monitors}}
	monitors := map[obsv1.Framework][]obsv1.Monitor{}
	for _, m := range stack.Monitors {
		monitors[m.Framework] = append(monitors[m.Framework], m)
	}
	for _, name := range slices.Sorted(maps.Keys(monitors)) {
		if _, known := framework.Table[name]; known { // The CRD of a newer obstack may know more.
			all = append(all, planned{http, HTTP(name), name, monitors[name]})
		}
	}
	if len(stack.Brokers) > 0 {
		all = append(all, planned{file: Tasks, name: Tasks})
	}
	return all
}

// UID of a dashboard is stable for a stack and has 32 characters; Grafana allows 40.
func UID(namespace, stack, dashboard string) string {
	sum := sha256.Sum256([]byte(namespace + "/" + stack + "/" + dashboard))
	return "obstack-" + hex.EncodeToString(sum[:12])
}
