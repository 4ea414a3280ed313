// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// What the viewer draws, by Grafana's names. Empty stands for a field that is absent.
var (
	panelTypes    = []string{"timeseries", "stat", "table", "row", "heatmap", "text"}
	variableTypes = []string{"constant", "custom", "query", "datasource"}
	colourModes   = []string{"", "palette-classic", "thresholds", "fixed"}
	drawStyles    = []string{"", "line", "bars"}
	stackings     = []string{"", "none", "normal"}
	thresholdUses = []string{"", "off", "dashed"}
	cellTypes     = []string{"", "auto", "color-text"}
	formats       = []string{"", "time_series", "table", "heatmap"}
	graphModes    = []string{"", "none", "area"}
	statColours   = []string{"", "value", "background", "none"}
	textModes     = []string{"", "auto", "value_and_name", "value"}
	properties    = []string{"unit", "decimals", "color", "thresholds", "custom.cellOptions", "links"}
)

// labelValues is the only query of a variable: label_values(SELECTOR, LABEL), or without a
// selector.
var labelValues = regexp.MustCompile(`^\s*label_values\((?:(.+),)?\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*\)\s*$`)

func (v *variable) undrawn() string {
	if !slices.Contains(variableTypes, v.Type) {
		return fmt.Sprintf("type %q", v.Type)
	}
	if v.Type == "query" && !labelValues.MatchString(string(v.Query)) {
		return fmt.Sprintf("query %q", v.Query)
	}
	return ""
}

// undrawn are the things of a panel that are not drawn.
func (p *Panel) undrawn() []string {
	var found []string
	known := func(what, value string, values []string) {
		if !slices.Contains(values, value) {
			found = append(found, fmt.Sprintf("%s %q", what, value))
		}
	}
	if p.unknown != "" {
		found = append(found, fmt.Sprintf("field %q", p.unknown))
	}
	known("type", p.Type, panelTypes)
	for _, t := range p.Targets {
		known("format", t.Format, formats)
	}
	for _, t := range p.Transformations {
		known("transformation", t.ID, []string{"merge", "organize"})
	}
	for _, c := range p.Options.ReduceOptions.Calcs {
		known("calculation", c, []string{"lastNotNull"})
	}
	known("text in", p.Options.Mode, []string{"", "markdown"})
	known("graph", p.Options.GraphMode, graphModes)
	known("colour of", p.Options.ColorMode, statColours)
	known("text mode", p.Options.TextMode, textModes)
	if p.Options.Calculate {
		found = append(found, "a heat map that is calculated from series")
	}
	p.FieldConfig.Defaults.undrawn(known)
	known("unit", p.Options.YAxis.Unit, units)
	known("unit", p.Options.CellValues.Unit, units)
	return append(found, p.overridesUndrawn(known)...)
}

func (f *field) undrawn(known func(what, value string, values []string)) {
	known("unit", f.Unit, units)
	known("colours by", f.Color.Mode, colourModes)
	if f.Color.Mode == "fixed" {
		known("colour", f.Color.FixedColor, colourNames)
	}
	f.Thresholds.undrawn(known)
	known("line style", f.Custom.DrawStyle, drawStyles)
	known("stacking", f.Custom.Stacking.Mode, stackings)
	known("thresholds drawn as", f.Custom.ThresholdsStyle.Mode, thresholdUses)
	known("cells of type", f.Custom.CellOptions.Type, cellTypes)
}

func (t *thresholds) undrawn(known func(what, value string, values []string)) {
	known("thresholds that are", t.Mode, []string{"", "absolute"})
	for _, step := range t.Steps {
		known("colour", step.Color, colourNames)
	}
}

func (p *Panel) overridesUndrawn(known func(what, value string, values []string)) (found []string) {
	for _, o := range p.FieldConfig.Overrides {
		known("override", o.Matcher.ID, []string{"byName"})
		for _, property := range o.Properties {
			known("override of", property.ID, properties)
			changed := field{}
			if !changed.set(property.ID, property.Value) && slices.Contains(properties, property.ID) {
				found = append(found, fmt.Sprintf("override of %s by %s", property.ID, property.Value))
			}
			changed.undrawn(known)
		}
	}
	return found
}

// set a property of an override, and report whether its value is understood. Links are kept by the
// table.
func (f *field) set(id string, value json.RawMessage) bool {
	switch id {
	case "unit":
		return json.Unmarshal(value, &f.Unit) == nil
	case "decimals":
		return json.Unmarshal(value, &f.Decimals) == nil
	case "color":
		return json.Unmarshal(value, &f.Color) == nil
	case "thresholds":
		f.Thresholds = thresholds{}
		return json.Unmarshal(value, &f.Thresholds) == nil
	case "custom.cellOptions":
		return json.Unmarshal(value, &f.Custom.CellOptions) == nil
	case "links":
		_, ok := readLinks(value)
		return ok
	}
	return false
}

// readLinks of a field.
func readLinks(value json.RawMessage) ([]Link, bool) {
	var links []Link
	err := json.Unmarshal(value, &links)
	return links, err == nil
}

// of is the field's configuration for the series or column of that name, and the links of its
// values.
func (p *Panel) of(name string) (field, []Link) {
	f := p.FieldConfig.Defaults
	var links []Link
	for _, o := range p.FieldConfig.Overrides {
		if o.Matcher.ID != "byName" || o.Matcher.Options != name {
			continue
		}
		for _, property := range o.Properties {
			if property.ID == "links" {
				links, _ = readLinks(property.Value)
				continue
			}
			f.set(property.ID, property.Value)
		}
	}
	return f, links
}

// cut shortens a text that nobody reads to its end.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
