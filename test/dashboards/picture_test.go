// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"flag"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"obstack.dev/obstack/controllers/proof/promclient"
	"obstack.dev/obstack/internal/viewer"
)

var pictures = flag.String("pictures", "",
	"a folder: the load lasts two minutes longer, and the dashboards are drawn there with what Prometheus then holds")

// pictured is the time that the pictures show.
const pictured = 2 * time.Minute

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
	var all []*viewer.Dashboard
	for _, b := range w.dashboards {
		all = append(all, b.drawn)
	}
	v, err := viewer.New(all, w.client(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		recorder := httptest.NewRecorder()
		v.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/d/"+d.UID+"?from=now-5m", nil))
		body := recorder.Body.String()
		empty := strings.Count(body, `class="empty"`) + strings.Count(body, ": No data\"")
		panels := strings.Count(body, `<section id="panel-`)
		if recorder.Code != http.StatusOK || panels != len(d.Panels) || strings.Contains(body, `class="note"`) || empty > 0 {
			t.Errorf("%s: status %d, %d of %d panels, %d of them without data:\n%s", d.Title, recorder.Code, panels,
				len(d.Panels), empty, body)
		}
	}
}

// drawPictures draws some dashboards as Grafana lays them out at 1440 pixels, from the responses of
// the Prometheus of this run to the queries of the panels. It is no screenshot: Grafana is not to
// be had as a module.
func (w world) drawPictures(t *testing.T) {
	for _, name := range []string{"overview", "http-fastapi", "tasks"} {
		for _, b := range w.dashboards {
			if b.Name != name {
				continue
			}
			content, err := viewer.Picture(t.Context(), b.drawn, w.client(t), w.now.Add(-pictured), w.now)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if err := os.WriteFile(filepath.Join(*pictures, name+".svg"), []byte(content), 0o600); err != nil {
				t.Error(err)
			}
		}
	}
}
