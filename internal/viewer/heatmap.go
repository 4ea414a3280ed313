// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"obstack.dev/obstack/controllers/proof/promclient"
)

// bucket of a histogram, with what fell into it and not into those below.
type bucket struct {
	boundary float64
	points   []promclient.Point
}

// buckets of lines that are labelled by le, the lowest first, and the most in any of them.
func buckets(lines []line) (all []bucket, highest float64) {
	sorted := slices.Clone(lines)
	slices.SortStableFunc(sorted, func(a, b line) int { return cmp.Compare(boundary(a), boundary(b)) })
	below := map[float64]float64{}
	for _, l := range sorted {
		of := bucket{boundary: boundary(l)}
		for _, point := range l.points {
			if math.IsNaN(point.Value) || math.IsInf(point.Value, 0) {
				continue
			}
			inside := max(point.Value-below[point.At], 0)
			below[point.At] = max(point.Value, below[point.At])
			highest = max(highest, inside)
			of.points = append(of.points, promclient.Point{At: point.At, Value: inside})
		}
		all = append(all, of)
	}
	return all, highest
}

// boundary of a bucket; infinite if the series has none that can be read.
func boundary(l line) float64 {
	value, err := strconv.ParseFloat(l.labels["le"], 64)
	if err != nil || math.IsNaN(value) {
		return math.Inf(1)
	}
	return value
}

// nothing is what the panel leaves out as no observation.
const nothing = 1e-9

// heatmap draws how much lies between each boundary and the next one below.
func (c *canvas) heatmap(b box, e *evaluated) *readings {
	all, highest := buckets(e.lines)
	plot := b.plot(0)
	height, width := plot.h/float64(len(all)), plot.w*e.step.Seconds()/e.window.length().Seconds()
	every := max(len(all)*16/int(max(plot.h, 1)), 1) // One label takes 16 pixels.
	shown := *e
	shown.lines = nil
	unit := field{Unit: e.Options.CellValues.Unit}
	var fields []field
	var classes []string
	for i, of := range all {
		y := plot.y + plot.h - height*float64(i+1)
		name := number(of.boundary, e.Options.YAxis.Unit, nil)
		if i%every == 0 {
			c.text(plot.x-6, y+4, small, "m", "end", name)
		}
		var seen []promclient.Point
		for _, point := range of.points {
			if point.Value > nothing {
				x := e.x(plot, point)
				left := max(x-width, plot.x)
				fmt.Fprintf(c, `<rect class="k-dark-orange f" x="%.1f" y="%.1f" width="%.1f" height="%.1f"`+
					` fill-opacity="%.2f"/>`+"\n", left, y, max(x-left-0.5, 0), max(height-0.5, 0.5),
					0.15+0.85*math.Sqrt(point.Value/highest))
				seen = append(seen, point)
			}
		}
		if len(seen) > 0 {
			shown.lines = append(shown.lines, line{name: "up to " + name, points: seen})
			fields, classes = append(fields, unit), append(classes, "k-dark-orange")
		}
	}
	c.timeAxis(plot, e.window)
	c.marks(plot, e)
	return shown.readings(plot, b, fields, classes)
}
