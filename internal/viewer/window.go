// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// window is the time that is shown.
type window struct{ from, to time.Time }

func (w window) length() time.Duration { return w.to.Sub(w.from) }

// choice is one of a menu.
type choice struct {
	Value, Text string
	Chosen      bool
}

// Menus of the page.
var (
	ranges = []choice{
		{Value: "now-5m", Text: "5 minutes"}, {Value: "now-15m", Text: "15 minutes"}, {Value: "now-30m", Text: "30 minutes"},
		{Value: "now-1h", Text: "1 hour"}, {Value: "now-3h", Text: "3 hours"}, {Value: "now-6h", Text: "6 hours"},
		{Value: "now-12h", Text: "12 hours"}, {Value: "now-24h", Text: "24 hours"}, {Value: "now-2d", Text: "2 days"},
		{Value: "now-7d", Text: "7 days"}, {Value: "now-30d", Text: "30 days"},
	}
	refreshes = []choice{
		{Value: "", Text: "off"}, {Value: "5s", Text: "5 seconds"}, {Value: "10s", Text: "10 seconds"},
		{Value: "30s", Text: "30 seconds"}, {Value: "1m", Text: "1 minute"}, {Value: "5m", Text: "5 minutes"},
	}
)

// Limits of the time that is shown.
const (
	shortestWindow = time.Minute
	longestWindow  = 400 * 24 * time.Hour
	defaultWindow  = 6 * time.Hour
	// freshness is how old a page may be that is not refreshed: whoever opens it meanwhile costs
	// Prometheus nothing.
	freshness = 10 * time.Second
)

var relative = regexp.MustCompile(`^now(?:-([0-9]{1,6})([smhdw]))?$`)

var relativeUnits = map[string]time.Duration{
	"": 0, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
}

// instantOf reads Grafana's now, now-6h, or milliseconds since 1970.
func instantOf(text string, now time.Time) (time.Time, bool) {
	if found := relative.FindStringSubmatch(text); found != nil {
		count, _ := strconv.Atoi(cmp.Or(found[1], "0"))
		return now.Add(-time.Duration(count) * relativeUnits[found[2]]), true
	}
	milliseconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || milliseconds < 0 || milliseconds > now.UnixMilli() {
		return time.Time{}, false
	}
	return time.UnixMilli(milliseconds), true
}

// windowOf two texts; what is none becomes the last six hours. It moves in steps as long as the
// refresh, so that all who look at it ask the same.
func windowOf(from, to string, now time.Time, refresh time.Duration) window {
	now = now.Truncate(cmp.Or(refresh, freshness))
	w := window{now.Add(-defaultWindow), now}
	begins, ok := instantOf(from, now)
	ends, known := instantOf(cmp.Or(to, "now"), now)
	if !ok || !known || ends.Sub(begins) < shortestWindow || ends.Sub(begins) > longestWindow {
		return w
	}
	return window{begins, ends}
}

// refreshOf a text, if it is in the menu; 0 is none.
func refreshOf(text string) time.Duration {
	for _, c := range refreshes {
		if c.Value == text && text != "" {
			every, _ := time.ParseDuration(text)
			return every
		}
	}
	return 0
}

// steps are what lies between two points of a graph.
var steps = []time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 20 * time.Second,
	30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute,
	30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
	7 * 24 * time.Hour,
}

const (
	// pointsPerColumn of the grid: one every third pixel of a page that is 1440 wide.
	pointsPerColumn = 20
	maxPoints       = gridColumns * pointsPerColumn
	// scrapeInterval is that of a data source that says nothing.
	scrapeInterval = 15 * time.Second
)

// stepOf a graph that is that many columns wide: no more points than it shows, none between two
// scrapes, and one at least.
func stepOf(length time.Duration, columns int, least time.Duration) time.Duration {
	needed := max(length/time.Duration(columns*pointsPerColumn), least, time.Second)
	for _, step := range steps {
		if step >= needed {
			return min(step, length)
		}
	}
	return min(needed, length).Truncate(time.Second)
}

// rateInterval is Grafana's $__rate_interval: never less than four scrapes.
func rateInterval(step, scrape time.Duration) time.Duration {
	return max(step+scrape, 4*scrape)
}

// promDuration as Prometheus reads it.
func promDuration(d time.Duration) string {
	return fmt.Sprintf("%ds", int64(d.Round(time.Second).Seconds()))
}
