// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"obstack.dev/obstack/controllers/proof/promclient"
	"obstack.dev/obstack/internal/viewer"
	"obstack.dev/obstack/test/browser"
)

// client of the running Prometheus.
func (p prometheus) client(t *testing.T) promclient.Client {
	t.Helper()
	address, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	return promclient.Client{URL: address, HTTP: http.DefaultClient}
}

// pagesAreWhole: the viewer draws every panel, and has nothing to say of any.
func (w world) pagesAreWhole(t *testing.T) {
	server := w.serve(t)
	for _, b := range w.dashboards {
		response, err := http.Get(server + "/d/" + b.drawn.UID + "?from=now-5m")
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		body := string(content)
		empty := strings.Count(body, `class="empty"`) + strings.Count(body, ": No data\"")
		panels := strings.Count(body, `<section id="panel-`)
		if response.StatusCode != http.StatusOK || panels != len(b.drawn.Panels) || strings.Contains(body, `class="note"`) ||
			empty > 0 {
			t.Errorf("%s: %s, %d of %d panels, %d of them without data:\n%s", b.drawn.Title, response.Status, panels,
				len(b.drawn.Panels), empty, body)
		}
	}
	w.openPages(t, server)
}

// serve the dashboards with what Prometheus says.
func (w world) serve(t *testing.T) string {
	t.Helper()
	var all []*viewer.Dashboard
	for _, b := range w.dashboards {
		all = append(all, b.drawn)
	}
	v, err := viewer.New(all, w.client(t))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	return server.URL
}

// openPages in a browser.
func (w world) openPages(t *testing.T, server string) {
	t.Helper()
	chromium := browser.Start(t)
	for _, b := range w.dashboards {
		chromium.WantWhole(server+"/d/"+b.drawn.UID+"?from=now-5m", len(b.drawn.Panels))
	}
	chromium.WantQuiet(server)
}

// TestKeptScrapesAreShown opens the pages of applications with which nothing happens: all that
// Prometheus ever sees of them is what was kept. Each panel has data or says why not.
func TestKeptScrapesAreShown(t *testing.T) {
	parts(t)
	stack := readStack(t)
	dashboards, rules := derive(t, stack)
	kept := func(name string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			http.ServeFile(w, r, filepath.Join(scrapes, name+".prom"))
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	services := monitors()
	for i := range services {
		services[i].url = kept(services[i].app())
	}
	w := world{
		prometheus: startPrometheus(t, stack, rules, services, celery{exporter: kept("task-exporter")}),
		stack:      stack, dashboards: dashboards,
	}
	const often = "count(sum_over_time(up[1m]) >= 5) == %d"
	eventually(t, "all is scraped, and that several times", func() bool {
		return len(w.at(t, fmt.Sprintf(often, len(services)+1), time.Now())) > 0
	})
	w.openPages(t, w.serve(t))
}
