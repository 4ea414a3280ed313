// SPDX-License-Identifier: Apache-2.0

package promclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fake is a server that is none: it has one response to everything.
func fake(t *testing.T, status int, body string) (Client, *[]string) {
	t.Helper()
	asked := &[]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.URL.String())
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return client(t, server.URL+"/prefix"), asked
}

func client(t *testing.T, address string) Client {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return Client{URL: parsed, HTTP: http.DefaultClient}
}

func TestQueryReadsSamples(t *testing.T) {
	server, asked := fake(t, 200, `{"warnings":["a"],"status":"success","data":{"resultType":"vector","result":[
		{"metric":{"namespace":"shop","obstack_monitor":"api"},"value":[1435781451.781,"1"]},
		{"metric":{},"value":[1435781451.781,"+Inf"]}],"stats":{"deep":[[{"x":1}]]}}}`)
	var got []Sample
	if err := server.Query(t.Context(), "up", func(s Sample) { got = append(got, s) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Value != 1 || got[0].Labels["obstack_monitor"] != "api" {
		t.Errorf("samples = %v", got)
	}
	if got := (*asked)[0]; !strings.HasPrefix(got, "/prefix/api/v1/query?") || !strings.Contains(got, "query=up") {
		t.Errorf("asked %s", got)
	}
}

func TestTargetsSayWhyInOurWords(t *testing.T) {
	server, asked := fake(t, 200, `{"status":"success","data":{"activeTargets":[
		{"discoveredLabels":{"__address__":"10.0.0.1:80"},"labels":{"obstack_stack":"shop"},
		 "scrapePool":"serviceMonitor/shop/shop-api/0","health":"up","lastError":""},
		{"labels":{},"scrapePool":"p","health":"down",
		 "lastError":"Get \"http://u:secret@10.0.0.1/404\": dial tcp 10.0.0.1:80: connect: connection refused"}
		],"droppedTargets":[]}}`)
	var got []Target
	if err := server.Targets(t.Context(), func(target Target) { got = append(got, target) }); err != nil {
		t.Fatal(err)
	}
	want := []Target{
		{Labels: map[string]string{"obstack_stack": "shop"}, Pool: "serviceMonitor/shop/shop-api/0", Up: true},
		{Labels: map[string]string{}, Pool: "p", Fault: "connection refused: nothing listens on the port"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
	if !strings.Contains((*asked)[0], "state=active") {
		t.Errorf("asked for dropped targets too: %v", *asked)
	}
}

func TestRulesKeepTheFirstThatFails(t *testing.T) {
	server, _ := fake(t, 200, `{"status":"success","data":{"groups":[
		{"rules":[{"name":"A","health":"ok"},
		          {"name":"B","health":"err","lastError":"found duplicate series for the match group {secret=\"x\"}"},
		          {"name":"C","health":"err","lastError":"query timed out"}],"file":"f.yaml","interval":30,"name":"g"},
		{"name":"new","file":"f.yaml","rules":[{"name":"A","health":"unknown"}]},
		{"name":"empty","file":"f.yaml","rules":null}]}}`)
	var got []Group
	if err := server.Rules(t.Context(), []string{`{a="b"}`}, func(g Group) { got = append(got, g) }); err != nil {
		t.Fatal(err)
	}
	want := []Group{
		{Name: "g", File: "f.yaml", Evaluated: true, Failing: "B", Fault: "several series have the same labels"},
		{Name: "new", File: "f.yaml"}, {Name: "empty", File: "f.yaml", Evaluated: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
}

func TestRulesOfSomeServersAreNotAll(t *testing.T) {
	for body, want := range map[string]error{
		`{"status":"success","data":{"groups":[]},"warnings":["secret"]}`: Partial,
		`{"status":"success","data":{"groups":[]},"warnings":[]}`:         nil,
	} {
		server, _ := fake(t, 200, body)
		if err := server.Rules(t.Context(), nil, func(Group) {}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", body, err, want)
		}
	}
}

func TestOnlyAPrometheusHasAReloadedConfiguration(t *testing.T) {
	for body, want := range map[string]bool{
		`{"status":"success","data":{"CWD":"/","reloadConfigSuccess":true}}`: true,
		`{"status":"success","data":{"CWD":"/"}}`:                            false,
	} {
		server, _ := fake(t, 200, body)
		if got, err := server.IsPrometheus(t.Context()); got != want || err != nil {
			t.Errorf("%s: %v, %v", body, got, err)
		}
	}
	server, _ := fake(t, 404, "")
	if got, err := server.IsPrometheus(t.Context()); got || err != nil {
		t.Errorf("a server without runtimeinfo: %v, %v", got, err)
	}
}

func TestFailuresAreInOurWords(t *testing.T) {
	const secret = "secret"
	for name, tc := range map[string]struct {
		status int
		body   string
		want   Failure
	}{
		"denied":       {401, secret, Denied},
		"forbidden":    {403, secret, Denied},
		"not served":   {404, secret, NotServed},
		"unavailable":  {503, secret, Refused},
		"elsewhere":    {307, secret, Redirected},
		"error":        {200, `{"status":"error","error":"secret"}`, NotUnderstood},
		"a page":       {200, "<html>secret</html>", NotUnderstood},
		"cut":          {200, `{"status":"success","data":{"result":[{"metric":{},`, NotUnderstood},
		"another type": {200, `{"status":"success","data":{"result":{}}}`, NotUnderstood},
		"no number":    {200, `{"status":"success","data":{"result":[{"metric":{},"value":[1,"secret"]}]}}`, NotUnderstood},
		"a deep value": {200, `{"status":"success","data":{"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) +
			`}}`, NotUnderstood},
		"a huge value": {200, `{"status":"success","data":{"x":"` + strings.Repeat("x", 2*valueLimit) + `"}}`, TooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			server, _ := fake(t, tc.status, tc.body)
			if err := server.Query(t.Context(), "up", func(Sample) {}); !errors.Is(err, tc.want) {
				t.Errorf("error = %v, want %v", err, tc.want)
			}
		})
	}
}

func TestFailuresOfTheNetwork(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	secure := httptest.NewTLSServer(nil)
	defer secure.Close()
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"status":"success","data":{"result":[`)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer slow.Close()
	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"status":`)
	}))
	defer cut.Close()
	for _, tc := range []struct {
		url  string
		want Failure
	}{
		{gone.URL, ConnectionRefused}, {secure.URL, Insecure}, {slow.URL, TimedOut}, {cut.URL, Unreachable},
		{"http://nowhere.invalid", Unresolved},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		err := client(t, tc.url).Query(ctx, "up", func(Sample) {})
		cancel()
		var unresolved *net.DNSError
		if errors.As(err, &unresolved) || !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.url, err, tc.want)
		}
	}
}

func TestFaultsAreClasses(t *testing.T) {
	for _, tc := range []struct {
		of         func(string) string
		text, want string
	}{
		{scrapeFault, `Get "http://x/limit exceeded": dial tcp 10.1.1.1:80: connection refused`, "connection refused"},
		{scrapeFault, `Get "http://10.1.1.1/metrics": context deadline exceeded`, "timeout"},
		{scrapeFault, `Get "http://10.1.1.1/metrics": dial tcp 10.1.1.1:80: i/o timeout`, "timeout"},
		{scrapeFault, `Get "http://x/metrics": dial tcp: lookup x on 10.0.0.10:53: no such host`, "it cannot be reached"},
		{scrapeFault, `Get "https://10.1.1.1/metrics": http: server gave HTTP response to HTTPS client`, "TLS fails"},
		{scrapeFault, `Get "https://x": tls: failed to verify certificate: x509: unknown authority`, "TLS fails"},
		{scrapeFault, `server returned HTTP status 401 Unauthorized`, "access is denied"},
		{scrapeFault, `server returned HTTP status 403 Forbidden`, "access is denied"},
		{scrapeFault, `server returned HTTP status 404 Not Found`, "not found (404)"},
		{scrapeFault, `server returned HTTP status 500 Internal Server Error`, "the response is an error"},
		{scrapeFault, `expected a valid start token, got "<" ("INVALID") while parsing: "<"`, "not metrics"},
		{scrapeFault, `received unsupported Content-Type "text/html" and no fallback_scrape_protocol`, "not metrics"},
		{scrapeFault, `non-compliant scrape target sending blank Content-Type and no fallback`, "not metrics"},
		{scrapeFault, `sample limit exceeded`, "over a limit"},
		{scrapeFault, `body size limit exceeded`, "over a limit"},
		{scrapeFault, `label_limit exceeded (metric: x, number of labels: 40, limit: 30)`, "over a limit"},
		{scrapeFault, `secret`, "another error"},
		{scrapeFault, ``, "not scraped yet"},
		{ruleFault, `query timed out in expression evaluation`, "timeout"},
		{ruleFault, `query processing would load too many samples into memory`, "over a limit"},
		{ruleFault, `vector cannot contain metrics with the same labelset`, "several series"},
		{ruleFault, `many-to-many matching not allowed: matching labels must be unique`, "several series"},
		{ruleFault, `vector contains metrics with the same labelset after applying rules`, "several series"},
		{ruleFault, `secret`, "another error"},
	} {
		if got := tc.of(tc.text); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: %s, want %s", tc.text, got, tc.want)
		}
	}
}

// TestTargetsAreNotHeldInMemory: 20,000 targets, 50 MB of JSON, take little more than one.
func TestTargetsAreNotHeldInMemory(t *testing.T) {
	const targets = 20000
	labels := strings.Repeat(`"__meta_kubernetes_pod_label_app_kubernetes_io_name":"a-value-of-some-length",`, 30)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"status":"success","data":{"activeTargets":[`)
		for i := range targets {
			fmt.Fprintf(w, `{"discoveredLabels":{%s"i":"%d"},"labels":{"obstack_stack":"s"},"health":"up"},`, labels, i)
		}
		_, _ = io.WriteString(w, `{"health":"up"}],"droppedTargets":null}}`)
	}))
	defer server.Close()
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var seen int
	var most uint64
	err := client(t, server.URL).Targets(t.Context(), func(Target) {
		if seen++; seen%2000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
	})
	if err != nil || seen != targets+1 {
		t.Fatalf("%d targets, %v", seen, err)
	}
	if grown := int64(most) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("%d bytes of live heap more while 20,000 targets are read, want at most 4 MiB", grown)
	}
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte(`{"status":"success","data":{"result":[{"metric":{"a":"b"},"value":[1,"2"]}]}}`))
	f.Add([]byte(`{"status":"success","data":{"result":[{"metric":{},"values":[[1,"NaN"],[2.5,"3"]]}]}}`))
	f.Add([]byte(`{"status":"success","data":["a","b"]}`))
	f.Add([]byte(`{"status":"success","data":{"groups":[{"name":"g","rules":[{"health":"err"}]}]}}`))
	f.Add([]byte(`{"status":"success","data":{"activeTargets":[{"labels":{"a":"b"}}],"droppedTargets":[[[{}]]]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		server := client(t, "http://fake")
		server.HTTP = &http.Client{Transport: constant(body)}
		over := Range{From: time.Unix(0, 0), To: time.Unix(60, 0), Step: time.Second}
		_, ofVector := server.QueryAt(t.Context(), "up", over.To, 3, func(Sample) {})
		_, ofRange := server.QueryRange(t.Context(), "up", over, 3, func(Series) {})
		_, ofValues := server.LabelValues(t.Context(), "job", "up", over, 3, func(string) {})
		var failure Failure
		for _, err := range []error{
			server.Query(t.Context(), "up", func(Sample) {}), server.Targets(t.Context(), func(Target) {}),
			server.Rules(t.Context(), nil, func(Group) {}), ofVector, ofRange, ofValues,
		} {
			if err != nil && !errors.As(err, &failure) {
				t.Errorf("%v is no Failure", err)
			}
		}
	})
}

// constant is a transport with one response to everything.
type constant []byte

func (c constant) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(string(c)))}, nil
}
