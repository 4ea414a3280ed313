// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"fmt"
	"math"
	"unicode/utf8"
)

// stat draws the last value of each series, below each other, and side by side where there are too
// many for that.
func (c *canvas) stat(b box, e *evaluated) {
	const lowest, slimmest = 16, 110
	below := max(int(b.h/lowest), 1)
	columns := min((len(e.lines)+below-1)/below, max(int(b.w/slimmest), 1))
	shown := min(len(e.lines), below*columns)
	if shown < len(e.lines) {
		e.note(fmt.Sprintf("%d more values are not drawn", len(e.lines)-shown))
	}
	below = (shown + columns - 1) / columns
	for i := range shown {
		c.value(box{
			b.x + b.w/float64(columns)*float64(i/below), b.y + b.h/float64(below)*float64(i%below),
			b.w / float64(columns), b.h / float64(below),
		}, e, &e.lines[i])
	}
}

// value draws the last one of a series.
func (c *canvas) value(b box, e *evaluated, l *line) {
	f, _ := e.of(l.name)
	value, size := l.last(), min(30, b.h*0.75)
	class := f.valueClass(value)
	if e.Options.ColorMode == "background" {
		fmt.Fprintf(c, `<rect class="%s f" fill-opacity="0.25" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`+"\n", class,
			b.x+2, b.y+1, b.w-4, b.h-2)
	}
	if e.Options.GraphMode == "area" && len(l.points) > 1 {
		c.spark(b, e, l, class)
	}
	text := number(value, f.Unit, f.Decimals)
	if math.IsNaN(value) {
		text = e.noValue()
	}
	named := e.Options.TextMode == "value_and_name" || e.Options.TextMode != "value" && len(e.lines) > 1
	if named && l.name != "" {
		if room := b.w - 24 - textWidth(text, size); textWidth(l.name, 14) > room && b.h >= 2.5*size {
			c.fitted(b.x+b.w/2, b.y+b.h/2-size*0.6, 14, b.w-16, "t", "middle", l.name)
			c.text(b.x+b.w/2, b.y+b.h/2+size*0.6, size, class, "middle", text)
			return
		}
		c.fitted(b.x+12, b.y+b.h/2+5, min(14, size), b.w-24-textWidth(text, size), "t", "start", l.name)
		c.text(b.x+b.w-12, b.y+b.h/2+size*0.35, size, class, "end", text)
		return
	}
	size = min(size, (b.w-8)/(letter*float64(max(utf8.RuneCountInString(text), 1))))
	c.text(b.x+b.w/2, b.y+b.h/2+size*0.35, size, class, "middle", text)
}

// spark draws the values before the last one, behind it.
func (c *canvas) spark(row box, e *evaluated, l *line, class string) {
	lowest, highest := bounds([]line{*l}, false)
	s := scaleOf(lowest, highest, &field{})
	plot := box{row.x, row.y + row.h/2, row.w, row.h / 2}
	faint := field{}
	faint.Custom.FillOpacity = 20
	one := *e
	one.lines = []line{*l}
	c.line(plot, s, &one, 0, class, &faint, stack{}, false)
}
