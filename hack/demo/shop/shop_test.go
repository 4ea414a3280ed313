// SPDX-License-Identifier: Apache-2.0

package shop

import (
	"context"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// TestMetricsAreThoseOfTheFramework compares with what the framework exposed when it was scraped.
func TestMetricsAreThoseOfTheFramework(t *testing.T) {
	server := start(t)
	for n := range 10 {
		if err := ask(t.Context(), http.DefaultClient, server.Address, n); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.Open("../../../test/scrapes/fastapi.prom")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	known := families(t, file)
	for name, family := range scrape(t, server) {
		// The rest is about the process, and which of it there is depends on the library.
		if !strings.HasPrefix(name, "http_") {
			continue
		}
		like := known[name]
		if like == nil {
			t.Errorf("the framework has no %s", name)
			continue
		}
		if family.GetType() != like.GetType() {
			t.Errorf("%s is a %v, that of the framework a %v", name, family.GetType(), like.GetType())
		}
		if got, want := labels(family), labels(like); !slices.Equal(got, want) {
			t.Errorf("%s has the labels %v, that of the framework %v", name, got, want)
		}
	}
}

func TestOrdersFailEveryFifthTime(t *testing.T) {
	server := start(t)
	for range 10 {
		response, err := http.Post("http://"+server.Address+"/orders", "", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
	}
	counts := map[string]float64{}
	for _, m := range scrape(t, server)["http_requests_total"].GetMetric() {
		for _, label := range m.GetLabel() {
			if label.GetName() == "status" {
				counts[label.GetValue()] += m.GetCounter().GetValue()
			}
		}
	}
	if want := map[string]float64{"2xx": 8, "5xx": 2}; !maps.Equal(counts, want) {
		t.Errorf("requests by status: %v, want %v", counts, want)
	}
}

func TestLoadRisesAndFalls(t *testing.T) {
	shortest, longest := time.Hour, time.Duration(0)
	for n := range 120 * Rate {
		shortest, longest = min(shortest, pause(n).Round(time.Millisecond)), max(longest, pause(n).Round(time.Millisecond))
	}
	if shortest != 75*time.Millisecond || longest != 150*time.Millisecond {
		t.Errorf("pauses of %s to %s, want 75ms to 150ms: four thirds of the rate to two thirds", shortest, longest)
	}
}

func TestLoadSaysThatAServerIsGone(t *testing.T) {
	server, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := ask(context.Background(), http.DefaultClient, server.Address, 0); err == nil {
		t.Error("a request to a server that is stopped is no failure")
	}
}

func start(t *testing.T) *Server {
	t.Helper()
	server, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func scrape(t *testing.T, server *Server) map[string]*dto.MetricFamily {
	t.Helper()
	response, err := http.Get("http://" + server.Address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	return families(t, response.Body)
}

func families(t *testing.T, text io.Reader) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	found, err := parser.TextToMetricFamilies(text)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// labels of a family's first series.
func labels(family *dto.MetricFamily) []string {
	var names []string
	for _, label := range family.GetMetric()[0].GetLabel() {
		names = append(names, label.GetName())
	}
	slices.Sort(names)
	return names
}
