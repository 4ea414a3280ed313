// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"fmt"
	"html"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// A column and a row of Grafana's grid, in pixels at a width of 1440.
const (
	columnWidth = 60
	rowHeight   = 38
)

type box struct{ x, y, w, h float64 }

// canvas is a drawing in SVG.
type canvas struct{ strings.Builder }

var palette = []string{
	"#73BF69", "#F2CC0C", "#8AB8FF", "#FF780A", "#F2495C", "#5794F2", "#B877D9", "#705DA0", "#37872D", "#FADE2A",
	"#C4162A", "#3274D9",
}

func (c *canvas) text(x, y, size float64, colour, anchor, text string) {
	fmt.Fprintf(c, `<text x="%.1f" y="%.1f" font-size="%.0f" fill="%s" text-anchor="%s">%s</text>`+"\n", x, y, size,
		colour, anchor, html.EscapeString(text))
}

func (c *canvas) frame(b box, title string) {
	fmt.Fprintf(c, `<rect x="%.0f" y="%.0f" width="%.0f" height="%.0f" rx="3" fill="#181b1f" stroke="#2c3235"/>`+"\n", b.x,
		b.y, b.w, b.h)
	c.text(b.x+10, b.y+19, 13, "#ccccdc", "start", title)
}

func (c *canvas) document(title string, height int) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1440 %d"`+
		` font-family="Inter, Helvetica, Arial, sans-serif">
<rect width="1440" height="%d" fill="#111217"/>
<text x="14" y="24" font-size="16" fill="#ccccdc">%s</text>
%s</svg>
`, height, height, html.EscapeString(title), c.String())
}

func (c *canvas) panel(b box, p panel, lines []line, from, to float64) {
	if len(lines) == 0 && p.Type != "text" {
		c.text(b.x+b.w/2, b.y+b.h/2+5, 14, "#8e8e9a", "middle", p.FieldConfig.Defaults.NoValue)
		return
	}
	switch p.Type {
	case "stat":
		c.stat(b, p, lines)
	case "table":
		c.table(b, p, lines)
	case "text":
		c.paragraph(b, p.Options.Content)
	case "heatmap":
		c.heatmap(b, lines, from, to)
	default:
		c.graph(b, p, lines, from, to)
	}
}

// colour of a value by the panel's thresholds.
func (p panel) colour(value float64) string {
	name := "text"
	for _, s := range p.FieldConfig.Defaults.Thresholds.Steps {
		if s.Value == nil || value >= *s.Value {
			name = s.Color
		}
	}
	if p.FieldConfig.Defaults.Color.Mode == "fixed" {
		name = p.FieldConfig.Defaults.Color.FixedColor
	}
	return map[string]string{"green": "#73BF69", "orange": "#FF9830", "red": "#F2495C", "text": "#ccccdc"}[name]
}

func (c *canvas) stat(b box, p panel, lines []line) {
	height := (b.h - 34) / float64(len(lines))
	size := min(30, height*0.8)
	for i, l := range lines {
		value := l.points[0].value
		y := b.y + 28 + height*(float64(i)+0.5) + size*0.35
		text := number(value, p.FieldConfig.Defaults.Unit)
		if len(lines) == 1 {
			c.text(b.x+b.w/2, y, size, p.colour(value), "middle", text)
			continue
		}
		c.text(b.x+12, y, min(14, size), "#ccccdc", "start", l.name)
		c.text(b.x+b.w-12, y, size, p.colour(value), "end", text)
	}
}

func (c *canvas) paragraph(b box, content string) {
	y := b.y + 42
	for text := range strings.SplitSeq(strings.NewReplacer("**", "", "`", "", "*", "").Replace(content), "\n") {
		for len(text) > 0 {
			fits := min(len(text), int(b.w/6.3))
			if fits < len(text) {
				if space := strings.LastIndex(text[:fits], " "); space > 0 {
					fits = space
				}
			}
			if y > b.y+b.h-4 {
				return
			}
			c.text(b.x+12, y, 12, "#ccccdc", "start", text[:fits])
			text, y = strings.TrimPrefix(text[fits:], " "), y+17
		}
	}
}

// plot is where the lines of a graph go, within its panel.
func (b box) plot(legend bool) box {
	inner := box{b.x + 72, b.y + 32, b.w - 86, b.h - 54}
	if legend {
		inner.h -= 20
	}
	return inner
}

func (c *canvas) timeAxis(b box, from, to float64) {
	for i := range 4 {
		at := from + (to-from)*float64(i)/3
		x := b.x + b.w*float64(i)/3
		anchor := "middle"
		if i == 3 {
			anchor = "end"
		}
		c.text(x, b.y+b.h+15, 11, "#8e8e9a", anchor, time.Unix(int64(at), 0).UTC().Format("15:04:05"))
	}
}

func (c *canvas) graph(b box, p panel, lines []line, from, to float64) {
	plot, stacked := b.plot(true), p.FieldConfig.Defaults.Custom.Stacking.Mode == "normal"
	sums, highest := map[float64]float64{}, 0.0
	for _, l := range lines {
		for _, point := range l.points {
			if !math.IsNaN(point.value) {
				sums[point.at] += point.value
				highest = max(highest, point.value)
			}
		}
	}
	if stacked {
		highest = slices.Max(slices.Collect(maps.Values(sums)))
	}
	highest = max(highest*1.1, 1e-3)
	for i := range 4 {
		y := plot.y + plot.h*float64(3-i)/3
		fmt.Fprintf(c, `<path d="M%.1f %.1fh%.1f" stroke="#2c3235"/>`+"\n", plot.x, y, plot.w)
		c.text(plot.x-6, y+4, 11, "#8e8e9a", "end", number(highest*float64(i)/3, p.FieldConfig.Defaults.Unit))
	}
	c.timeAxis(plot, from, to)
	base := map[float64]float64{}
	x := b.x + 12
	for i, l := range lines {
		colour, path, command := palette[i%len(palette)], "", "M"
		for _, point := range l.points {
			if math.IsNaN(point.value) {
				command = "M"
				continue
			}
			value := point.value
			if stacked {
				value += base[point.at]
				base[point.at] = value
			}
			path += fmt.Sprintf("%s%.1f %.1f", command, plot.x+plot.w*(point.at-from)/(to-from), plot.y+plot.h*(1-value/highest))
			command = "L"
		}
		fmt.Fprintf(c, `<path d="%s" fill="none" stroke="%s" stroke-width="1.6"/>`+"\n", path, colour)
		if width := 22 + 6.2*float64(len(l.name)); x+width < b.x+b.w {
			fmt.Fprintf(c, `<rect x="%.1f" y="%.1f" width="12" height="3" fill="%s"/>`+"\n", x, b.y+b.h-12, colour)
			c.text(x+16, b.y+b.h-7, 11, "#ccccdc", "start", l.name)
			x += width + 8
		}
	}
}

// heatmap draws how much lies between each boundary and the next one below.
func (c *canvas) heatmap(b box, lines []line, from, to float64) {
	plot := b.plot(false)
	slices.SortFunc(lines, func(a, b line) int { return int(math.Copysign(1, boundary(a)-boundary(b))) })
	highest, below := 0.0, map[float64]float64{}
	cells := make([]map[float64]float64, len(lines))
	for i, l := range lines {
		cells[i] = map[float64]float64{}
		for _, point := range l.points {
			cells[i][point.at] = point.value - below[point.at]
			below[point.at] = point.value
			highest = max(highest, cells[i][point.at])
		}
	}
	height, width := plot.h/float64(len(lines)), plot.w*step.Seconds()/(to-from)
	for i, l := range lines {
		y := plot.y + plot.h - height*float64(i+1)
		if i%3 == 0 {
			c.text(plot.x-6, y+height, 11, "#8e8e9a", "end", number(boundary(l), "s"))
		}
		for at, value := range cells[i] {
			if value > 1e-9 {
				fmt.Fprintf(c, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="#FF780A" fill-opacity="%.2f"/>`+"\n",
					plot.x+plot.w*(at-from)/(to-from)-width, y, width-0.5, height-0.5, 0.15+0.85*math.Sqrt(value/highest))
			}
		}
	}
	c.timeAxis(plot, from, to)
}

func boundary(l line) float64 {
	var value float64
	if _, err := fmt.Sscan(l.labels["le"], &value); err != nil {
		return math.Inf(1)
	}
	return value
}
