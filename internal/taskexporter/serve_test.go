// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/crypto/bcrypt"
)

// busy is an exporter that has counted some tasks and workers.
func busy(t *testing.T, args ...string) *bench {
	b := newBench(t, args...)
	b.send(
		beat("w@host", 1, 1),
		event("task-sent", "c@web", 0, sentTo("u", "n", "q")),
		event("task-started", "w@host", 1, of("u")),
		event("task-succeeded", "w@host", 2, of("u")+`, "runtime": 0.3`),
		event("task-failed", "w@host", 2, of("u")+`, "exception": "E()"`),
	)
	return b
}

func (b *bench) get(path string, header ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest("GET", path, nil)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	recorder := httptest.NewRecorder()
	b.Handler().ServeHTTP(recorder, request)
	return recorder
}

func parseText(t *testing.T, text io.Reader) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

func TestTextIsValidAndCarriesStaticLabels(t *testing.T) {
	b := busy(t, "--static-label", "env=prod", "--metric-prefix", "my_")
	families := parseText(t, b.get("/metrics").Body)
	if got := families["my_task_runtime"].GetMetric()[0].GetHistogram(); got.GetSampleCount() != 1 ||
		got.GetSampleSum() != 0.3 {
		t.Errorf("runtime = %v", got)
	}
	if got := families["my_exporter_build_info"].GetMetric(); len(got) != 1 || got[0].GetGauge().GetValue() != 1 {
		t.Errorf("build_info = %v", got)
	}
	for name, family := range families {
		for _, metric := range family.GetMetric() {
			found := false
			for _, label := range metric.GetLabel() {
				found = found || label.GetName() == "env" && label.GetValue() == "prod"
			}
			if !found {
				t.Errorf("%s lacks the static label", name)
			}
		}
		if strings.HasPrefix(name, "celery_") {
			t.Errorf("%s has the default prefix", name)
		}
	}
}

func TestBucketsAreCumulativeAndNamedAsThePeers(t *testing.T) {
	text := busy(t).metricsText()
	for _, line := range []string{
		`celery_task_runtime_bucket{name="n",hostname="host",queue_name="q",le="0.25"} 0`,
		`celery_task_runtime_bucket{name="n",hostname="host",queue_name="q",le="0.5"} 1`,
		`celery_task_runtime_bucket{name="n",hostname="host",queue_name="q",le="1.0"} 1`,
		`celery_task_runtime_bucket{name="n",hostname="host",queue_name="q",le="+Inf"} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("%s is missing", line)
		}
	}
}

func TestOpenMetricsByNegotiation(t *testing.T) {
	response := busy(t).get("/metrics", "Accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
	if got := response.Header().Get("Content-Type"); !strings.HasPrefix(got, "application/openmetrics-text") {
		t.Fatalf("content type %q", got)
	}
	text := response.Body.String()
	if !strings.HasSuffix(text, "\n# EOF\n") || strings.Count(text, "# EOF") != 1 {
		t.Error("the text does not end with one EOF line")
	}
	if !strings.Contains(text, "# TYPE celery_task_sent counter\n") || !strings.Contains(text, "celery_task_sent_total{") {
		t.Error("a counter is not written as OpenMetrics demands")
	}
}

func TestGzip(t *testing.T) {
	b := busy(t)
	for header, want := range map[string]bool{
		"gzip": true, "deflate, gzip;q=0.5": true, "gzip;q=0": false, "identity": false, "": false,
	} {
		response := b.get("/metrics", "Accept-Encoding", header)
		if got := response.Header().Get("Content-Encoding") == "gzip"; got != want {
			t.Errorf("%q: zipped = %v, want %v", header, got, want)
			continue
		}
		var body io.Reader = response.Body
		if want {
			zipped, err := gzip.NewReader(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			body = zipped
		}
		parseText(t, body)
	}
}

func TestNativeHistogramsInProtobuf(t *testing.T) {
	b := busy(t, "--native-histograms", "--static-label", "env=prod")
	response := b.get("/metrics", "Accept",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	decoder := expfmt.NewDecoder(bytes.NewReader(response.Body.Bytes()), expfmt.NewFormat(expfmt.TypeProtoDelim))
	found := map[string]*dto.MetricFamily{}
	for {
		var family dto.MetricFamily
		if err := decoder.Decode(&family); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		found[family.GetName()] = &family
	}
	histogram := found["celery_task_runtime"].GetMetric()[0].GetHistogram()
	if histogram.GetSampleCount() != 1 || len(histogram.GetPositiveSpan()) == 0 || len(histogram.GetBucket()) == 0 {
		t.Errorf("no native and classic histogram: %v", histogram)
	}
	for _, name := range []string{
		"celery_task_sent_total", "celery_task_failed_total", "celery_worker_up", "celery_task_queue_wait_time",
	} {
		if found[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	parseText(t, b.get("/metrics").Body)
}

func TestProbesShowProcessAndBroker(t *testing.T) {
	b := newBench(t)
	b.connected.Store(false)
	if got := b.get("/ready").Code; got != http.StatusServiceUnavailable {
		t.Errorf("/ready without a broker = %d", got)
	}
	if got := b.get("/health").Code; got != http.StatusOK {
		t.Errorf("/health without a broker = %d", got)
	}
	b.connected.Store(true)
	if got := b.get("/ready").Code; got != http.StatusOK {
		t.Errorf("/ready = %d", got)
	}
	b.alive.Store(time.Now().Add(-2 * stuckAfter).Unix())
	if got := b.get("/health").Code; got != http.StatusServiceUnavailable {
		t.Errorf("/health of a stuck process = %d", got)
	}
	if got := b.get("/").Code; got != http.StatusOK {
		t.Errorf("/ = %d", got)
	}
	if got := b.get("/nothing").Code; got != http.StatusNotFound {
		t.Errorf("/nothing = %d", got)
	}
}

func TestServeEndsWithTheContextAndReportsATakenPort(t *testing.T) {
	b := newBench(t)
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	taken := strings.TrimPrefix(server.URL, "http://")
	if err := b.Serve(t.Context(), taken); err == nil || !strings.Contains(err.Error(), "listen") {
		t.Errorf("error = %v, want one about listening", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Serve(ctx, "127.0.0.1:0"); err != nil {
		t.Error(err)
	}
}

func TestScrapesAreLimited(t *testing.T) {
	started, end := make(chan struct{}), make(chan struct{})
	handler := limited(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		started <- struct{}{}
		<-end
	}), 2)
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() { handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil)) })
		<-started
	}
	refused := httptest.NewRecorder()
	handler.ServeHTTP(refused, httptest.NewRequest("GET", "/metrics", nil))
	if refused.Code != http.StatusServiceUnavailable {
		t.Errorf("a third of two at a time = %d", refused.Code)
	}
	close(end)
	running.Wait()
	running.Go(func() { handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil)) })
	<-started // the room is free again
	running.Wait()
}

// writeCertificate writes the certificate of a test server, which its client trusts, to two files.
func writeCertificate(t *testing.T, dir string, certificate tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: certificate.Certificate[0]},
		"tls.key": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestServeTakesTLSAndPasswordsFromItsWebConfiguration(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "web.yml")
	certified := httptest.NewTLSServer(http.NotFoundHandler())
	defer certified.Close()
	writeCertificate(t, dir, certified.TLS.Certificates[0])
	hash, err := bcrypt.GenerateFromPassword([]byte("hunter2"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	text := "tls_server_config: {cert_file: tls.crt, key_file: tls.key}\n" +
		"basic_auth_users: {prometheus: '" + string(hash) + "'}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, "--web.config.file", file)
	address := serve(t, b)
	get := func(password string) int {
		request, _ := http.NewRequestWithContext(t.Context(), "GET", "https://"+address+"/metrics", nil)
		request.SetBasicAuth("prometheus", password)
		response, err := certified.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	for password, want := range map[string]int{"hunter2": http.StatusOK, "wrong": http.StatusUnauthorized} {
		if got := get(password); got != want {
			t.Errorf("password %s: status %d, want %d", password, got, want)
		}
	}
}

// serve serves until the test ends, and returns the address once somebody listens there.
func serve(t *testing.T, b *bench) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		defer close(ended)
		ended <- b.Serve(ctx, address)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			connection.Close()
			return address
		}
		select {
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestServeCutsAReaderThatStopsReading(t *testing.T) {
	b := busy(t)
	b.writeTimeout = 200 * time.Millisecond
	connection, err := net.Dial("tcp", serve(t, b))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	// So many responses that the buffers between the two do not hold them.
	request := []byte("GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n")
	if _, err := connection.Write(bytes.Repeat(request, 5000)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		// What is written after the other side closed the connection is refused.
		if _, err := connection.Write([]byte("\r\n")); err != nil {
			return
		}
	}
	t.Error("the connection is open still")
}
