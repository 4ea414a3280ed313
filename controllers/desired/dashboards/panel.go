// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"fmt"
	"strings"
)

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

// panelRows groups panels that stand side by side.
func panelRows(d object, choosesMonitor bool) ([][]panelTemplate, error) {
	panels, err := objects(d, "panels")
	if err != nil {
		return nil, err
	}
	var rows [][]panelTemplate
	last := -1.0
	for _, panel := range panels {
		position, err := get[object](panel, "gridPos")
		if err != nil {
			return nil, fmt.Errorf("panel %v: %w", panel["title"], err)
		}
		y, err := get[float64](position, "y")
		if err != nil {
			return nil, fmt.Errorf("panel %v: %w", panel["title"], err)
		}
		p, err := newPanel(panel, position, choosesMonitor)
		if err != nil {
			return nil, fmt.Errorf("panel %v: %w", panel["title"], err)
		}
		if y != last {
			rows, last = append(rows, nil), y
		}
		rows[len(rows)-1] = append(rows[len(rows)-1], p)
	}
	return rows, nil
}

func newPanel(panel, position object, choosesMonitor bool) (p panelTemplate, err error) {
	width, err := get[float64](position, "w")
	if err != nil {
		return p, err
	}
	height, err := get[float64](position, "h")
	if err != nil {
		return p, err
	}
	p.width, p.height = int(width), int(height)
	if panel["targets"] != nil {
		if p.queries, err = newQueries(panel, choosesMonitor); err != nil {
			return p, err
		}
		panel["targets"] = rawPlaceholder("targets")
	}
	panel["gridPos"] = object{
		"x": rawPlaceholder("x"), "y": rawPlaceholder("y"), "w": rawPlaceholder("w"), "h": position["h"],
	}
	whole, err := newText(panel)
	p.before, p.after = whole.split("targets")
	return p, err
}

func newQueries(panel object, choosesMonitor bool) ([]queryTemplate, error) {
	targets, err := objects(panel, "targets")
	if err != nil {
		return nil, err
	}
	var queries []queryTemplate
	for _, target := range targets {
		query, err := newQuery(target, choosesMonitor)
		if err != nil {
			return nil, err
		}
		queries = append(queries, query)
	}
	return queries, nil
}

func newQuery(target object, choosesMonitor bool) (q queryTemplate, err error) {
	expr, err := get[string](target, "expr")
	if err != nil {
		return q, err
	}
	target["refId"] = placeholder("refId")
	switch {
	case strings.Contains(expr, "$monitor"):
		if _, ok := target["interval"]; ok {
			target["interval"] = placeholder("interval")
		}
		if choosesMonitor {
			break
		}
		q.about = aboutMonitor
		target["expr"] = repeated(expr, "monitor in PromQL")
		if legend, ok := target["legendFormat"].(string); ok {
			target["legendFormat"] = repeated(legend, "monitor")
		}
	case strings.Contains(expr, "celery_"):
		q.about = aboutTasks
	case strings.Contains(expr, "obstack:slo_"):
		q.about = aboutSLOs
	}
	q.text, err = newText(target)
	return q, err
}

// repeated is a field of a query that there is once for each monitor.
func repeated(field, monitor string) string {
	field = variable.ReplaceAllString(field, placeholder("$1"))
	return strings.ReplaceAll(field, "$monitor", placeholder(monitor))
}
