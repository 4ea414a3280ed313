// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"math"
)

// maxReadings are the series whose values a crosshair shows.
const maxReadings = 20

// readings are what a crosshair shows in a graph.
type readings struct {
	// From is the time of the first step, in seconds, Step the time between two, Count how many.
	From  float64 `json:"from"`
	Step  float64 `json:"step"`
	Count int     `json:"count"`
	// Left and Right are where the plot begins and ends, as parts of the width of the picture.
	Left   float64   `json:"left"`
	Right  float64   `json:"right"`
	Series []reading `json:"series"`
}

// reading is the values of a series, as they are written; empty where there is none.
type reading struct {
	Name   string   `json:"name"`
	Class  string   `json:"class"`
	Values []string `json:"values"`
}

func (e *evaluated) readings(plot, b box, fields []field, classes []string) *readings {
	if e.step <= 0 {
		return nil
	}
	r := &readings{
		From: float64(e.window.from.Unix()), Step: e.step.Seconds(), Count: int(e.window.length()/e.step) + 1,
		Left: plot.x / b.w, Right: (plot.x + plot.w) / b.w,
	}
	r.Count = min(r.Count, maxPoints+1)
	for i := range e.lines[:min(len(e.lines), maxReadings)] {
		values := make([]string, r.Count)
		for _, point := range e.lines[i].points {
			at := int(math.Round((point.At - r.From) / r.Step))
			if at >= 0 && at < r.Count && !math.IsNaN(point.Value) {
				values[at] = number(point.Value, fields[i].Unit, fields[i].Decimals)
			}
		}
		r.Series = append(r.Series, reading{e.lines[i].name, classes[i], values})
	}
	return r
}
