// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strings"
)

// table of labels and values.
type table struct {
	Columns []column
	Rows    [][]cell
}

// column of a table: a label, or the value of a query.
type column struct {
	Name string
	// Numeric columns are set to the right.
	Numeric bool

	// source is what the column is called before it is renamed.
	source string
}

// cell of a table.
type cell struct {
	Text, Class, URL string

	value float64
}

// row is one before its columns are chosen.
type row map[string]cell

// table merges the series of all queries: one row for equal labels, one column for each query.
func (e *evaluated) table() table {
	rows, names := e.merge()
	t := table{}
	for _, name := range e.organize(names) {
		shown := column{Name: e.rename(name), source: name, Numeric: isValue(name)}
		t.Columns = append(t.Columns, shown)
	}
	for _, r := range rows {
		cells := make([]cell, len(t.Columns))
		for i, of := range t.Columns {
			cells[i] = e.cell(r, of)
		}
		t.Rows = append(t.Rows, cells)
	}
	t.sort(e.Options.SortBy)
	return t
}

// merge the series into rows, and return the names of the columns: labels, then values.
func (e *evaluated) merge() (rows []row, names []string) {
	labels, valued := map[string]bool{}, map[string]bool{}
	known := map[string]row{}
	for i := range e.lines {
		l := &e.lines[i]
		var of strings.Builder
		for _, name := range slices.Sorted(maps.Keys(l.labels)) {
			fmt.Fprintf(&of, "%q=%q", name, l.labels[name])
			labels[name] = true
		}
		key := of.String()
		r, ok := known[key]
		if !ok {
			r = row{}
			for name, value := range l.labels {
				r[name] = cell{Text: value}
			}
			known[key] = r
			rows = append(rows, r)
		}
		name := "Value"
		if len(e.Targets) > 1 {
			name += " #" + e.Targets[l.target].RefID
		}
		valued[name] = true
		r[name] = cell{value: l.last()}
	}
	return rows, slices.Concat(slices.Sorted(maps.Keys(labels)), slices.Sorted(maps.Keys(valued)))
}

// isValue reports whether a column has the values of a query.
func isValue(name string) bool { return name == "Value" || strings.HasPrefix(name, "Value #") }

// organize leaves out columns, and puts those with a place first.
func (e *evaluated) organize(names []string) []string {
	for _, t := range e.Transformations {
		names = slices.DeleteFunc(names, func(name string) bool { return t.Options.ExcludeByName[name] })
		slices.SortStableFunc(names, func(a, b string) int {
			return cmp.Compare(place(t.Options.IndexByName, a), place(t.Options.IndexByName, b))
		})
	}
	return names
}

func place(places map[string]int, name string) int {
	if at, ok := places[name]; ok {
		return at
	}
	return math.MaxInt
}

func (e *evaluated) rename(name string) string {
	for _, t := range e.Transformations {
		if renamed := t.Options.RenameByName[name]; renamed != "" {
			return renamed
		}
	}
	return name
}

// cell of a row in a column, as it is written.
func (e *evaluated) cell(r row, of column) cell {
	found, ok := r[of.source]
	if !ok {
		return cell{value: math.NaN()}
	}
	f, links := e.of(of.Name)
	if of.Numeric {
		found.Text = number(found.value, f.Unit, f.Decimals)
		if f.Custom.CellOptions.Type == "color-text" {
			found.Class = f.valueClass(found.value)
		}
	}
	for _, link := range links {
		found.URL = strings.ReplaceAll(link.URL, "${__value.text}", url.PathEscape(found.Text))
	}
	return found
}

func (t *table) sort(by []struct {
	DisplayName string
	Desc        bool
}) {
	for _, order := range slices.Backward(by) {
		i := slices.IndexFunc(t.Columns, func(c column) bool { return c.Name == order.DisplayName })
		if i < 0 {
			continue
		}
		slices.SortStableFunc(t.Rows, func(a, b []cell) int {
			compared := cmp.Compare(a[i].value, b[i].value)
			if !t.Columns[i].Numeric {
				compared = strings.Compare(a[i].Text, b[i].Text)
			}
			if order.Desc {
				return -compared
			}
			return compared
		})
	}
}
