// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"math"
	"strconv"
	"strings"
)

// units that are written as Grafana writes them.
var units = []string{"", "none", "short", "s", "reqps", "ops", "percentunit", "bytes"}

// number writes a value in a unit. Without decimals there are as many as distinguish values.
func number(value float64, unit string, decimals *int) string {
	switch {
	case math.IsNaN(value):
		return "no number"
	case math.IsInf(value, 0):
		return strings.TrimSuffix(strconv.FormatFloat(value, 'f', -1, 64), "nf") + "nf"
	}
	switch unit {
	case "s":
		return duration(value, decimals)
	case "percentunit":
		return digits(value*100, decimals) + " %"
	case "reqps":
		return scaled(value, 1000, decimals, "", " K", " M", " G") + " req/s"
	case "ops":
		return scaled(value, 1000, decimals, "", " K", " M", " G") + " ops/s"
	case "bytes":
		return scaled(value, 1024, decimals, " B", " KiB", " MiB", " GiB", " TiB")
	case "none":
		if size := math.Abs(value); decimals == nil && size >= 1e6 && size < 1e15 {
			return strconv.FormatFloat(value, 'f', 0, 64)
		}
		return digits(value, decimals)
	default:
		return scaled(value, 1000, decimals, "", " K", " M", " G", " T")
	}
}

// duration of some seconds.
func duration(value float64, decimals *int) string {
	size := math.Abs(value)
	for _, u := range []struct {
		from, unit float64
		name       string
	}{
		{2 * 86400, 86400, " d"}, {2 * 3600, 3600, " h"}, {120, 60, " min"}, {1, 1, " s"}, {1e-3, 1e-3, " ms"},
		{1e-9, 1e-6, " µs"},
	} {
		if size >= u.from {
			return digits(value/u.unit, decimals) + u.name
		}
	}
	return "0 s"
}

// scaled to the largest unit of which there is one.
func scaled(value, base float64, decimals *int, names ...string) string {
	i := 0
	for math.Abs(value) >= base && i < len(names)-1 {
		value /= base
		i++
	}
	return digits(value, decimals) + names[i]
}

// digits writes three of them, or that many decimals.
func digits(value float64, decimals *int) string {
	if decimals != nil {
		return strconv.FormatFloat(value, 'f', min(max(*decimals, 0), 10), 64)
	}
	size := math.Abs(value)
	switch {
	case size >= 1e6 || size > 0 && size < 1e-3:
		return strconv.FormatFloat(value, 'g', 3, 64)
	case size >= 100 || value == math.Trunc(value):
		return strconv.FormatFloat(value, 'f', 0, 64)
	case size >= 10:
		return trimmed(value, 1)
	case size >= 1:
		return trimmed(value, 2)
	default:
		return trimmed(value, 3)
	}
}

func trimmed(value float64, decimals int) string {
	return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(value, 'f', decimals, 64), "0"), ".")
}
