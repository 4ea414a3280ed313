// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/proof/promclient"
	"obstack.dev/obstack/internal/viewer"
	"obstack.dev/obstack/test/bench/kit"
)

// The page that is measured: so many panels over six hours, which so many look at.
const (
	panels  = 60
	viewers = 10
	seen    = 6 * time.Hour
)

// writeScrapes makes blocks of what was scraped of the first stack in the time that the page shows,
// every 30 s, and returns when that ended.
func writeScrapes(ctx context.Context, dir string) (end time.Time) {
	end = historyEnds()
	file := kit.Must(os.Create(filepath.Join(dir, "scrapes.txt")))
	out := bufio.NewWriterSize(file, 1<<20)
	const labels = `namespace="shop-0",obstack_stack="shop"`
	for after := time.Duration(0); after <= seen; after += 30 * time.Second {
		at := end.Add(after - seen).Unix()
		for path, targets := range map[string][]string{
			"/api": {
				`pod="api-0",obstack_monitor="api"`, `pod="api-1",obstack_monitor="api"`, `pod="api-2",obstack_monitor="api"`,
			},
			"/tasks": {`pod="tasks-0",obstack_broker="main"`},
		} {
			var text bytes.Buffer
			kit.Check(expose(&text, path, after.Seconds()))
			for _, target := range targets {
				fmt.Fprintf(out, "up{%s,%s} 1 %d\n", labels, target, at)
				for line := range strings.Lines(text.String()) {
					series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
					name, own, _ := strings.Cut(strings.TrimSuffix(series, "}"), "{")
					fmt.Fprintf(out, "%s{%s,%s,%s} %s %d\n", name, labels, target, own, value, at)
				}
			}
		}
	}
	kit.Check(out.Flush())
	makeBlocks(ctx, dir, file)
	return end
}

// manyPanels is one dashboard of all that the first stack has: of their panels with queries, and of
// the annotations that each has.
func manyPanels() *viewer.Dashboard {
	stack := &obsv1.ObservabilityStack{}
	kit.Check(yaml.UnmarshalStrict(stackYAML, stack))
	stack.Namespace, stack.Spec.Dashboards = "shop-0", &obsv1.DashboardsSpec{}
	type object = map[string]any
	var variables, all []any
	var annotations any
	for _, component := range desired.Components {
		for _, made := range component.Build(desired.Effective(stack, nil), desired.Inputs{}).Objects {
			configMap, ok := made.(*corev1.ConfigMap)
			if !ok || component.Condition != obsv1.DashboardsReady {
				continue
			}
			for _, content := range configMap.Data {
				var whole struct {
					Annotations any
					Templating  struct{ List []any }
					Panels      []object
				}
				kit.Check(json.Unmarshal([]byte(content), &whole))
				annotations = whole.Annotations
				variables = append(variables, whole.Templating.List...)
				for _, panel := range whole.Panels {
					if panel["targets"] != nil {
						all = append(all, panel)
					}
				}
			}
		}
	}
	if len(all) < panels {
		kit.Check(fmt.Errorf("the stack has %d panels with queries, of which %d are wanted", len(all), panels))
	}
	return kit.Must(viewer.Parse(kit.Must(json.Marshal(object{
		"uid": "many", "title": "Many", "annotations": annotations, "templating": object{"list": variables},
		"panels": all[:panels],
	}))))
}

// viewPage measures how long the page takes of which nothing is kept, and what the viewers of one
// cost.
func (p prometheus) viewPage(f *kit.Figures, end time.Time) {
	d := manyPanels()
	client := promclient.Client{URL: kit.Must(url.Parse(p.URL)), HTTP: http.DefaultClient}
	path := fmt.Sprintf("/d/many?from=%d&to=%d", end.Add(-seen).UnixMilli(), end.UnixMilli())
	look := func(v *viewer.Viewer) string {
		page := httptest.NewRecorder()
		v.ServeHTTP(page, httptest.NewRequest(http.MethodGet, path, nil))
		return page.Body.String()
	}
	var took []time.Duration
	page, alone := "", 0.0
	for range 5 {
		v, before, began := kit.Must(viewer.New([]*viewer.Dashboard{d}, client)), p.queries(), time.Now()
		page = look(v)
		took = append(took, time.Since(began))
		alone = p.queries() - before
	}
	drawn := strings.Count(page, "<svg") + strings.Count(page, "<table") - strings.Count(page, ": No data\"")
	f.Most(fmt.Sprintf("a page of %d panels over 6 hours", panels),
		1e3*kit.MedianBy(took, func(d time.Duration) float64 { return d.Seconds() }).Seconds(), "ms", 1000,
		"%d of them have data, by %.0f queries; median of %d", drawn, alone, len(took))
	if notes := strings.Count(page, `class="note"`); notes > 0 {
		kit.Check(fmt.Errorf("%d panels of the page say what is wrong", notes))
	}
	v, before := kit.Must(viewer.New([]*viewer.Dashboard{d}, client)), p.queries()
	kit.Parallel(viewers, viewers, func(int) { look(v) })
	f.Most(fmt.Sprintf("queries of %d viewers, of those of one", viewers), (p.queries()-before)/alone, "", 1)
}

// queries that Prometheus has been asked.
func (p prometheus) queries() float64 {
	asked := 0.0
	for series, count := range p.metrics() {
		if strings.HasPrefix(series, "prometheus_http_requests_total{") && strings.Contains(series, `handler="/api/v1/`) {
			asked += count
		}
	}
	return asked
}
