// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"obstack.dev/obstack/controllers/proof/promclient"
)

// scale of a plot's values.
type scale struct{ low, high, step float64 }

// scaleOf values, from a round one to a round one, unless the panel says.
func scaleOf(lowest, highest float64, f *field) scale {
	if lowest > highest {
		lowest, highest = 0, 1
	}
	s := scale{low: min(lowest, 0), high: highest}
	if f.Min != nil {
		s.low = *f.Min
	}
	if f.Max != nil {
		s.high = max(*f.Max, s.low)
	}
	if size := s.high - s.low; size < 1e-12 || math.IsInf(size, 0) || s.low+size/8 == s.low {
		s.low, s.high = min(max(s.low, -1e15), 1e15), min(max(s.low, -1e15), 1e15)+1
	}
	s.step = roundStep((s.high-s.low)/4, f.Unit)
	if f.Max == nil {
		s.high = math.Ceil(s.high/s.step*0.999999) * s.step
	}
	if f.Min == nil {
		s.low = math.Floor(s.low/s.step) * s.step
	}
	return s
}

// roundStep is no shorter than a rough one. One of bytes is round in what they are written in.
func roundStep(rough float64, unit string) float64 {
	size := 1.0
	for unit == "bytes" && rough >= 1024*size {
		size *= 1024
	}
	power := size * math.Pow(10, math.Floor(math.Log10(rough/size)))
	for _, factor := range []float64{1, 2, 2.5, 5} {
		if factor*power >= rough*0.999 {
			return factor * power
		}
	}
	return 10 * power
}

// y of a value in a plot. What is not on the scale is at its end, as is the sum of both infinities.
func (s scale) y(b box, value float64) float64 {
	part := (value - s.low) / (s.high - s.low)
	if math.IsNaN(part) {
		part = 0
	}
	return b.y + b.h*(1-min(max(part, 0), 1))
}

// plot is where the lines of a graph go, within its panel.
func (b box) plot(legendRows int) box {
	return box{b.x + 66, b.y + 8, max(b.w-78, 1), max(b.h-30-17*float64(legendRows), 1)}
}

// stack of values of earlier lines, by the time.
type stack map[float64]float64

// graph draws lines or bars, and returns what a crosshair shows.
func (c *canvas) graph(b box, e *evaluated) *readings {
	stacked := e.FieldConfig.Defaults.Custom.Stacking.Mode == "normal"
	fields, classes := make([]field, len(e.lines)), make([]string, len(e.lines))
	for i := range e.lines {
		fields[i], _ = e.of(e.lines[i].name)
		classes[i] = seriesClass(&fields[i], i)
	}
	names := make([]string, len(e.lines))
	for i := range e.lines {
		names[i] = e.lines[i].name
	}
	legendRows := legendRows(names, b.w-24)
	plot := b.plot(legendRows)
	lowest, highest := bounds(e.lines, stacked)
	s := scaleOf(lowest, highest, &e.FieldConfig.Defaults)
	c.valueAxis(plot, s, &e.FieldConfig.Defaults)
	c.timeAxis(plot, e.window)
	c.thresholds(plot, s, &e.FieldConfig.Defaults)
	c.marks(plot, e)
	below := stack{}
	for i := range e.lines {
		c.line(plot, s, e, i, classes[i], &fields[i], below, stacked)
	}
	c.legend(box{b.x + 12, b.y + b.h - 17*float64(legendRows), b.w - 24, 17 * float64(legendRows)}, names, classes)
	return e.readings(plot, b, fields, classes)
}

// bounds are the lowest and the highest value that is drawn.
func bounds(lines []line, stacked bool) (lowest, highest float64) {
	lowest, highest = math.Inf(1), math.Inf(-1)
	sums := stack{}
	for i := range lines {
		for _, point := range lines[i].points {
			value := point.Value
			if math.IsNaN(value) || math.IsInf(value, 0) {
				continue
			}
			if stacked {
				sums[point.At] += value
				value = sums[point.At]
			}
			lowest, highest = min(lowest, value), max(highest, value)
		}
	}
	return lowest, highest
}

func (c *canvas) valueAxis(plot box, s scale, f *field) {
	for i := range 12 {
		value := s.low + float64(i)*s.step
		if value > s.high+s.step/1000 {
			return
		}
		y := s.y(plot, value)
		fmt.Fprintf(c, `<path class="g" d="M%.1f %.1fh%.1f"/>`+"\n", plot.x, y, plot.w)
		if math.Abs(value) < s.step/1000 {
			value = 0
		}
		c.text(plot.x-6, y+4, small, "m", "end", number(value, f.Unit, nil))
	}
}

// thresholds are dashed, where the panel draws them.
func (c *canvas) thresholds(plot box, s scale, f *field) {
	if f.Custom.ThresholdsStyle.Mode != "dashed" {
		return
	}
	for _, step := range f.Thresholds.Steps {
		if step.Value != nil && *step.Value > s.low && *step.Value < s.high {
			fmt.Fprintf(c, `<path class="%s d" d="M%.1f %.1fh%.1f"/>`+"\n", class(step.Color), plot.x, s.y(plot, *step.Value),
				plot.w)
		}
	}
}

// spot is a point of a line on the canvas, with what lies below it.
type spot struct{ x, y, base float64 }

// line draws one, with what lies below it. It has gaps where there is no number.
func (c *canvas) line(plot box, s scale, e *evaluated, i int, class string, f *field, below stack, stacked bool) {
	var runs [][]spot
	previous := math.Inf(-1)
	for _, point := range e.lines[i].points {
		if math.IsNaN(point.Value) {
			continue
		}
		value, base := point.Value, max(0, s.low)
		if stacked {
			base = max(below[point.At], s.low)
			value += below[point.At]
			below[point.At] = value
		}
		if point.At-previous > 1.5*e.step.Seconds() {
			runs = append(runs, nil)
		}
		previous = point.At
		at := &runs[len(runs)-1]
		*at = append(*at, spot{e.x(plot, point), s.y(plot, value), s.y(plot, base)})
	}
	if f.Custom.DrawStyle == "bars" {
		c.bars(plot, runs, class, max(plot.w*e.step.Seconds()/e.window.length().Seconds()-1, 1))
		return
	}
	for _, run := range runs {
		c.run(run, class, f)
	}
}

// x of a point's time in a plot.
func (e *evaluated) x(plot box, point promclient.Point) float64 {
	from := float64(e.window.from.UnixMilli()) / 1000
	return plot.x + plot.w*min(max((point.At-from)/e.window.length().Seconds(), 0), 1)
}

// run draws points without a gap.
func (c *canvas) run(run []spot, class string, f *field) {
	if len(run) == 1 {
		fmt.Fprintf(c, `<circle class="%s" cx="%.1f" cy="%.1f" r="2"/>`+"\n", class, run[0].x, run[0].y)
		return
	}
	var path strings.Builder
	for i, at := range run {
		command := "L"
		if i == 0 {
			command = "M"
		}
		fmt.Fprintf(&path, "%s%.1f %.1f", command, at.x, at.y)
	}
	if f.Custom.FillOpacity > 0 {
		var base strings.Builder
		for _, at := range slices.Backward(run) {
			fmt.Fprintf(&base, "L%.1f %.1f", at.x, at.base)
		}
		fmt.Fprintf(c, `<path class="%s f" fill-opacity="%.2f" d="%s%sZ"/>`+"\n", class,
			min(f.Custom.FillOpacity, 100)/100, path.String(), base.String())
	}
	fmt.Fprintf(c, `<path class="%s s" d="%s"/>`+"\n", class, path.String())
}

// bars end at the time of their point.
func (c *canvas) bars(plot box, runs [][]spot, class string, width float64) {
	for _, run := range runs {
		for _, at := range run {
			left := max(at.x-width, plot.x)
			fmt.Fprintf(c, `<rect class="%s f" fill-opacity="0.7" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`+"\n", class,
				left, min(at.y, at.base), at.x-left, math.Abs(at.base-at.y))
		}
	}
}

// maxLegendRows of a graph; what does not fit is counted.
const maxLegendRows = 2

// legendWidth is that of a name in a legend.
func legendWidth(name string) float64 { return 24 + textWidth(name, small) }

// legendRows are how many a legend takes.
func legendRows(names []string, width float64) int {
	rows, x := 1, 0.0
	for _, name := range names {
		wide := min(legendWidth(name), width)
		if x > 0 && x+wide > width {
			rows++
			x = 0
		}
		x += wide
	}
	return min(rows, maxLegendRows)
}

func (c *canvas) legend(b box, names, classes []string) {
	x, y := b.x, b.y+11
	for i, name := range names {
		wide, left := min(legendWidth(name), b.w), b.w
		last := y+17 > b.y+b.h
		if last && i < len(names)-1 {
			left -= 60 // For what is more.
		}
		if x > b.x && x-b.x+wide > left {
			if last {
				c.text(x, y, small, "m", "start", fmt.Sprintf("+%d more", len(names)-i))
				return
			}
			x, y = b.x, y+17
		}
		fmt.Fprintf(c, `<rect class="%s f" x="%.1f" y="%.1f" width="12" height="3"/>`+"\n", classes[i], x, y-5)
		c.fitted(x+16, y, small, b.w-20, "t", "start", name)
		x += wide
	}
}
