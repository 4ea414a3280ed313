// SPDX-License-Identifier: Apache-2.0

// Package framework is the one table of what obstack knows of HTTP libraries: the names of their
// metrics and labels. It knows nothing of those who ask for them.
package framework

import (
	_ "embed"
	"maps"
	"strings"

	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Framework says how the metrics of an HTTP library are named. docs/reference/frameworks.md lists
// where each name is from.
type Framework struct {
	// Requests is the counter of requests, or the count of a histogram.
	Requests string
	// Errors is the label matcher for responses with a status of 500 and above, whether the status
	// is grouped ("5xx") or exact ("503").
	Errors string
	// Duration is the histogram of response times, in seconds, without _bucket or _count.
	Duration string
	// Buckets are the upper bounds of Duration, in seconds, if the application sets no others.
	Buckets []float64

	// Names are further metrics and labels, by the variable that stands for them in the files of
	// the dashboards: "status" for ${status:raw}.
	Names map[string]string
	// Lacks says why there is no such name, for the panel that would have shown it.
	Lacks map[string]string
	// Notes are lines of Markdown, for the panel that says how far to trust the others.
	Notes []string
}

//go:embed table.yaml
var tableYAML []byte

// Table has every framework that the API knows.
var Table = func() (table map[obsv1.Framework]Framework) {
	if err := yaml.UnmarshalStrict(tableYAML, &table); err != nil {
		panic(err) // Any test of a stack would see it.
	}
	return table
}()

// OfBundle is the framework as the bundle for Python serves its metrics: those of requests alone.
func (f Framework) OfBundle() Framework {
	f.Names, f.Lacks = maps.Clone(f.Names), maps.Clone(f.Lacks)
	for _, name := range []string{"in_progress", "cpu", "memory"} {
		delete(f.Names, name)
		f.Lacks[name] = "obstack's bundle for Python counts requests that are done, and shows nothing of processes. " +
			"CPU and memory of containers are in the cluster's own metrics."
	}
	return f
}

// Variables are all names, by the variable that stands for them.
func (f Framework) Variables() map[string]string {
	all := map[string]string{
		"requests": f.Requests, "errors": f.Errors, "duration": f.Duration, "notes": strings.Join(f.Notes, "\n"),
	}
	maps.Copy(all, f.Names)
	return all
}
