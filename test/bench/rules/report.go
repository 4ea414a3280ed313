// SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"runtime"
	"text/template"
	"time"

	"obstack.dev/obstack/test/bench/machine"
)

//go:embed report.md.tmpl
var reportTemplate string

// report writes the page with the results of one stack and of many.
func report(o options, results []result) (err error) {
	page, err := template.New("report").Funcs(template.FuncMap{
		"whole":  func(n float64) string { return fmt.Sprintf("%.0f", n) },
		"millis": func(seconds float64, stacks int) string { return fmt.Sprintf("%.2f ms", 1e3*seconds/float64(stacks)) },
		"less": func(with, without float64, stacks int) string {
			return fmt.Sprintf("%.3f %%", 100*(with-without)/float64(stacks))
		},
		"share": func(n float64) string { return fmt.Sprintf("%.2f %%", 100*n) },
		"each":  func(n float64, stacks int) string { return fmt.Sprintf("%.0f", n/float64(stacks)) },
		"mebi":  func(n float64) string { return fmt.Sprintf("%.0f MiB", n/(1<<20)) },
		"days":  func(span time.Duration) string { return fmt.Sprintf("%.3g days", span.Hours()/24) },
	}).Parse(reportTemplate)
	if err != nil {
		return err
	}
	f, err := os.Create(o.out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return page.Execute(f, map[string]any{
		"One": results[0], "Many": results[1],
		"Date": time.Now().UTC().Format("2006-01-02 15:04 MST"), "CPUs": runtime.NumCPU(), "Load": machine.LoadAverage(),
		"History": o.history, "Settle": o.settle, "Measure": o.measure,
		"Pods": o.pods, "Handlers": o.handlers, "Tasks": o.tasks,
	})
}
