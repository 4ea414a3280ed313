// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"obstack.dev/obstack/controllers/proof/promclient"
)

// attack is what a label may hold.
const attack = `<script>alert("x")</script>'"` + "`]]>&{{.}}\x00\u202e"

// hostile responses to a range query, and to the others, with a text in all labels. Of an empty
// value there is no sample.
func hostile(text string, series int, value func(series, point int) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/values") {
			values := make([]string, 2000)
			for i := range values {
				values[i] = fmt.Sprintf("%s %d", text, i)
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": values})
			return
		}
		labels, _ := json.Marshal(map[string]string{
			"name": text, "le": "NUMBER", "alertname": text, "queue_name": text + "NUMBER",
		})
		times := samplesOf(r.URL.Query(), 0)
		_, _ = io.WriteString(w, `{"status":"success","data":{"result":[{"metric":{},"value":[0,"1"],"values":[]}`)
		for i := range series {
			var samples []string
			for j := range times {
				if v := value(i, j); v != "" {
					samples = append(samples, fmt.Sprintf("[%.0f,%q]", times[j].([]any)[0], v))
				}
			}
			metric := strings.ReplaceAll(string(labels), "NUMBER", strconv.Itoa(i))
			if _, err := fmt.Fprintf(w, `,{"metric":%s,"value":[0,%q],"values":[%s]}`, metric, value(i, 0),
				strings.Join(samples, ",")); err != nil {
				return
			}
		}
		_, _ = io.WriteString(w, `]}}`)
	}
}

// TestHostileValues: whatever labels and values Prometheus has, each page is drawn within 2 seconds
// and 64 MiB, no text becomes markup, and no coordinate is not a number.
func TestHostileValues(t *testing.T) {
	wild := []string{"NaN", "+Inf", "-Inf", "0", "-1", "1e308", "-1e308", "5e-324", "1e-9", "12345678.9"}
	for name, respond := range map[string]http.HandlerFunc{
		"10,000 series": hostile(attack, 10_000, func(i, j int) string { return fmt.Sprint(i + j) }),
		"wild values":   hostile(attack, 40, func(i, j int) string { return wild[(i+j)%len(wild)] }),
		"gaps": hostile(attack, 40, func(i, j int) string {
			if j%(i+2) > i/2 { // From one sample without neighbours to many at a time.
				return ""
			}
			return wild[(i+j)%len(wild)]
		}),
		"no number": hostile(attack, 3, func(int, int) string { return "NaN" }),
		"one value": hostile(attack, 3, func(i, _ int) string { return wild[i+3] }),
		"huge labels": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(w, `{"status":"success","data":{"result":[
				{"metric":{"name":%q},"value":[1,"1"],"values":[[1,"1"]]}]}}`, strings.Repeat(attack[:8], 200_000))
		},
		"no JSON":  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"no end":   endless(`{"status":"success","data":{"result":[`, `{"metric":{},"values":[[1,"1"]],"value":[1,"1"]},`),
		"one word": endless(`{"status":"success","data":{"result":[{"metric":{"a":"`, strings.Repeat("x", 1000)),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.respond = respond
			for _, d := range stackDashboards(t) {
				if !slices.Contains([]string{"Stack overview", "HTTP (fastapi)", "Tasks"}, strings.Split(d.Title, ":")[0]) {
					continue // The others are like that of FastAPI.
				}
				v := newViewer(t, f, d)
				var body string
				began := processorTime(t)
				most := heapDuring(func() {
					body = get(t, v, d.path()+"?from=now-6h&var-queue="+url.QueryEscape(attack)).Body.String()
				})
				if took := processorTime(t) - began; took > 2*time.Second || most > 64<<20 {
					t.Errorf("%s took %v and %d bytes, want at most 2 s and 64 MiB", d.Title, took, most)
				}
				wantNoMarkup(t, d, body)
			}
		})
	}
}

// constant is a transport with one response to everything.
type constant string

// RoundTrip implements http.RoundTripper.
func (c constant) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(c)))}, nil
}

// TestKeptRepliesAreBounded in bytes, whatever they consist of.
func TestKeptRepliesAreBounded(t *testing.T) {
	var labels []string
	for i := range maxLabels {
		labels = append(labels, fmt.Sprintf("%q:%q", fmt.Sprintf("%0*d", maxLabel, i), strings.Repeat("x", maxLabel)))
	}
	labelled := `{"metric":{` + strings.Join(labels, ",") + `},"value":[1,"1"]}`
	for name, tc := range map[string]struct {
		questions    int
		expr, result string
	}{
		"nothing":        {150_000, "up", ""},
		"long questions": {10_000, strings.Repeat("x", 8000), ""},
		"labels":         {12, "up", strings.TrimSuffix(strings.Repeat(labelled+",", maxRows), ",")},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(promclient.Client{
				URL: &url.URL{Scheme: "http", Host: "fake"}, HTTP: &http.Client{Transport: constant(
					`{"status":"success","data":{"result":[` + tc.result + `]}}`)},
			})
			before := heap()
			for i := range tc.questions {
				if r := s.ask(t.Context(), question{expr: tc.expr + strconv.Itoa(i), limit: maxRows}); r.err != nil {
					t.Fatal(r.err)
				}
			}
			if grown := int64(heap() - before); grown > 2*maxKept || len(s.kept) < 2 {
				t.Errorf("%d replies take %d bytes, want at most %d", len(s.kept), grown, 2*maxKept)
			}
			runtime.KeepAlive(s)
		})
	}
}

// TestQueriesStayWithTheStack whatever a request chooses: by the parser of Prometheus, each
// selector has the namespace of the stack.
func TestQueriesStayWithTheStack(t *testing.T) {
	for _, value := range []string{
		attack, `"} or up{namespace="other`, `\"} or up #`, `\`, "\n", "'", ".*", "|", "$__all", "$namespace",
		"${requests:raw}",
	} {
		for _, d := range stackDashboards(t) {
			request := url.Values{}
			for _, v := range d.Templating.List {
				request["var-"+v.Name] = []string{value, value + "2"}
			}
			in := d.choose(t.Context(), newSource(newFake(t).client(t)), window{noon.Add(-time.Hour), noon}, request)
			for i := range d.Annotations.List {
				wantNamespace(t, d.Annotations.List[i].question(in).expr, "shop")
			}
			for i := range d.Panels {
				for j := range d.Panels[i].Targets {
					wantNamespace(t, d.Panels[i].question(&d.Panels[i].Targets[j], in).expr, "shop")
				}
			}
		}
	}
}

func wantNamespace(t *testing.T, expr, namespace string) {
	t.Helper()
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	for _, selector := range parser.ExtractSelectors(parsed) {
		if !slices.ContainsFunc(selector, func(m *labels.Matcher) bool {
			return m.Type == labels.MatchEqual && m.Name == "namespace" && m.Value == namespace
		}) {
			t.Errorf("%s asks for other namespaces than %s", expr, namespace)
		}
	}
}

func endless(begins, goesOn string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, err := io.WriteString(w, begins)
		for err == nil && r.Context().Err() == nil {
			_, err = io.WriteString(w, goesOn)
		}
	}
}

// processorTime is what this process has used, for the fake Prometheus too. By the clock it depends
// on what else the machine does.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// heapDuring is the most that the heap grows by while something is done, for the fake Prometheus
// too. Garbage is collected early, to count little of it.
func heapDuring(do func()) int64 {
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	before := heap()
	done, most := make(chan struct{}), make(chan int64)
	go func() {
		live, grown := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}, int64(0)
		for ticks, over := time.Tick(time.Millisecond), false; !over; {
			select {
			case <-done:
				over = true
			case <-ticks:
			}
			metrics.Read(live)
			grown = max(grown, int64(live[0].Value.Uint64()-before))
		}
		most <- grown
	}()
	do()
	close(done)
	return <-most
}

func wantNoMarkup(t *testing.T, d *Dashboard, body string) {
	t.Helper()
	if n := strings.Count(body, "<script"); n != 1 {
		t.Errorf("%s: %d scripts, want the page's own", d.Title, n)
	}
	for _, bad := range []string{`="NaN`, `="+Inf`, `="-Inf`, "MNaN", "LNaN", " NaN", "\x00", "javascript:"} {
		if at := strings.Index(body, bad); at >= 0 {
			t.Errorf("%s has %q in it: %s", d.Title, bad, body[max(0, at-200):min(len(body), at+100)])
		}
	}
	if !strings.HasSuffix(strings.TrimSpace(body), "</html>") {
		t.Errorf("%s has no end", d.Title)
	}
}

// TestParseRefuses what is no dashboard, with a reason.
func TestParseRefuses(t *testing.T) {
	of := func(rest string) string { return `{"uid":"u","title":"T",` + rest + `}` }
	for content, want := range map[string]string{
		`{`: "unexpected end", `[]`: "cannot unmarshal array", `{"title":"T"}`: "no uid", `{"uid":"u"}`: "no title",
		of(`"panels":[` + strings.Repeat(`{},`, 200) + `{}]`):              "201 panels",
		of(`"panels":[{"targets":[` + strings.Repeat(`{},`, 26) + `{}]}]`): "27 queries",
		of(`"templating":{"list":[` + strings.Repeat(`{},`, 100) + `{}]}`): "101 variables",
		of(`"annotations":{"list":[` + strings.Repeat(`{},`, 20) + `{}]}`): "21 annotations",
		of(`"panels":[{"gridPos":{"x":"left"}}]`):                          "cannot unmarshal",
		of(`"description":"` + strings.Repeat("x", maxBytes) + `"`):        "bytes, at most",
		of(`"templating":{"list":[{"current":{"value":{}}}]}`):             "cannot unmarshal",
		of(`"panels":[{"fieldConfig":{"defaults":{"decimals":"many"}}}]`):  "cannot unmarshal",
	} {
		if _, err := Parse([]byte(content)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", cut(content, 100), err, want)
		}
	}
}

// FuzzDashboard: whatever parses is served, with whatever labels Prometheus has.
func FuzzDashboard(f *testing.F) {
	for _, name := range []string{"overview", "http", "tasks"} {
		content, err := os.ReadFile("../../controllers/desired/dashboards/" + name + ".json")
		if err != nil {
			f.Fatal(err)
		}
		var whole map[string]any
		if err := json.Unmarshal(content, &whole); err != nil {
			f.Fatal(err)
		}
		for _, p := range whole["panels"].([]any) {
			one, _ := json.Marshal(map[string]any{
				"uid": "u", "title": "T", "panels": []any{p}, "templating": whole["templating"],
			})
			f.Add(one, "now-1h", attack)
		}
	}
	f.Add([]byte(`{"uid":"u/../x","title":"$x","panels":[{"type":"row","panels":[{}]}]}`), "now-0s", "$__all")
	f.Add([]byte(`{"uid":"u","title":"T","panels":[{"type":"timeseries","fieldConfig":{"defaults":{"min":1e308,
		"max":-1e308,"unit":"s"}},"targets":[{"interval":"-1s"},{"interval":"9999h"}]}]}`), "0", "")
	server := newFake(f)
	wild := []string{"1", "NaN", "", "+Inf", "-3", "1e308", "0.2"}
	f.Fuzz(func(t *testing.T, content []byte, from, chosen string) {
		d, err := Parse(content)
		if err != nil {
			return
		}
		server.respond = hostile(chosen, 7, func(i, j int) string { return wild[(i*j)%len(wild)] })
		v := newViewer(t, server, d)
		query := url.Values{"from": {from}, "var-queue": {chosen}, "refresh": {chosen}, "width": {chosen}}
		response := get(t, v, d.path()+"?"+query.Encode())
		if response.Code == http.StatusNotFound { // A path that ServeMux cleans.
			return
		}
		body := response.Body.String()
		n := strings.Count(body, "<script")
		if response.Code == http.StatusOK && (n != 1 || strings.Contains(body, `="NaN`)) {
			t.Errorf("status %d, %d scripts:\n%s", response.Code, n, body)
		}
	})
}
