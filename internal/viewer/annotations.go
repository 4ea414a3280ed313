// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"obstack.dev/obstack/controllers/proof/promclient"
)

// annotation marks in all graphs when something happened: where its query has a value above 0, or
// at the times that its values are, in milliseconds.
type annotation struct {
	Name, IconColor, TitleFormat, TextFormat string
	Enable, UseValueForTime                  bool
	Target                                   target
	Datasource, Hide                         ignored
}

// undrawn is what of an annotation is not drawn; empty without anything.
func (a *annotation) undrawn() string {
	switch {
	case a.Target.Expr == "":
		return fmt.Sprintf("annotation %q without a query", a.Name)
	case !slices.Contains(colourNames, a.IconColor):
		return fmt.Sprintf("annotation %q in colour %q", a.Name, a.IconColor)
	}
	return ""
}

// maxMarks of a dashboard; more hide what they mark.
const maxMarks = 50

// mark is a time, or a span of it, in seconds.
type mark struct {
	From, To int64
	Class    string
	// Text with its time.
	Text string
}

// marks of a dashboard, the oldest first, and what is wrong with them.
type marks struct {
	All   []mark
	Notes []string
}

// askMarks for all annotations of a page, side by side.
func (p *page) askMarks(ctx context.Context) (m marks) {
	list := p.Annotations.List
	replies := make([]chan reply, len(list))
	for i := range list {
		a := &list[i]
		if text := a.undrawn(); text != "" {
			m.note("Not drawn: " + cut(text, maxLabel))
			continue
		}
		if a.Enable {
			replies[i] = make(chan reply, 1)
			go func() { replies[i] <- p.source.ask(ctx, a.question(p.in)) }()
		}
	}
	for i := range list {
		if replies[i] == nil {
			continue
		}
		r, q := <-replies[i], list[i].question(p.in)
		if r.err != nil {
			m.note(list[i].Name + ": Prometheus: " + r.err.Error())
		}
		if r.partly.More {
			m.note("There are more marks than are drawn")
		}
		for _, s := range r.series {
			m.All = append(m.All, list[i].marks(s, q, p)...)
		}
	}
	slices.SortStableFunc(m.All, func(a, b mark) int { return cmp.Compare(a.From, b.From) })
	if more := len(m.All) - maxMarks; more > 0 {
		m.note(fmt.Sprintf("%d older marks are not drawn", more))
		m.All = m.All[more:]
	}
	return m
}

func (m *marks) note(text string) {
	if !slices.Contains(m.Notes, text) {
		m.Notes = append(m.Notes, text)
	}
}

// question of an annotation: as fine as that of a graph over the whole width.
func (a *annotation) question(in scope) question {
	whole := Panel{}
	whole.GridPos.W = gridColumns
	return whole.question(&a.Target, in)
}

// marks of a series within the time that is shown. What lies no more than a step apart is one.
func (a *annotation) marks(s promclient.Series, q question, p *page) (all []mark) {
	for _, point := range s.Points {
		seconds := point.At
		if a.UseValueForTime {
			seconds = point.Value / 1000
		}
		shown := seconds >= float64(q.from.Unix()) && seconds <= float64(q.to.Unix()) // No number is not.
		if !shown || !a.UseValueForTime && !(point.Value > 0) {
			continue
		}
		at := int64(seconds)
		if n := len(all); n > 0 && at >= all[n-1].From && at <= all[n-1].To+int64(q.step.Seconds()) {
			all[n-1].To = max(all[n-1].To, at)
			continue
		}
		all = append(all, mark{From: at, To: at, Class: class(a.IconColor)})
	}
	what := cmp.Or(legend(p.in.title(cmp.Or(a.TitleFormat, a.Name)), s.Labels), a.Name)
	if a.TextFormat != "" {
		what += " " + legend(p.in.title(a.TextFormat), s.Labels)
	}
	what = strings.Join(strings.Fields(what), " ") // A label that is not there leaves no gap.
	for i := range all {
		all[i].Text = all[i].when(p.location) + " " + cut(what, maxLabel)
	}
	return all
}

// when it was.
func (m *mark) when(location *time.Location) string {
	const layout = "2006-01-02 15:04:05"
	from, to := time.Unix(m.From, 0).In(location), time.Unix(m.To, 0).In(location)
	if from.Equal(to) {
		return from.Format(layout)
	}
	return from.Format(layout) + " to " + to.Format(time.TimeOnly)
}

// marks are dashed lines with a foot, and a shade over what lasts.
func (c *canvas) marks(plot box, e *evaluated) {
	for _, m := range e.marks {
		from, to := e.x(plot, promclient.Point{At: float64(m.From)}), e.x(plot, promclient.Point{At: float64(m.To)})
		fmt.Fprintf(c, `<path class="%s d" d="M%.1f %.1fv%.1f"/>`+"\n", m.Class, from, plot.y, plot.h)
		fmt.Fprintf(c, `<path class="%s f" d="M%.1f %.1fl-4 6h8Z"/>`+"\n", m.Class, from, plot.y+plot.h)
		if to > from {
			fmt.Fprintf(c, `<rect class="%s f" fill-opacity="0.04" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`+"\n",
				m.Class, from, plot.y, to-from, plot.h)
		}
	}
}
