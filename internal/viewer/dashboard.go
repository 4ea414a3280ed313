// SPDX-License-Identifier: Apache-2.0

// Package viewer draws Grafana's dashboards from the responses of a Prometheus and serves them as
// pages, without Grafana. It knows the part of Grafana's JSON that obstack's dashboards use, and
// says in a panel what it does not draw. What comes from a dashboard or from Prometheus is text:
// html/template escapes it, and so does the canvas.
package viewer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits of a dashboard. Ours have at most 30 panels.
const (
	maxBytes     = 4 << 20
	maxPanels    = 200
	maxTargets   = 26
	maxVariables = 100
	// maxAnnotations are queries of each page.
	maxAnnotations = 20
)

// Dashboard is what is drawn of Grafana's JSON, in its classic schema. Fields that change nothing
// of a drawing are there to be known.
type Dashboard struct {
	UID, Title, Description, Refresh string
	Tags                             []string
	Time                             struct{ From, To string }
	Links                            []Link
	Templating                       struct{ List []variable }
	Annotations                      struct{ List []annotation }
	Panels                           []Panel

	ID, Timezone, SchemaVersion, Version, Editable, GraphTooltip ignored
}

// ignored is a field that is known and changes nothing of a drawing.
type ignored struct{}

// UnmarshalJSON implements json.Unmarshaler.
func (*ignored) UnmarshalJSON([]byte) error { return nil }

// Link of a dashboard: to others by their tags, or to a page.
type Link struct {
	Type, Title, URL, Tooltip                      string
	Tags                                           []string
	KeepTime, TargetBlank, IncludeVars, AsDropdown ignored
	Icon                                           ignored
}

type variable struct {
	Name, Label, Type, AllValue string
	Hide                        int
	Multi, IncludeAll           bool
	Query                       queryText
	Current                     struct {
		Value          texts
		Text, Selected ignored
	}
	Datasource, Definition, Options, Refresh, Regex, SkipURLSync, Sort ignored
}

// queryText is a string, or an object with one.
type queryText string

// UnmarshalJSON implements json.Unmarshaler.
func (q *queryText) UnmarshalJSON(content []byte) error {
	var object struct{ Query string }
	if json.Unmarshal(content, (*string)(q)) == nil {
		return nil
	}
	err := json.Unmarshal(content, &object)
	*q = queryText(object.Query)
	return err
}

// texts is a string, or a list of them.
type texts []string

// UnmarshalJSON implements json.Unmarshaler.
func (t *texts) UnmarshalJSON(content []byte) error {
	var one string
	if json.Unmarshal(content, &one) == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(content, (*[]string)(t))
}

// Panel of a dashboard.
type Panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	Collapsed                bool
	// Panels of a row that is folded.
	Panels          []Panel
	FieldConfig     fieldConfig
	Options         options
	Targets         []target
	Transformations []transformation
	Datasource      ignored

	// unknown is what the file has and the viewer does not know.
	unknown string
}

type target struct {
	RefID, Expr, LegendFormat, Format, Interval string
	Instant                                     bool
	Range, Datasource, EditorMode               ignored
}

type fieldConfig struct {
	Defaults  field
	Overrides []override
}

type field struct {
	Unit, NoValue string
	Decimals      *int
	Min, Max      *float64
	Color         colour
	Thresholds    thresholds
	Custom        custom
}

type colour struct{ Mode, FixedColor string }

type thresholds struct {
	Mode  string
	Steps []struct {
		Color string
		Value *float64
	}
}

type custom struct {
	DrawStyle       string
	FillOpacity     float64
	LineWidth       float64
	Stacking        struct{ Mode, Group string }
	ThresholdsStyle struct{ Mode string }
	CellOptions     struct{ Type string }

	ShowPoints, PointSize, SpanNulls, Align, Inspect, Filterable, HideFrom, ScaleDistribution ignored
}

type override struct {
	Matcher struct {
		ID      string
		Options string
	}
	Properties []struct {
		ID    string
		Value json.RawMessage
	}
}

type options struct {
	Content, Mode, GraphMode, ColorMode, TextMode string
	SortBy                                        []struct {
		DisplayName string
		Desc        bool
	}
	ReduceOptions struct {
		Calcs          []string
		Fields, Values ignored
	}
	YAxis struct {
		Unit                   string
		AxisPlacement, Reverse ignored
	}
	CellValues struct{ Unit string }
	Calculate  bool

	CellGap, CellHeight, Color, FilterValues, JustifyMode, Legend, Orientation, PercentChangeColorMode, RowsFrame,
	ShowHeader, ShowPercentChange, ShowValue, Tooltip, WideLayout ignored
}

type transformation struct {
	ID      string
	Options struct {
		ExcludeByName map[string]bool
		IndexByName   map[string]int
		RenameByName  map[string]string
	}
}

// Parse reads a dashboard. What cannot be drawn of it is no error.
func Parse(content []byte) (*Dashboard, error) {
	if len(content) > maxBytes {
		return nil, fmt.Errorf("the dashboard has %d bytes, at most %d are read", len(content), maxBytes)
	}
	d := &Dashboard{}
	if err := json.Unmarshal(content, d); err != nil {
		return nil, fmt.Errorf("read the dashboard's JSON: %w", err)
	}
	var raw struct{ Panels []json.RawMessage }
	if err := json.Unmarshal(content, &raw); err != nil {
		return nil, fmt.Errorf("read the dashboard's panels: %w", err)
	}
	for i := range d.Panels {
		d.Panels[i].unknown = unknownField(raw.Panels[i], &Panel{})
	}
	d.unfold()
	return d, d.check()
}

// unknownField is the first field of a JSON object that the type does not have; empty without one.
func unknownField(content []byte, into any) string {
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		return ""
	}
	_, name, _ := strings.Cut(err.Error(), "unknown field ")
	return strings.Trim(name, `"`)
}

// unfold the panels of folded rows, which Grafana keeps inside of them, and sort all by place.
func (d *Dashboard) unfold() {
	var all []Panel
	for _, p := range d.Panels {
		inside := p.Panels
		p.Panels = nil
		all = append(append(all, p), inside...)
	}
	slices.SortStableFunc(all, func(a, b Panel) int {
		if a.GridPos.Y != b.GridPos.Y {
			return a.GridPos.Y - b.GridPos.Y
		}
		return a.GridPos.X - b.GridPos.X
	})
	d.Panels = all
}

// check refuses what is none, and puts each panel into the grid.
func (d *Dashboard) check() error {
	switch {
	case d.UID == "" || d.Title == "":
		return errors.New("the dashboard has no uid or no title")
	case len(d.Panels) > maxPanels:
		return fmt.Errorf("the dashboard has %d panels, at most %d are drawn", len(d.Panels), maxPanels)
	case len(d.Templating.List) > maxVariables:
		return fmt.Errorf("the dashboard has %d variables, at most %d are read", len(d.Templating.List), maxVariables)
	}
	if n := len(d.Annotations.List); n > maxAnnotations {
		return fmt.Errorf("the dashboard has %d annotations, at most %d are asked for", n, maxAnnotations)
	}
	for i := range d.Panels {
		p := &d.Panels[i]
		p.ID = i + 1 // Those of the file need not be unique.
		at := &p.GridPos
		at.X, at.H = min(max(at.X, 0), gridColumns-1), min(max(at.H, 1), maxHeight)
		at.W = min(max(at.W, 1), gridColumns-at.X)
		if len(p.Targets) > maxTargets {
			return fmt.Errorf("panel %q has %d queries, at most %d are sent", p.Title, len(p.Targets), maxTargets)
		}
	}
	return nil
}

// Of Grafana's grid.
const (
	gridColumns = 24
	maxHeight   = 40
)
