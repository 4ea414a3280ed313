// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"obstack.dev/obstack/test/testenv"
)

// running is the exporter's program.
type running struct {
	*process
	url string
}

// start starts the exporter and waits until it serves.
func start(t testing.TB, broker string, args ...string) *running {
	t.Helper()
	parts(t)
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	args = append([]string{
		path, "--host", "127.0.0.1", "--port", fmt.Sprint(port), "--log-level", "DEBUG", "--queue-interval", "1",
	}, args...)
	e := &running{
		run(t, "exporter", []string{"CE_BROKER_URL=" + broker, "GOCOVERDIR=" + coverage}, args...),
		fmt.Sprintf("http://127.0.0.1:%d", port),
	}
	// Only a program that ends by itself writes down which of its code was run.
	t.Cleanup(func() { _ = e.Stop(syscall.SIGTERM, 5*time.Second) }) // what does not end is killed
	eventually(t, "the exporter serves", func() bool { return e.status("/health") == http.StatusOK })
	return e
}

// startReady starts the exporter and waits until it is subscribed.
func startReady(t testing.TB, broker string, args ...string) *running {
	t.Helper()
	e := start(t, broker, args...)
	e.ready()
	return e
}

func (e *running) ready() {
	e.t.Helper()
	eventually(e.t, "the exporter is ready", func() bool { return e.status("/ready") == http.StatusOK })
}

func (e *running) status(path string) int {
	response, err := http.Get(e.url + path)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}

// scrape returns the metrics, and fails the test if they are not valid.
func (e *running) scrape() map[string]*dto.MetricFamily {
	e.t.Helper()
	response, err := http.Get(e.url + "/metrics")
	if err != nil {
		e.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		e.t.Fatalf("status %d, error %v", response.StatusCode, err)
	}
	if bytes.Contains(text, []byte("nobody may see")) {
		e.t.Error("the text of an exception or a result is exposed")
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		e.t.Fatal(err)
	}
	return families
}

// counts returns the samples above zero of families with that prefix, the host names left out:
// "state{a,b}" with the other labels' values.
func (e *running) counts(prefix string) map[string]float64 {
	e.t.Helper()
	found := map[string]float64{}
	for name, family := range e.scrape() {
		short, matches := strings.CutPrefix(name, prefix)
		if !matches {
			continue
		}
		for _, metric := range family.GetMetric() {
			if n := value(metric); n != 0 {
				found[strings.TrimSuffix(short, "_total")+labels(metric)] += n
			}
		}
	}
	return found
}

func labels(metric *dto.Metric) string {
	values := map[string]string{}
	for _, label := range metric.GetLabel() {
		values[label.GetName()] = label.GetValue()
	}
	var shown []string
	for _, name := range []string{"name", "queue_name", "exception", "task_events", "reason", "type", "question"} {
		if v := values[name]; v != "" {
			shown = append(shown, v)
		}
	}
	return "{" + strings.Join(shown, ",") + "}"
}

func value(metric *dto.Metric) float64 {
	switch {
	case metric.GetCounter() != nil:
		return metric.GetCounter().GetValue()
	case metric.GetHistogram() != nil:
		return float64(metric.GetHistogram().GetSampleCount())
	default:
		return metric.GetGauge().GetValue()
	}
}

// one returns a sample of a family that has just one.
func (e *running) one(name string) float64 {
	e.t.Helper()
	family := e.scrape()[name]
	if len(family.GetMetric()) != 1 {
		e.t.Fatalf("%s has %d series, want 1", name, len(family.GetMetric()))
	}
	return value(family.GetMetric()[0])
}

// becomes waits until the samples with a prefix are as wanted, and checks that they stay so.
func (e *running) becomes(prefix string, want map[string]float64) {
	e.t.Helper()
	end := time.Now().Add(testenv.Timeout)
	var diff string
	for time.Now().Before(end) {
		if diff = difference(want, e.counts(prefix)); diff == "" {
			time.Sleep(time.Second)
			if diff = difference(want, e.counts(prefix)); diff == "" {
				return
			}
		}
		time.Sleep(200 * time.Millisecond)
	}
	e.t.Errorf("%s after %v (-want +got):\n%s", prefix, testenv.Timeout, diff)
}

// terminate ends the exporter as Kubernetes does and returns how long that took.
func (e *running) terminate() time.Duration {
	e.t.Helper()
	began := time.Now()
	e.stop(syscall.SIGTERM)
	return time.Since(began)
}
