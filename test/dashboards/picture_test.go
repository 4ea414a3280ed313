// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var pictures = flag.String("pictures", "",
	"a folder: the load lasts two minutes longer, and the dashboards are drawn there with what Prometheus then holds")

// Of the pictures.
const (
	// pictured is the time that the pictures show, step the time between two points.
	pictured = 2 * time.Minute
	step     = 2 * time.Second
)

// drawPictures draws some dashboards as Grafana lays them out at 1440 pixels, from the responses of
// the Prometheus of this run to the queries of the panels. It is no screenshot: Grafana is not to
// be had as a module.
func (w world) drawPictures(t *testing.T) {
	for _, name := range []string{"overview", "http-fastapi", "tasks"} {
		for _, b := range w.dashboards {
			if b.Name != name {
				continue
			}
			content := w.draw(t, b)
			if err := os.WriteFile(filepath.Join(*pictures, name+".svg"), []byte(content), 0o600); err != nil {
				t.Error(err)
			}
		}
	}
}

func (w world) draw(t *testing.T, b dashboard) string {
	t.Helper()
	var c canvas
	height := 0
	for _, p := range b.Panels {
		at := p.GridPos
		box := box{
			float64(at.X*columnWidth + 4), float64(at.Y*rowHeight + 36), float64(at.W*columnWidth - 8),
			float64(at.H*rowHeight - 8),
		}
		height = max(height, (at.Y+at.H)*rowHeight+40)
		c.frame(box, p.Title)
		grafana := b.grafana(w.stack, "20s", "120s")
		var lines []line
		for i, target := range p.Targets {
			expr := grafana.Replace(target.Expr)
			if p.Type == "stat" || p.Type == "table" {
				for _, s := range w.at(t, expr, w.now) {
					lines = append(lines, line{
						target: i,
						name:   legend(grafana.Replace(target.LegendFormat), s.Metric),
						labels: s.Metric,
						points: []sample{s.Value},
					})
				}
				continue
			}
			found := w.ask(t, "/api/v1/query_range", url.Values{
				"query": {expr}, "start": {seconds(w.now.Add(-pictured))}, "end": {seconds(w.now)}, "step": {step.String()},
			})
			for _, s := range found {
				lines = append(lines,
					line{target: i, name: legend(grafana.Replace(target.LegendFormat), s.Metric), labels: s.Metric, points: s.Values})
			}
		}
		c.panel(box, p, lines, float64(w.now.Unix())-pictured.Seconds(), float64(w.now.Unix()))
	}
	return c.document(b.Title, height)
}

// line is a series that is drawn.
type line struct {
	target int
	name   string
	labels map[string]string
	points []sample
}

var legendLabel = regexp.MustCompile(`\{\{([^}]+)\}\}`)

// legend replaces {{label}} as Grafana does.
func legend(format string, labels map[string]string) string {
	if format == "" {
		var shown []string
		for _, name := range slices.Sorted(maps.Keys(labels)) {
			shown = append(shown, labels[name])
		}
		return strings.Join(shown, " ")
	}
	return strings.TrimSpace(legendLabel.ReplaceAllStringFunc(format, func(match string) string {
		return labels[strings.Trim(match, "{}")]
	}))
}

// number writes a value in a unit of Grafana.
func number(value float64, unit string) string {
	short := func(v float64) string {
		return strings.TrimRight(
			strings.TrimRight(fmt.Sprintf("%.*f", max(0, 2-int(math.Log10(max(1, math.Abs(v))))), v), "0"), ".")
	}
	if math.Abs(value) >= 100 || value == math.Trunc(value) {
		short = func(v float64) string { return fmt.Sprintf("%.0f", v) }
	}
	switch unit {
	case "s":
		if math.Abs(value) < 1 {
			return fmt.Sprintf("%.3g ms", value*1000)
		}
		return fmt.Sprintf("%.3g s", value)
	case "percentunit":
		return fmt.Sprintf("%.3g %%", value*100)
	case "reqps":
		return short(value) + " req/s"
	case "ops":
		return short(value) + " ops/s"
	case "bytes":
		return fmt.Sprintf("%.3g MiB", value/(1<<20))
	default:
		return short(value)
	}
}
