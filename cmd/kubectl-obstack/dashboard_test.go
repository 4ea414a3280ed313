// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/proof/promclient"
	"obstack.dev/obstack/test/testenv"
)

// serving is a dashboard command that runs.
type serving struct {
	// says is what it prints, and address where it serves.
	says, address string
	errs          *bytes.Buffer
	interrupt     func()
	code          chan int
}

var servesAt = regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+ until`)

// serve runs the command until the test ends or interrupts it.
func serve(t *testing.T, kubeconfig string, args ...string) serving {
	t.Helper()
	t.Setenv("KUBECONFIG", kubeconfig)
	ctx, interrupt := context.WithCancel(t.Context())
	t.Cleanup(interrupt)
	s := serving{errs: &bytes.Buffer{}, interrupt: interrupt, code: make(chan int, 1)}
	read, write := io.Pipe()
	go func() {
		s.code <- run(ctx, append([]string{"dashboard", "--no-open"}, args...),
			genericiooptions.IOStreams{In: strings.NewReader(""), Out: write, ErrOut: s.errs})
		_ = write.Close()
	}()
	lines := bufio.NewScanner(read)
	for s.address == "" && lines.Scan() {
		s.says += lines.Text() + "\n"
		s.address = strings.TrimSuffix(servesAt.FindString(lines.Text()), " until")
	}
	if s.address == "" {
		t.Fatalf("it ends with %d and says %q", <-s.code, s.errs.String())
	}
	go func() { _, _ = io.Copy(io.Discard, read) }()
	return s
}

// get a page by the name of some host.
func (s serving) get(t *testing.T, path, host string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		request.Host = host
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestDashboard(t *testing.T) {
	b := newVerifyBench(t)
	testenv.Create(t, b.api, stackFile(t, "../verify/shop"))
	admin, limited := b.kubeconfig(t, b.Kubeconfig), b.kubeconfig(t, reader(t, b.ControlPlane, b.api))
	t.Run("by way of the API server", func(t *testing.T) { b.testDashboard(t, admin) })
	t.Run("from an address", func(t *testing.T) { testDashboardFrom(t, limited) })
	t.Run("all stacks", func(t *testing.T) { testAllStacks(t, admin) })
	t.Run("of a platform's url", func(t *testing.T) { b.testPlatformURL(t, admin) })
	redirecting := httptest.NewServer(http.RedirectHandler("http://127.0.0.1:1/", http.StatusFound))
	defer redirecting.Close()
	another := stackFile(t, "../verify/shop")
	another.Name = "another"
	testenv.Create(t, b.api, another)
	wantResults(t, admin, []result{
		{[]string{"dashboard", "-n", "shop"}, "several stacks, write one of another, shop", exitWrong},
		{[]string{"dashboard", "-n", "default"}, "namespace default has no ObservabilityStack", exitWrong},
		{[]string{"dashboard", "other", "-n", "shop"}, "namespace shop has no ObservabilityStack other", exitWrong},
		{[]string{"dashboard", "shop", "-A"}, "a name and --all-namespaces exclude each other", exitUsage},
		{[]string{"dashboard", "--png", ""}, "--png is empty", exitUsage},
		{[]string{"dashboard", "--url", "127.0.0.1:9090"}, "--url is not an address", exitUsage},
		{[]string{"dashboard", "--url", "ftp://a"}, "--url is not an address", exitUsage},
		{[]string{"dashboard", "--url", "http://u:p@a"}, "without credentials", exitUsage},
		{[]string{"dashboard", "shop", "-n", "shop", "--url", redirecting.URL}, "name another with --url", exitWrong},
		{[]string{"dashboard", "shop", "-n", "shop", "--url", "http://127.0.0.1:1"}, "it refuses the connection", exitWrong},
	})
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	wantResults(t, admin, []result{
		{[]string{"dashboard", "shop", "-n", "shop"}, "ask Prometheus monitoring/k8s by way of the API server", exitWrong},
	})
	b.testWithoutPlatform(t, admin)
}

var firstPage = regexp.MustCompile(`href="(/d/obstack-[0-9a-f]+)\?`)

func (b *verifyBench) testDashboard(t *testing.T, kubeconfig string) {
	s := serve(t, kubeconfig, "-n", "shop")
	golden(t, "dashboard/shop.txt", servesAt.ReplaceAllString(s.says, "http://127.0.0.1:40123 until"))
	code, body := s.get(t, "/", "")
	if code != http.StatusOK || !strings.Contains(body, "<title>Stack overview: shop / shop</title>") {
		t.Errorf("the first page has status %d:\n%s", code, body)
	}
	for _, page := range firstPage.FindAllStringSubmatch(body, -1) {
		if code, body := s.get(t, page[1], ""); code != http.StatusOK || strings.Contains(body, "Prometheus: it denies") {
			t.Errorf("%s has status %d:\n%s", page[1], code, body)
		}
	}
	if code, _ := s.get(t, "/", "rebound.example.com"); code != http.StatusMisdirectedRequest {
		t.Errorf("a page of another name gets status %d", code)
	}
	s.interrupt()
	if code := <-s.code; code != exitWell || s.errs.Len() > 0 {
		t.Errorf("it ends with %d and says %q", code, s.errs.String())
	}
	if response, err := http.Get(s.address); err == nil { //nolint:noctx // it is refused at once
		response.Body.Close()
		t.Error("it serves after its end")
	}
}

// testDashboardFrom an address, which is asked for nothing but queries, without credentials.
func testDashboardFrom(t *testing.T, kubeconfig string) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		if r.Header.Get("Authorization") != "" {
			t.Errorf("%s has credentials", r.URL)
		}
		_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"vector","result":[]}}`)
	}))
	defer server.Close()
	s := serve(t, kubeconfig, "shop", "-n", "shop", "--url", server.URL)
	if code, body := s.get(t, "/", ""); code != http.StatusOK || !strings.Contains(body, "No data") {
		t.Errorf("the first page has status %d:\n%s", code, body)
	}
	s.interrupt()
	<-s.code
	if len(asked) < 2 {
		t.Errorf("asked %v", asked)
	}
}

// testAllStacks shows the operator's dashboard, whichever namespace the caller is in.
func testAllStacks(t *testing.T, kubeconfig string) {
	s := serve(t, kubeconfig, "-A", "-n", "default")
	if !strings.HasPrefix(s.says, "1 dashboard of all stacks\nPrometheus monitoring/k8s by way of the API server\n") {
		t.Errorf("it says %q", s.says)
	}
	code, body := s.get(t, "/", "")
	if code != http.StatusOK || !strings.Contains(body, "<title>obstack operator</title>") ||
		!strings.Contains(body, "Stacks that need someone") {
		t.Errorf("the page has status %d:\n%s", code, body)
	}
	s.interrupt()
	<-s.code
}

// testPlatformURL asks the Service that the platform names by its url, and nobody else.
func (b *verifyBench) testPlatformURL(t *testing.T, kubeconfig string) {
	platform := &obsv1.ObservabilityPlatform{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	testenv.Read(t, b.api, platform)
	before := platform.Spec.Prometheus
	name := func(prometheus *obsv1.PlatformPrometheus) {
		testenv.Read(t, b.api, platform)
		platform.Spec.Prometheus = prometheus
		if err := b.api.Update(t.Context(), platform); err != nil {
			t.Fatal(err)
		}
	}
	defer name(before)
	name(&obsv1.PlatformPrometheus{URL: "http://prometheus-operated.monitoring.svc:9090"})
	s := serve(t, kubeconfig, "shop", "-n", "shop")
	if !strings.Contains(s.says, "\nhttp://prometheus-operated.monitoring.svc:9090 by way of the API server\n") {
		t.Errorf("it says %q", s.says)
	}
	s.interrupt()
	<-s.code
	name(&obsv1.PlatformPrometheus{URL: "https://prometheus.example.com"})
	wantResults(t, kubeconfig, []result{
		{[]string{"dashboard", "shop", "-n", "shop"}, "write --url=https://prometheus.example.com if you", exitWrong},
	})
}

// TestPlatformURL: whoever writes a platform chooses a Service, and nothing else of the API server.
func TestPlatformURL(t *testing.T) {
	const services = "/behind/api/v1/namespaces/monitoring/services/"
	for _, tc := range []struct{ url, path, says string }{
		{"http://web.monitoring.svc:9090", services + "http:web:9090/proxy", ""},
		{"https://web.monitoring.svc.cluster.local./prometheus/", services + "https:web:443/proxy/prometheus/", ""},
		{"http://web.monitoring.svc", services + "http:web:80/proxy", ""},
		{"http://web.monitoring:9090", "", "is no Service of this cluster"},
		{"http://web.monitoring.svc.example.com", "", "is no Service of this cluster"},
		{"http://web-0.web.monitoring.svc", "", "is no Service of this cluster"},
		{"http://10.0.0.1:9090", "", "is no Service of this cluster"},
		{"http://web.monitoring.svc:9090/../../../secrets", "", "is no Service of this cluster"},
		{"http://web.monitoring.svc:9090/%2e%2e/", "", "is no Service of this cluster"},
		{"http://web.monitoring.svc:http", "", "is no address"},
	} {
		address, tenant := url.URL{Scheme: "https", Host: "cluster.example.com", Path: "/behind"}, ""
		p := proxy{base: &address, http: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			tenant = r.Header.Get("X-Scope-OrgID")
			return nil, errNoQuery
		})}}
		named := &obsv1.PlatformPrometheus{URL: obsv1.PlatformURL(tc.url), Tenant: "shop"}
		server, err := p.platformURL(named)
		switch {
		case tc.says != "":
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%s gives %v, want %q", tc.url, err, tc.says)
			}
			continue
		case err != nil || server.client.URL.Path != tc.path:
			t.Errorf("%s gives %v (%v), want %s", tc.url, server.client.URL, err, tc.path)
			continue
		}
		_ = server.client.Query(t.Context(), "up", func(promclient.Sample) {})
		if tenant != "shop" {
			t.Errorf("%s is asked with tenant %q", tc.url, tenant)
		}
		named.BasicAuth = &obsv1.PlatformBasicAuth{}
		const says = "only the operator has the credentials"
		if _, err := p.platformURL(named); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("with credentials %s gives %v", tc.url, err)
		}
	}
}

// testWithoutPlatform finds the only Prometheus of the cluster, and says so if there are more.
func (b *verifyBench) testWithoutPlatform(t *testing.T, kubeconfig string) {
	b.reset()
	testenv.Delete(t, b.api, &obsv1.ObservabilityPlatform{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	s := serve(t, kubeconfig, "shop", "-n", "shop")
	if !strings.Contains(s.says, "\nPrometheus monitoring/k8s") {
		t.Errorf("it says %q", s.says)
	}
	s.interrupt()
	<-s.code
	testenv.Create(t, b.api, &monitoringv1.Prometheus{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "own"}})
	wantResults(t, kubeconfig, []result{
		{[]string{"dashboard", "shop", "-n", "shop"}, "the cluster has not exactly one: write --url", exitWrong},
	})
}

// TestQueriesOnly: whatever the viewer or a response may want, nothing else is sent.
func TestQueriesOnly(t *testing.T) {
	server, _ := url.Parse("https://api.example.com/k8s/proxy/")
	sent := 0
	client := queriesOnly(roundTripper(func(*http.Request) (*http.Response, error) {
		sent++
		header := http.Header{"Location": {"https://api.example.com/api/v1/secrets"}}
		return &http.Response{StatusCode: http.StatusFound, Header: header, Body: http.NoBody}, nil
	}), server, "")
	for _, tc := range []struct {
		method, url string
		want        bool
	}{
		{"GET", "https://api.example.com/k8s/proxy/api/v1/query?query=up", true},
		{"GET", "https://api.example.com/k8s/proxy/api/v1/query_range?query=up", true},
		{"GET", "https://api.example.com/k8s/proxy/api/v1/label/a/values", true},
		{"GET", "https://api.example.com/k8s/proxy/api/v1/label/a%2Fb/values", true},
		{"POST", "https://api.example.com/k8s/proxy/api/v1/query", false},
		{"GET", "https://api.example.com/k8s/proxy/api/v1/admin/tsdb/snapshot", false},
		{"GET", "https://api.example.com/k8s/proxy/api/v1/label/a/../../values", false},
		{"GET", "https://api.example.com/k8s/proxy/api/v1/query/x", false},
		{"GET", "https://api.example.com/api/v1/query", false},
		{"GET", "http://api.example.com/k8s/proxy/api/v1/query", false},
		{"GET", "https://other.example.com/k8s/proxy/api/v1/query", false},
	} {
		request, err := http.NewRequestWithContext(t.Context(), tc.method, tc.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		sent = 0
		response, err := client.Do(request)
		if err == nil {
			response.Body.Close()
		}
		if (sent == 1) != tc.want || (err == nil) != tc.want {
			t.Errorf("%s %s: sent %d times, error %v", tc.method, tc.url, sent, err)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
