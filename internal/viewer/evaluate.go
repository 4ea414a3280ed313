// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"context"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"obstack.dev/obstack/controllers/proof/promclient"
)

// line is a series that is drawn.
type line struct {
	target int
	name   string
	labels map[string]string
	points []promclient.Point
}

// last value that is a number.
func (l *line) last() float64 {
	for _, point := range slices.Backward(l.points) {
		if !math.IsNaN(point.Value) {
			return point.Value
		}
	}
	return math.NaN()
}

// evaluated is a panel with the responses to its queries.
type evaluated struct {
	*Panel

	title, content string
	window         window
	step           time.Duration
	lines          []line
	marks          []mark
	// notes say what is not drawn, and why.
	notes []string
}

// evaluate the queries of a panel, side by side.
func (p *Panel) evaluate(ctx context.Context, s *source, in scope) evaluated {
	e := evaluated{Panel: p, title: in.title(p.Title), content: in.title(p.Options.Content), window: in.window}
	for _, text := range p.undrawn() {
		e.notes = append(e.notes, "Not drawn: "+cut(text, maxLabel))
	}
	if !slices.Contains(panelTypes, p.Type) {
		return e
	}
	replies := make([]reply, len(p.Targets))
	var asking sync.WaitGroup
	for i := range p.Targets {
		q := p.question(&p.Targets[i], in)
		if q.kind == ranged {
			e.window, e.step = window{q.from, q.to}, q.step
		}
		asking.Go(func() { replies[i] = s.ask(ctx, q) })
	}
	asking.Wait()
	for i := range replies {
		e.add(i, &replies[i], in)
	}
	e.bound()
	return e
}

// question of a target.
func (p *Panel) question(t *target, in scope) question {
	least, err := time.ParseDuration(in.expand(t.Interval, nil))
	if err != nil || least <= 0 {
		least = scrapeInterval
	}
	step := stepOf(in.window.length(), p.GridPos.W, least)
	q := question{kind: instant, to: in.window.to, limit: maxSeries, expr: in.expand(t.Expr, map[string]string{
		"__rate_interval": promDuration(rateInterval(step, least)), "__interval": promDuration(step),
		"__range": promDuration(in.window.length()),
	})}
	if p.Type == "table" {
		q.limit = maxRows
	}
	if !t.Instant {
		q.kind, q.step, q.to = ranged, step, in.window.to.Truncate(step)
		q.from = in.window.from.Truncate(step)
	}
	return q
}

// add what Prometheus says to a target.
func (e *evaluated) add(i int, a *reply, in scope) {
	if a.err != nil {
		e.note("Prometheus: " + a.err.Error())
	}
	if a.partly.More {
		e.note("There are more series than are drawn")
	}
	if a.partly.Warned {
		e.note("Prometheus warns that series may be missing")
	}
	format := in.title(e.Targets[i].LegendFormat)
	for _, s := range a.series {
		if len(s.Points) == 1 && e.Targets[i].Instant && math.IsNaN(s.Points[0].Value) {
			continue
		}
		e.lines = append(e.lines, line{i, legend(format, s.Labels), s.Labels, s.Points})
	}
}

// note something once.
func (e *evaluated) note(text string) {
	if !slices.Contains(e.notes, text) {
		e.notes = append(e.notes, text)
	}
}

// bound what all queries of a panel give together.
func (e *evaluated) bound() {
	most := maxSeries
	if e.Type == "table" {
		most = maxRows
	}
	if len(e.lines) > most && len(e.Targets) > 1 && e.Type != "table" {
		e.note(fmt.Sprintf("%d more series are not drawn", len(e.lines)-most))
		e.lines = e.lines[:most]
	}
}

var legendLabel = regexp.MustCompile(`\{\{\s*([^{}]+?)\s*\}\}`)

// legend replaces {{label}} as Grafana does; without a format it shows all labels.
func legend(format string, labels map[string]string) string {
	if format != "" && format != "__auto" {
		return strings.TrimSpace(legendLabel.ReplaceAllStringFunc(format, func(match string) string {
			return labels[legendLabel.FindStringSubmatch(match)[1]]
		}))
	}
	var shown []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		shown = append(shown, labels[name])
	}
	return strings.Join(shown, " ")
}
