// SPDX-License-Identifier: Apache-2.0

package viewer

import "cmp"

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
	case len(e.lines) == 0:
		c.fitted(b.x+b.w/2, b.y+b.h/2, 14, b.w-16, "m", "middle", e.noValue())
	case e.Type == "stat":
		c.stat(b, e)
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
