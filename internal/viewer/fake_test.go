// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"obstack.dev/obstack/controllers/proof/promclient"
)

// noon is what time it is in tests.
var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// fake is a server that has series for every query: two values for each label that it groups by.
// The real one is in test/dashboards.
type fake struct {
	*httptest.Server

	mu    sync.Mutex
	asked map[string]int
	// respond instead, if set.
	respond http.HandlerFunc
}

func newFake(t testing.TB) *fake {
	t.Helper()
	f := &fake{asked: map[string]int{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) client(t testing.TB) promclient.Client {
	t.Helper()
	address, err := url.Parse(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	return promclient.Client{URL: address, HTTP: f.Client()}
}

// questions are how many were sent, and the most that one was.
func (f *fake) questions() (all, most int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.asked {
		all, most = all+n, max(most, n)
	}
	return all, most
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked[r.URL.String()]++
	f.mu.Unlock()
	query := r.URL.Query()
	switch {
	case r.Method != http.MethodGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case f.respond != nil:
		f.respond(w, r)
	case strings.HasSuffix(r.URL.Path, "/values"):
		_, _ = fmt.Fprint(w, `{"status":"success","data":["emails","celery"]}`)
	default:
		respond(w, seriesOf(query))
	}
}

func respond(w http.ResponseWriter, result []any) {
	_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"result": result}})
}

var grouped = regexp.MustCompile(`by \(([^)]*)\)`)

func seriesOf(query url.Values) (result []any) {
	labels := map[string][]string{}
	if found := grouped.FindStringSubmatch(query.Get("query")); found != nil {
		for name := range strings.SplitSeq(found[1], ",") {
			name = strings.TrimSpace(name)
			labels[name] = []string{name + "-1", name + "-2"}
			if name == "le" {
				labels[name] = []string{"0.1", "0.5", "1", "+Inf"}
			}
		}
	}
	for i, metric := range combined(labels) {
		result = append(result, map[string]any{
			"metric": metric, "value": sampleAt(query, "time", i), "values": samplesOf(query, i),
		})
	}
	return result
}

// combined labels: the first of each, the second of each, and so on.
func combined(labels map[string][]string) (all []map[string]string) {
	for i := range 4 {
		metric := map[string]string{}
		for name, values := range labels {
			if i < len(values) {
				metric[name] = values[i]
			}
		}
		if len(metric) > 0 || i == 0 {
			all = append(all, metric)
		}
	}
	return all
}

func samplesOf(query url.Values, i int) (samples []any) {
	from, _ := strconv.ParseFloat(query.Get("start"), 64)
	to, _ := strconv.ParseFloat(query.Get("end"), 64)
	step, _ := strconv.ParseFloat(query.Get("step"), 64)
	for at := from; step > 0 && at <= to; at += step {
		samples = append(samples, []any{at, valueAt(query.Get("query"), at, i)})
	}
	return samples
}

func sampleAt(query url.Values, name string, i int) []any {
	at, _ := strconv.ParseFloat(query.Get(name), 64)
	return []any{at, valueAt(query.Get("query"), at, i)}
}

// valueAt is between 0 and 1 for ratios and quantiles, and up to 20 for the rest.
func valueAt(expr string, at float64, i int) string {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(expr))
	most := 20.0
	if strings.Contains(expr, "/") || strings.Contains(expr, "quantile") {
		most = 1
	}
	phase := float64(hash.Sum32()%1000)/1000 + float64(i)/3
	return strconv.FormatFloat(most*(float64(i)+2+math.Sin(at/900+6*phase))/8, 'f', 4, 64)
}
