// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Limits of what a request may choose.
const (
	maxChosen  = 50
	allChoices = "$__all"
)

// chosen is a variable with its value.
type chosen struct {
	variable

	values  []string
	Choices []choice
	// Note says what is wrong with the choices.
	Note string
}

// Shown reports whether the page offers the variable.
func (c *chosen) Shown() bool {
	return c.Hide == 0 && (c.Type == "custom" || c.Type == "query")
}

// Caption of the variable.
func (c *chosen) Caption() string {
	if c.Label != "" {
		return c.Label
	}
	return c.Name
}

// choose a value for each variable, of the request or of the dashboard, and ask for those that
// there are. A variable may use those before it.
func (d *Dashboard) choose(ctx context.Context, s *source, w window, request url.Values) scope {
	in := scope{window: w}
	for _, v := range d.Templating.List {
		c := &chosen{variable: v, values: v.Current.Value}
		switch v.Type {
		case "constant", "datasource":
			c.values = texts{string(v.Query)}
		case "custom", "query":
			c.offer(ctx, s, in)
			c.take(request["var-"+v.Name])
		}
		in.variables = append(in.variables, c)
	}
	return in
}

// offer the values that there are.
func (c *chosen) offer(ctx context.Context, s *source, in scope) {
	if c.Type == "custom" {
		for text := range strings.SplitSeq(string(c.Query), ",") {
			c.Choices = append(c.Choices, choice{Value: strings.TrimSpace(text), Text: strings.TrimSpace(text)})
		}
		return
	}
	found := labelValues.FindStringSubmatch(string(c.Query))
	if found == nil {
		c.Note = "cannot be asked for: " + c.undrawn()
		return
	}
	a := s.ask(ctx, question{
		kind: values, expr: in.expand(found[1], nil), label: found[2], from: in.window.from, to: in.window.to,
		limit: maxValues,
	})
	if a.err != nil {
		c.Note = "Prometheus: " + a.err.Error()
	}
	for _, value := range a.values {
		c.Choices = append(c.Choices, choice{Value: value, Text: value})
	}
	slices.SortFunc(c.Choices, func(a, b choice) int { return strings.Compare(a.Value, b.Value) })
}

// take what a request chooses. A value of a query may be away now and come back; one of a list that
// is not in it is dropped.
func (c *chosen) take(wanted []string) {
	var taken []string
	for _, value := range wanted[:min(len(wanted), maxChosen)] {
		if c.admits(value) {
			taken = append(taken, cut(value, maxLabel))
		}
	}
	switch {
	case len(taken) == 0 && len(c.values) == 0 && len(c.Choices) > 0:
		taken = []string{c.Choices[0].Value}
	case len(taken) == 0:
		taken = c.values
	case slices.Contains(taken, allChoices):
		taken = []string{allChoices}
	case !c.Multi:
		taken = taken[:1]
	}
	c.values = taken
	c.mark()
}

func (c *chosen) admits(value string) bool {
	return value == allChoices && c.IncludeAll || c.offers(value) || c.Type == "query" && value != ""
}

func (c *chosen) offers(value string) bool {
	return slices.ContainsFunc(c.Choices, func(o choice) bool { return o.Value == value })
}

// mark what is taken in the menu, which has all of it.
func (c *chosen) mark() {
	for _, value := range c.values {
		if value != allChoices && !c.offers(value) {
			c.Choices = append(c.Choices, choice{Value: value, Text: value})
		}
	}
	if c.IncludeAll {
		c.Choices = append([]choice{{Value: allChoices, Text: "All"}}, c.Choices...)
	}
	for i := range c.Choices {
		c.Choices[i].Chosen = slices.Contains(c.values, c.Choices[i].Value)
	}
}

// scope is what texts of a dashboard are expanded with.
type scope struct {
	window    window
	variables []*chosen
}

var reference = regexp.MustCompile(`\$\{([a-zA-Z_][a-zA-Z0-9_]*)(?::(raw|regex))?\}|\$([a-zA-Z_][a-zA-Z0-9_]*)`)

// expand $name, ${name} and ${name:raw} as Grafana does for Prometheus. A name that nobody knows
// stays.
func (s scope) expand(text string, builtin map[string]string) string {
	return reference.ReplaceAllStringFunc(text, func(match string) string {
		found := reference.FindStringSubmatch(match)
		name := found[1] + found[3]
		if value, ok := builtin[name]; ok {
			return value
		}
		for _, v := range s.variables {
			if v.Name == name {
				return v.in(found[2])
			}
		}
		return match
	})
}

// inQuotes is a value between the quotation marks of PromQL.
var inQuotes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// in a text, in one of Grafana's formats: raw, regex, or that of queries without one.
func (c *chosen) in(format string) string {
	if slices.Contains(c.values, allChoices) && c.AllValue != "" {
		return c.AllValue
	}
	taken := c.values
	if slices.Contains(taken, allChoices) {
		taken = nil
		for _, o := range c.Choices {
			if o.Value != allChoices {
				taken = append(taken, o.Value)
			}
		}
	}
	if format == "raw" {
		return strings.Join(taken, ",")
	}
	if !c.Multi && !c.IncludeAll && format == "" {
		return inQuotes.Replace(strings.Join(taken, ","))
	}
	var patterns []string
	for _, value := range taken {
		patterns = append(patterns, inQuotes.Replace(regexp.QuoteMeta(value)))
	}
	if len(patterns) == 1 {
		return patterns[0]
	}
	return fmt.Sprintf("(%s)", strings.Join(patterns, "|"))
}

// title of a text that is shown: variables stand for themselves.
func (s scope) title(text string) string {
	return reference.ReplaceAllStringFunc(text, func(match string) string {
		found := reference.FindStringSubmatch(match)
		for _, v := range s.variables {
			if v.Name == found[1]+found[3] {
				return strings.ReplaceAll(strings.Join(v.values, " + "), allChoices, "All")
			}
		}
		return match
	})
}
