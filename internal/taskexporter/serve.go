// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/exporter-toolkit/web"
)

const index = `<!doctype html><title>obstack task exporter</title>
<h1>obstack task exporter</h1>
<p><a href="/metrics">/metrics</a>, <a href="/health">/health</a> (the process),
<a href="/ready">/ready</a> (the broker),
<a href="/status">/status</a> (for programs)</p>
`

const (
	// shutdownTime is how long requests may go on after the end was asked for.
	shutdownTime = 500 * time.Millisecond
	// writeTimeout is generous: Prometheus gives up after ten seconds by default.
	writeTimeout = time.Minute
	// maxScrapes are written at a time. Each takes a processor while it lasts.
	maxScrapes = 8
)

// Handler serves /metrics, /health, /ready, /status and a page that names them.
func (e *Exporter) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, index) // the reader may be gone
	})
	metrics := e.serveMetrics()
	mux.Handle("GET /metrics", limited(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		metrics.ServeHTTP(w, r)
		e.scrapes.note(r, began)
	}), maxScrapes))
	mux.HandleFunc("GET /health", probe(e.Healthy, "the exporter works", "the exporter is stuck"))
	mux.HandleFunc("GET /ready", e.serveReady)
	mux.HandleFunc("GET /status", e.serveStatus)
	return mux
}

// limited refuses requests while so many are being served.
func limited(next http.Handler, most int) http.Handler {
	running := make(chan struct{}, most)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case running <- struct{}{}:
			defer func() { <-running }()
			next.ServeHTTP(w, r)
		default:
			http.Error(w, fmt.Sprintf("%d scrapes are running, try again later", most), http.StatusServiceUnavailable)
		}
	})
}

func probe(ok func() bool, yes, no string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		text := yes
		if !ok() {
			w.WriteHeader(http.StatusServiceUnavailable)
			text = no
		}
		_, _ = io.WriteString(w, text+"\n") // the reader may be gone
	}
}

// serveReady says which questions got no reply too; they do not make the exporter unready,
// because its counters count.
func (e *Exporter) serveReady(w http.ResponseWriter, r *http.Request) {
	lines := []string{"subscribed to events of the broker"}
	if !e.handover.counting.Load() {
		lines = append(lines, "standby: another exporter of the group counts")
	}
	for _, state := range append(e.connections(), e.questions()...) {
		if state.Known && !state.Up && state.Reason != "" {
			lines = append(lines, state.Name+": "+state.Reason)
		}
	}
	not := "not connected to the broker\n" + e.events.read().Reason
	if e.connected.Load() {
		not = "not ready to take over yet\n" + strings.Join(lines, "\n")
	}
	probe(e.Ready, strings.Join(lines, "\n"), not)(w, r)
}

// Serve serves requests on the address until the context ends, with TLS and basic authentication
// if there is a file that asks for them.
func (e *Exporter) Serve(ctx context.Context, address string) error {
	// Slow readers and writers do not hold a connection for ever.
	server := &http.Server{
		Handler: e.Handler(), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: e.writeTimeout, IdleTimeout: 2 * time.Minute,
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	failed := make(chan error, 1)
	go func() {
		failed <- web.Serve(listener, server, &web.FlagConfig{WebConfigFile: &e.options.WebConfigFile}, e.log)
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if err := server.Shutdown(shutdown); errors.Is(err, context.DeadlineExceeded) {
		return server.Close()
	}
	return nil
}

// serveMetrics chooses the format. Native histograms exist in protobuf only, which client_golang
// writes.
func (e *Exporter) serveMetrics() http.Handler {
	text := http.HandlerFunc(e.scrapeText)
	if !e.options.Series.Native {
		return text
	}
	native := prometheus.NewRegistry()
	// The text formats write static labels themselves; the registry has to be given them.
	static := prometheus.Labels{}
	for _, label := range e.options.Series.Static {
		static[label.Name] = label.Value
	}
	prometheus.WrapRegistererWith(static, native).MustRegister(e.tracker.store.Collector())
	all := prometheus.Gatherers{prometheus.GathererFunc(e.gatherOwn), native}
	protobuf := promhttp.HandlerFor(all, promhttp.HandlerOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Prometheus asks for protobuf first as soon as native histograms are turned on in it.
		if expfmt.NegotiateAccept(r.Header, expfmt.DefaultAcceptedFormats()...).FormatType() == expfmt.TypeProtoDelim {
			protobuf.ServeHTTP(w, r)
			return
		}
		text.ServeHTTP(w, r)
	})
}

// scrapeText writes Prometheus' text format or OpenMetrics, whichever is asked for.
func (e *Exporter) scrapeText(w http.ResponseWriter, r *http.Request) {
	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	negotiated := expfmt.NegotiateAccept(r.Header, expfmt.DefaultOpenMetricsAcceptedFormats()...)
	if negotiated.FormatType() == expfmt.TypeOpenMetrics {
		format = negotiated
	}
	openMetrics := format.FormatType() == expfmt.TypeOpenMetrics
	// The exporter's own metrics are few; an error in them is known before anything is sent.
	var own bytes.Buffer
	if err := e.writeOwn(&own, format); err != nil {
		http.Error(w, "gather metrics: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", string(format))
	// Caches and proxies must not hand OpenMetrics or gzip to a reader that asked for neither.
	w.Header().Set("Vary", "Accept, Accept-Encoding")
	out, finish := compressed(w, r)
	defer finish()
	// An error from here on is the reader's: it went away.
	_, _ = own.WriteTo(out)
	_ = e.tracker.store.WriteText(out, openMetrics)
	if openMetrics {
		_, _ = io.WriteString(out, "# EOF\n")
	}
}

// gatherOwn leaves out the gauges of workers and queues while another exporter of the group counts:
// one shows them at a time. What it says of itself, such as broker_up, each shows always.
func (e *Exporter) gatherOwn() ([]*dto.MetricFamily, error) {
	families, err := e.metrics.registry.Gather()
	if e.handover.counting.Load() {
		return families, err
	}
	return slices.DeleteFunc(families, func(family *dto.MetricFamily) bool {
		name, ours := strings.CutPrefix(family.GetName(), e.options.Series.Prefix)
		return ours && family.GetType() == dto.MetricType_GAUGE && !strings.HasPrefix(name, "exporter_")
	}), err
}

// writeOwn writes the exporter's own metrics, a few dozen lines, by client_golang.
func (e *Exporter) writeOwn(out io.Writer, format expfmt.Format) error {
	families, err := e.gatherOwn()
	if err != nil {
		return err
	}
	// Without its Close, the encoder of OpenMetrics leaves out the final line, for which it is too
	// early.
	encoder := expfmt.NewEncoder(out, format)
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			return err
		}
	}
	return nil
}

// compressed returns the writer for a response's body, and what must be called at its end.
func compressed(w http.ResponseWriter, r *http.Request) (out io.Writer, finish func()) {
	if !acceptsGzip(r.Header.Get("Accept-Encoding")) {
		return w, func() {}
	}
	zipped, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return w, func() {} // No such level: the response is as good without.
	}
	w.Header().Set("Content-Encoding", "gzip")
	return zipped, func() { _ = zipped.Close() } // the reader may be gone
}

// acceptsGzip reads an Accept-Encoding header (RFC 9110, section 12.5.3).
func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		coding, parameters, _ := strings.Cut(part, ";")
		// A star stands for every coding that is not named.
		if coding = strings.TrimSpace(coding); coding != "gzip" && coding != "*" {
			continue
		}
		weight, found := strings.CutPrefix(strings.TrimSpace(parameters), "q=")
		if !found {
			return true
		}
		q, err := strconv.ParseFloat(weight, 64)
		return err == nil && q > 0
	}
	return false
}
