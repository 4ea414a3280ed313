// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"math"
	"strings"
	"testing"
	"time"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// lasts is how long the load runs before the dashboards are asked, window what they look back on.
const (
	lasts  = 60 * time.Second
	window = 40 * time.Second
)

// world is all that runs.
type world struct {
	prometheus
	stack      *obsv1.ObservabilityStack
	dashboards []dashboard
	loads      []*load
	workers    celery
	now        time.Time
}

func TestDashboardsShowWhatHappened(t *testing.T) {
	parts(t)
	stack := readStack(t)
	dashboards, rules := derive(t, stack)
	services, workers := startServices(t), startCelery(t)
	w := world{
		prometheus: startPrometheus(t, stack, rules, services, workers),
		stack:      stack, dashboards: dashboards, workers: workers,
	}
	w.loads = sendLoad(t, services, workers, lasts)
	w.now = time.Now()

	t.Run("every panel shows something", w.everyPanelShowsSomething)
	t.Run("requests", w.requestsAreRight)
	t.Run("tasks", w.tasksAreRight)
	t.Run("SLOs", w.slosAreRight)
	t.Run("pages", w.pagesAreWhole)
	t.Run("scrapes", func(t *testing.T) { keepScrapes(t, services, workers) })
}

// query returns the expressions of a panel, as Grafana would send them.
func (w world) query(t *testing.T, name, title string) []string {
	t.Helper()
	for _, b := range w.dashboards {
		if b.Name != name {
			continue
		}
		for _, p := range b.Panels {
			if p.Title == title {
				return w.expressions(b, p)
			}
		}
	}
	t.Fatalf("dashboard %s has no panel %q", name, title)
	return nil
}

func (w world) expressions(b dashboard, p panel) []string {
	grafana := b.grafana(w.stack, "40s", "50s")
	var found []string
	for _, target := range p.Targets {
		found = append(found, grafana.Replace(target.Expr))
	}
	return found
}

func (w world) everyPanelShowsSomething(t *testing.T) {
	asked := 0
	for _, b := range w.dashboards {
		for _, p := range b.Panels {
			for i, expr := range w.expressions(b, p) {
				if len(w.at(t, expr, w.now)) == 0 {
					t.Errorf("%s: query %d of panel %q shows nothing: %s", b.Name, i+1, p.Title, expr)
				}
				asked++
			}
			if len(p.Targets) == 0 && strings.TrimSpace(p.Options.Content) == "" {
				t.Errorf("%s: %q is empty", b.Name, p.Title)
			}
		}
	}
	t.Logf("%d queries of %d dashboards", asked, len(w.dashboards))
}

// same fails unless the values differ by less than 5 %.
func same(t *testing.T, what string, want, got float64) {
	t.Helper()
	off := math.Abs(got-want) / want
	t.Logf("%s: happened %.4g, shown %.4g, off by %.1f %%", what, want, got, 100*off)
	if off > 0.05 || math.IsNaN(got) {
		t.Errorf("%s: the dashboard shows %g, but %g happened", what, got, want)
	}
}

// between fails unless the value lies between two others, give or take 5 %.
func between(t *testing.T, what string, low, high, got float64) {
	t.Helper()
	t.Logf("%s: happened %.4g to %.4g, shown %.4g", what, low, high, got)
	if !(got > 0.95*low && got < 1.05*high) {
		t.Errorf("%s: the dashboard shows %g, but %g to %g happened", what, got, low, high)
	}
}

// value of an expression that has one series.
func (w world) value(t *testing.T, expr string) float64 {
	t.Helper()
	found := w.at(t, expr, w.now)
	if len(found) != 1 {
		t.Errorf("%s has %d series, want 1", expr, len(found))
		return math.NaN()
	}
	return found[0].Value.value
}

func (w world) requestsAreRight(t *testing.T) {
	for i, l := range w.loads {
		want := l.seen(w.now, window)
		if len(l.problems) > 0 {
			t.Errorf("%s did not respond to %d requests: %v", l.framework, len(l.problems), l.problems[0])
		}
		// A framework's dashboard shows its first monitor.
		if name := "http-" + l.framework; l.bundle == "" {
			same(t, name+": requests per second", want.rate, w.value(t, w.query(t, name, "Request rate now")[0]))
			same(t, name+": 5xx ratio", want.errorRatio, w.value(t, w.query(t, name, "5xx ratio now")[0]))
			between(t, name+": p95 in seconds", want.p95Asked, want.p95Took, w.value(t, w.query(t, name, "p95 now")[0]))
		}
		// The overview has one query a monitor, in the order of the spec.
		same(t, l.monitor+" on the overview: requests per second", want.rate,
			w.value(t, w.query(t, "overview", "Traffic")[i]))
		same(t, l.monitor+" on the overview: 5xx ratio", want.errorRatio,
			w.value(t, w.query(t, "overview", "Errors (5xx)")[i]))
		between(t, l.monitor+" on the overview: p95 in seconds", want.p95Asked, want.p95Took,
			w.value(t, w.query(t, "overview", "Latency (p95)")[i]))
	}
}

func (w world) tasksAreRight(t *testing.T) {
	done := w.workers.finished(t, w.now, window)
	ratio := done["failed"] / (done["failed"] + done["succeeded"])
	same(t, "task failure ratio", ratio, w.value(t, w.query(t, "tasks", "Failing tasks now")[0]))
	same(t, "task failure ratio on the overview", ratio, w.value(t, w.query(t, "overview", "Failing tasks (ratio)")[0]))
	same(t, "tasks that succeed per second", done["succeeded"]/window.Seconds(),
		w.value(t, w.query(t, "overview", "Tasks finished")[0]))
	same(t, "tasks that fail per second", done["failed"]/window.Seconds(),
		w.value(t, w.query(t, "overview", "Tasks finished")[1]))
	for _, s := range w.at(t, w.query(t, "overview", "Queue length")[0], w.now) {
		if s.Metric["queue_name"] == "reports" {
			same(t, "length of the queue that nobody consumes", 150, s.Value.value)
			return
		}
	}
	t.Error("the overview does not show the queue reports")
}

func (w world) slosAreRight(t *testing.T) {
	burn := map[string]float64{}
	for _, s := range w.at(t, w.query(t, "overview", "SLO burn rate (1 h)")[0], w.now) {
		burn[s.Metric[obsv1.SeriesSLO]] = s.Value.value
	}
	// Of a budget of 25 % for requests, and one of 10 % for tasks, 20 % is spent all the time.
	same(t, "burn rate of SLO api-works", 0.8, burn["api-works"])
	same(t, "burn rate of SLO tasks-succeed", 2, burn["tasks-succeed"])
}
