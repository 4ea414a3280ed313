// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"maps"
	"slices"
	"strings"
)

// hidden are labels that the tables do not show, or that say the same in every line.
var hidden = []string{"__name__", "namespace", "obstack_stack", "alertstate", "team"}

// column of a table: a label or the value of a query, by Grafana's name for it.
type column struct {
	name  string
	cells map[string]string // by row
}

func (p panel) title(name string) string {
	for _, transformation := range p.Transformations {
		if title, ok := transformation.Options.RenameByName[name]; ok {
			return title
		}
	}
	return name
}

// unit of a column, which may have one of its own.
func (p panel) unit(title string) string {
	for _, override := range p.FieldConfig.Overrides {
		for _, property := range override.Properties {
			if unit, ok := property.Value.(string); ok && override.Matcher.Options == title && property.ID == "unit" {
				return unit
			}
		}
	}
	return p.FieldConfig.Defaults.Unit
}

// columns of a table and its rows, in the order of the responses.
func (p panel) columns(lines []line) (columns []column, rows []string) {
	cell := func(name, row, text string) {
		i := slices.IndexFunc(columns, func(c column) bool { return c.name == name })
		if i < 0 {
			i = len(columns)
			columns = append(columns, column{name, map[string]string{}})
		}
		columns[i].cells[row] = text
	}
	for _, l := range lines {
		row := ""
		for _, name := range slices.Sorted(maps.Keys(l.labels)) {
			if !slices.Contains(hidden, name) {
				row += name + "=" + l.labels[name] + "\x00"
			}
		}
		if !slices.Contains(rows, row) {
			rows = append(rows, row)
		}
		for _, name := range slices.Sorted(maps.Keys(l.labels)) {
			if !slices.Contains(hidden, name) {
				cell(p.title(name), row, l.labels[name])
			}
		}
	}
	for _, l := range lines {
		row := rows[slices.IndexFunc(rows, func(row string) bool { return sameRow(row, l) })]
		name := "Value"
		if len(p.Targets) > 1 {
			name = "Value #" + p.Targets[l.target].RefID
		}
		if l.labels["alertstate"] == "" {
			title := p.title(name)
			cell(title, row, number(l.points[0].value, p.unit(title)))
		}
	}
	return columns, rows
}

func sameRow(row string, l line) bool {
	for name, value := range l.labels {
		if !slices.Contains(hidden, name) && !strings.Contains("\x00"+row, "\x00"+name+"="+value+"\x00") {
			return false
		}
	}
	return true
}

func (c *canvas) table(b box, p panel, lines []line) {
	columns, rows := p.columns(lines)
	widths, total := make([]float64, len(columns)), 0.0
	for i, column := range columns {
		longest := len(column.name)
		for _, text := range column.cells {
			longest = max(longest, len(text))
		}
		widths[i] = float64(longest + 2)
		total += widths[i]
	}
	x := b.x + 12
	for i, column := range columns {
		c.text(x, b.y+42, 12, "#6E9FFF", "start", column.name)
		for j, row := range rows {
			if y := b.y + 64 + 22*float64(j); y < b.y+b.h-6 {
				c.text(x, y, 12, "#ccccdc", "start", column.cells[row])
			}
		}
		x += (b.w - 20) * widths[i] / total
	}
}
