// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"flag"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
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
