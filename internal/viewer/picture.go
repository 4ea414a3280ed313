// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"cmp"
	"context"
	"fmt"
	"html/template"
	"math"
	"net/url"
	"sync"
	"time"

	"obstack.dev/obstack/controllers/proof/promclient"
)

// A column and a row of Grafana's grid, in pixels at a width of 1440.
const (
	columnWidth = 60
	rowHeight   = 38
	gap         = 8
	headHeight  = 28
	// Widths of a page. Up to phoneWidth it is one panel wide, as in the style sheet.
	narrowest, phoneWidth, widest = 320, 760, 2560
	margins                       = 24
)

// noValue is what a panel without values says.
func (e *evaluated) noValue() string { return cmp.Or(e.FieldConfig.Defaults.NoValue, "No data") }

// draw what is below the panel's title. Readings are nil where a crosshair shows nothing.
func (c *canvas) draw(b box, e *evaluated) *readings {
	switch {
	case e.Type == "text":
		c.paragraphs(b, e.content)
	case len(e.lines) == 0:
		c.fitted(b.x+b.w/2, b.y+b.h/2, 14, b.w-16, "m", "middle", e.noValue())
	case e.Type == "stat":
		c.stat(b, e)
	case e.Type == "table":
		c.table(b, e.table())
	case e.Type == "heatmap":
		return c.heatmap(b, e)
	case e.Type == "timeseries":
		return c.graph(b, e)
	}
	return nil
}

// shapes are the rules of a drawing besides its colours.
const shapes = `text,.f,circle{fill:currentColor}
.s,.g,.d{fill:none;stroke:currentColor}
.s{stroke-width:1.6;stroke-linejoin:round}
.d{stroke-dasharray:6 4}
`

// Picture draws a whole dashboard into one file, as Grafana lays it out at 1440 pixels on a dark
// page, in UTC.
func Picture(
	ctx context.Context, d *Dashboard, client promclient.Client, from, to time.Time,
) (string, error) {
	s, w := newSource(client), window{from, to}
	in := d.choose(ctx, s, w, url.Values{})
	all := make([]evaluated, len(d.Panels))
	var evaluating sync.WaitGroup
	for i := range d.Panels {
		evaluating.Go(func() { all[i] = d.Panels[i].evaluate(ctx, s, in) })
	}
	evaluating.Wait()
	c, height := canvas{location: time.UTC}, 0.0
	for i := range all {
		if len(all[i].notes) > 0 {
			return "", fmt.Errorf("panel %q: %s", all[i].title, all[i].notes[0])
		}
		height = max(height, c.panel(&all[i]))
	}
	dark := rules(func(dark, _ string) string { return dark })
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1440 %.0f"`+
		` font-family="Inter, Helvetica, Arial, sans-serif">
<style>
%s%s</style>
<rect width="1440" height="%.0f" fill="#111217"/>
<text class="t" x="14" y="24" font-size="16">%s</text>
%s</svg>
`, height, shapes, dark, height, template.HTMLEscapeString(in.title(d.Title)), c.String()), nil
}

// panel with its frame and title, in its place; returns where it ends.
func (c *canvas) panel(e *evaluated) float64 {
	at := e.GridPos
	b := box{
		float64(at.X*columnWidth + gap/2), float64(at.Y*rowHeight + rowHeight), float64(at.W*columnWidth - gap),
		float64(at.H*rowHeight - gap),
	}
	if e.Type == "row" {
		c.text(b.x+4, b.y+22, 15, "t", "start", e.title)
		return b.y + b.h
	}
	fmt.Fprintf(c, `<rect x="%.0f" y="%.0f" width="%.0f" height="%.0f" rx="3" fill="#181b1f" stroke="#2c3235"/>`+"\n",
		b.x, b.y, b.w, b.h)
	c.fitted(b.x+10, b.y+19, title, b.w-20, "t", "start", e.title)
	c.draw(box{b.x, b.y + headHeight, b.w, b.h - headHeight}, e)
	return math.Ceil(b.y + b.h + gap)
}
