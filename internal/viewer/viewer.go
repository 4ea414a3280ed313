// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"context"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"obstack.dev/obstack/controllers/proof/promclient"
)

//go:embed page
var files embed.FS

// pageTimeout is how long a page may take; what has not come until then says so.
const pageTimeout = 15 * time.Second

// Viewer serves dashboards. It is an http.Handler.
type Viewer struct {
	dashboards []*Dashboard
	source     *source
	mux        *http.ServeMux
	script     []byte
	styles     []byte
	now        func() time.Time
	location   *time.Location
}

// New serves dashboards, at least one, with what a Prometheus says. Times are those of this
// machine.
func New(dashboards []*Dashboard, client promclient.Client) (*Viewer, error) {
	if len(dashboards) == 0 {
		return nil, errors.New("there is no dashboard to serve")
	}
	script, err := files.ReadFile("page/page.js")
	if err != nil {
		return nil, err
	}
	styles, err := styleSheet()
	if err != nil {
		return nil, err
	}
	v := &Viewer{
		dashboards: dashboards, source: newSource(client), mux: http.NewServeMux(), script: script, styles: styles,
		now: time.Now, location: time.Local,
	}
	v.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, v.dashboards[0].path(), http.StatusFound)
	})
	v.mux.HandleFunc("GET /d/{uid}", v.serveDashboard)
	v.mux.HandleFunc("GET /page.js", v.serveFile("text/javascript", v.script))
	v.mux.HandleFunc("GET /page.css", v.serveFile("text/css", v.styles))
	return v, nil
}

// path of the dashboard's page.
func (d *Dashboard) path() string { return "/d/" + url.PathEscape(d.UID) }

// policy lets a page load nothing but its own script and styles.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP implements http.Handler.
func (v *Viewer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
	v.mux.ServeHTTP(w, r)
}

func (v *Viewer) serveFile(kind string, content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind+"; charset=utf-8")
		_, _ = w.Write(content) // The reader may be gone.
	}
}

// serveDashboard writes a page panel by panel, each as soon as those before it are there.
func (v *Viewer) serveDashboard(w http.ResponseWriter, r *http.Request) {
	i := slices.IndexFunc(v.dashboards, func(d *Dashboard) bool { return d.UID == r.PathValue("uid") })
	if i < 0 {
		http.Error(w, "There is no such dashboard.", http.StatusNotFound)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	flush := http.NewResponseController(w).Flush
	p := v.newPage(ctx, v.dashboards[i], r.URL.Query())
	p.write(ctx, w, func() { _ = flush() }) // Not every writer can.
}

// Still is a dashboard as one document with all rows unfolded, which loads nothing and has no
// script, for a picture. What has not come in time says so in its panel.
func (v *Viewer) Still(ctx context.Context, d *Dashboard) string {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	p := v.newPage(ctx, d, url.Values{})
	p.Styles = template.CSS(v.styles) // #nosec G203 -- our own
	var out strings.Builder
	p.write(ctx, &out, func() {})
	return out.String()
}
