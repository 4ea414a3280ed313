// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/platform"
	"obstack.dev/obstack/controllers/proof/judge"
	"obstack.dev/obstack/controllers/proof/promclient"
)

// cluster is what the cache has of stacks and platforms.
type cluster struct {
	client.Reader
	mu        sync.Mutex
	stacks    []obsv1.ObservabilityStack
	platforms []obsv1.ObservabilityPlatform
}

func (c *cluster) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch list := into.(type) {
	case *obsv1.ObservabilityStackList:
		list.Items = slices.Clone(c.stacks)
	case *obsv1.ObservabilityPlatformList:
		list.Items = slices.Clone(c.platforms)
	}
	return nil
}

func (c *cluster) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, platform := range c.platforms {
		if platform.Name == key.Name {
			platform.DeepCopyInto(into.(*obsv1.ObservabilityPlatform))
			return nil
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

// platform is the one that a stack names.
func (c *cluster) platform(
	ctx context.Context, stack *obsv1.ObservabilityStack,
) (string, *obsv1.ObservabilityPlatformSpec, error) {
	found := &obsv1.ObservabilityPlatform{}
	if err := c.Get(ctx, client.ObjectKey{Name: stack.Spec.Platform}, found); err != nil {
		return "", nil, client.IgnoreNotFound(err)
	}
	return found.Name, &found.Spec, nil
}

func stackOf(name, platform string) obsv1.ObservabilityStack {
	stack := obsv1.ObservabilityStack{Spec: obsv1.ObservabilityStackSpec{
		Platform: platform,
		Metrics: &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{
			{Name: "api", Framework: obsv1.FrameworkFastAPI, SampleLimit: new(int64(100))},
		}},
		Alerts: &obsv1.AlertsSpec{},
		SLOs:   []obsv1.SLO{{Name: "up", Monitor: "api", Indicator: obsv1.IndicatorAvailability}},
	}}
	stack.Namespace, stack.Name = "ns", name
	return stack
}

func platformOf(name, prometheus string) obsv1.ObservabilityPlatform {
	platform := obsv1.ObservabilityPlatform{}
	platform.Name, platform.Generation = name, 1
	if prometheus != "" {
		platform.Spec.Prometheus = &obsv1.PlatformPrometheus{URL: obsv1.PlatformURL(prometheus)}
	}
	return platform
}

// fakePrometheus responds to each query by a part of it, and counts what it is asked. It is no
// Prometheus.
type fakePrometheus struct {
	mu    sync.Mutex
	asked []string
	// responses by a part of the path and query. What has none is not served.
	responses map[string]string
}

func (f *fakePrometheus) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	query, _ := url.QueryUnescape(r.URL.String())
	f.asked = append(f.asked, query)
	w := httptest.NewRecorder()
	w.Code = http.StatusNotFound
	for part, response := range f.responses {
		if strings.Contains(query, part) {
			w.Code = http.StatusOK
			fmt.Fprintf(w, `{"status":"success","data":%s}`, response)
		}
	}
	return w.Result(), nil
}

func (f *fakePrometheus) client() promclient.Client {
	return promclient.Client{URL: &url.URL{Scheme: "http", Host: "fake"}, HTTP: &http.Client{Transport: f}}
}

// series of an instant query, each as its labels and its value.
func series(all ...string) string {
	var result []string
	for _, s := range all {
		labels, value, _ := strings.Cut(s, " ")
		metric := []string{`"namespace":"ns"`}
		for pair := range strings.SplitSeq(labels, ",") {
			key, text, _ := strings.Cut(pair, "=")
			metric = append(metric, fmt.Sprintf("%q:%q", key, text))
		}
		result = append(result, fmt.Sprintf(`{"metric":{%s},"value":[1,%q]}`, strings.Join(metric, ","), value))
	}
	return `{"result":[` + strings.Join(result, ",") + `]}`
}

// healthy is a fake on which everything of the stack shop works.
func healthy() *fakePrometheus {
	return &fakePrometheus{responses: map[string]string{
		"count_values": series("obstack_stack=shop,obstack_monitor=api,up=1 2"),
		"__name__=~":   series("obstack_stack=shop,obstack_monitor=api,__name__=http_request_duration_highr_seconds_count 1"),
		"max by":       series("obstack_stack=shop,obstack_monitor=api 10"),
		"slo_events":   series("obstack_stack=shop,slo=up 1"),
		"/rules": `{"groups":[{"name":"obstack:ns/shop:http","file":"f.yaml","rules":[{"health":"ok"}]},
			{"name":"obstack:ns/shop:slo:up","file":"f.yaml","rules":[{"health":"ok"}]}]}`,
		"/targets": `{"activeTargets":[]}`,
	}}
}

// wrong is a fake whose responses are not those of any Prometheus, or which somebody made with
// labels of his own.
func wrong() *fakePrometheus {
	return &fakePrometheus{responses: map[string]string{
		"count_values": series("obstack_stack=shop,obstack_monitor=api,up=1 NaN",
			"obstack_stack=shop,obstack_monitor=api,up=0 -1", "obstack_stack=shop,obstack_monitor=api,up=1 3e9",
			"obstack_stack=shop,obstack_monitor=api,up=1 +Inf", "obstack_stack=shop,obstack_monitor=other,up=1 1"),
		"__name__=~": series("obstack_stack=shop,obstack_monitor=api,__name__=secret 1"),
		"max by":     series("obstack_stack=shop,obstack_monitor=other 10"),
		"slo_events": series("obstack_stack=shop,slo=other 1"),
		"/rules":     `{"groups":[{"name":"obstack:ns/shop:slo:other","file":"f.yaml","rules":[]}]}`,
	}}
}

func TestServersSayNothingOfWhatIsNotThere(t *testing.T) {
	stack := stackOf("shop", "")
	r := newReading([]*obsv1.ObservabilityStack{&stack}, "")
	if err := r.ask(t.Context(), wrong().client()); err != nil {
		t.Fatal(err)
	}
	got := r.series[client.ObjectKeyFromObject(&stack)]
	most := judge.Scrape{Targets: math.MaxInt32, Up: math.MaxInt32}
	want := map[judge.Part]judge.Scrape{{Kind: obsv1.PartMonitor, Name: "api"}: most}
	if !reflect.DeepEqual(got.Scrapes, want) || len(got.Groups) > 0 || len(got.Recorded) > 1 ||
		got.Recorded["up"] {
		t.Errorf("read %+v", got)
	}
}

// found is what one reading of some servers finds out about the stack shop, beside True.
func found(t *testing.T, cluster string, servers ...*fakePrometheus) (findings []string) {
	t.Helper()
	stack := stackOf("shop", "")
	r := newReading([]*obsv1.ObservabilityStack{&stack}, cluster)
	for _, server := range servers {
		if err := r.ask(t.Context(), server.client()); err != nil {
			return []string{err.Error()}
		}
	}
	read := *r.series[client.ObjectKeyFromObject(&stack)]
	for _, f := range append(judge.Scraped(&stack, read), judge.Loaded(&stack, read)...) {
		if f.State != "True" || f.Message != "" || f.Total > 2 {
			message, _, _ := strings.Cut(f.Message, ": ")
			findings = append(findings, fmt.Sprintf("%s %s %s %d/%d %s", f.Name, f.State, f.Reason, f.Up, f.Total, message))
		}
	}
	return findings
}

func TestServersAreRead(t *testing.T) {
	const down = "api False TargetDown 0/1 0 of 1 targets of monitor api are up"
	for _, tc := range []struct {
		name   string
		change func(f *fakePrometheus)
		want   []string
	}{
		{"all works", func(*fakePrometheus) {}, nil},
		{"another stack's series", func(f *fakePrometheus) {
			f.responses["count_values"] = series("obstack_stack=other,obstack_monitor=api,up=1 2")
		}, []string{"api False NotScraped 0/0 Prometheus has no target of monitor api"}},
		{"nobody says why a target is down", func(f *fakePrometheus) {
			f.responses["count_values"] = series("obstack_stack=shop,obstack_monitor=api,up=0 1")
			delete(f.responses, "/targets")
		}, []string{down}},
		{"another framework", func(f *fakePrometheus) {
			f.responses["__name__=~"] = series(
				"obstack_stack=shop,obstack_monitor=api,__name__=flask_http_request_duration_seconds_count 1")
		}, []string{"api False FrameworkMismatch 2/2 monitor api says framework fastapi, and its targets serve the " +
			"metrics of flask"}},
		{"a limit is near", func(f *fakePrometheus) {
			f.responses["max by"] = series("obstack_stack=shop,obstack_monitor=api 99")
		}, []string{"api True Seen 2/2 a scrape of monitor api has more than 80 % of the samples that sampleLimit allows"}},
		{"a rule fails", func(f *fakePrometheus) {
			f.responses["/rules"] = strings.Replace(f.responses["/rules"], `"ok"`, `"err","name":"A"`, 1)
		}, []string{"alerts False RuleFailing 0/0 Prometheus cannot evaluate rule A of the alerts"}},
		{"a Prometheus without our rules", func(f *fakePrometheus) {
			f.responses["/rules"], f.responses["runtimeinfo"] = `{"groups":[]}`, `{"reloadConfigSuccess":true}`
		}, []string{"alerts False RulesNotLoaded 0/0 Prometheus has not loaded the rules of the alerts",
			"up False RulesNotLoaded 0/0 Prometheus has not loaded the rules of SLO up"}},
		{"a server that always has no rules", func(f *fakePrometheus) { f.responses["/rules"] = `{"groups":[]}` },
			[]string{"alerts Unknown NotServed 0/0 the server that the platform names does not say which rules are evaluated"}},
		{"a server that lists no rules", func(f *fakePrometheus) { delete(f.responses, "/rules") },
			[]string{"alerts Unknown NotServed 0/0 the server that the platform names does not say which rules are evaluated"}},
		{"a group of somebody else", func(f *fakePrometheus) {
			f.responses["/rules"] = `{"groups":[{"name":"obstack:ns/shop:http","file":"/etc/ns-shop-alerts-` + uid + `",
				"rules":[{"health":"ok"}]},{"name":"obstack:ns/shop:http","file":"/etc/evil-shop-alerts-` + uid + `",
				"rules":[{"health":"err"}]},{"name":"obstack:ns/shop:slo:up","rules":[]},{"name":"obstack:ns/x:http"},
				{"name":"obstack:"}]}`
		}, nil},
		{"no series", func(f *fakePrometheus) { delete(f.responses, "count_values") },
			[]string{promclient.NotServed.Error()}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := healthy()
			tc.change(server)
			if got := found(t, "", server); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tc.want) {
				t.Errorf("got\n%q, want\n%q", got, tc.want)
			}
		})
	}
}

const uid = "12345678-1234-1234-1234-123456789abc.yaml"

func TestTargetsSayWhyAndOfWhom(t *testing.T) {
	server := healthy()
	server.responses["count_values"] = series("obstack_stack=shop,obstack_monitor=api,up=0 1")
	const target = `{"labels":{"namespace":"ns","obstack_stack":"shop","obstack_monitor":"api"},"health":"down",
		"scrapePool":"serviceMonitor/%s/0","lastError":"server returned HTTP status %s"}`
	server.responses["/targets"] = `{"activeTargets":[` + fmt.Sprintf(target, "ns/shop-api", "404 Not Found") + "," +
		fmt.Sprintf(target, "evil/shop-api", "401 Unauthorized") + `]}`
	stack := stackOf("shop", "")
	r := newReading([]*obsv1.ObservabilityStack{&stack}, "")
	if err := r.ask(t.Context(), server.client()); err != nil {
		t.Fatal(err)
	}
	got := judge.Scraped(&stack, *r.series[client.ObjectKeyFromObject(&stack)])[0].Message
	if want := "0 of 1 targets of monitor api are up: not found (404)"; !strings.HasPrefix(got, want) {
		t.Errorf("message %q, want %q", got, want)
	}
}

// TestProcessesAreRead as far as the bundle says them: whoever serves metrics may say anything.
func TestProcessesAreRead(t *testing.T) {
	const auto = ",sentry=auto,logging=auto,structlog=own,celery=absent,metrics=port "
	server := healthy()
	server.responses["obstack_python_info"] = series(
		"obstack_stack=shop,obstack_monitor=python,obstack_workload=ns/api"+auto+"3",
		"obstack_stack=shop,obstack_monitor=python,obstack_workload=ns/api/x"+auto+"3",
		"obstack_stack=shop,obstack_monitor=api,obstack_workload=ns/api"+auto+"3",
		"obstack_stack=other,obstack_monitor=python,obstack_workload=ns/api"+auto+"3",
		"obstack_stack=shop,obstack_monitor=python,obstack_workload=ns/api,sentry=password 3")
	stack := stackOf("shop", "")
	stack.Spec.Python = &obsv1.PythonSpec{}
	r := newReading([]*obsv1.ObservabilityStack{&stack}, "")
	for range 2 { // two shards
		if err := r.ask(t.Context(), server.client()); err != nil {
			t.Fatal(err)
		}
	}
	want := map[judge.Process]int32{{
		Workload: "ns/api", Sentry: "auto", Logging: "auto", Structlog: "own", Celery: "absent", Metrics: "port",
	}: 6}
	if got := r.series[client.ObjectKeyFromObject(&stack)].Processes; !reflect.DeepEqual(got, want) {
		t.Errorf("read %v, want %v", got, want)
	}
}

func TestEveryShardCounts(t *testing.T) {
	second := healthy()
	second.responses["count_values"] = series("obstack_stack=shop,obstack_monitor=api,up=1 1",
		"obstack_stack=shop,obstack_monitor=api,up=0 1")
	got := found(t, "", healthy(), second)
	if want := "api True Seen 3/4 3 of 4 targets of monitor api are up"; len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %s", got, want)
	}
	second.responses = nil
	if got := found(t, "", healthy(), second); len(got) != 1 || got[0] != promclient.NotServed.Error() {
		t.Errorf("a shard that does not respond is left out: %q", got)
	}
}

func TestOnlyTheClustersSeriesAreAsked(t *testing.T) {
	server := healthy()
	found(t, "eu-1", server)
	for _, asked := range server.asked {
		if !strings.Contains(asked, `cluster="eu-1"`) {
			t.Errorf("asked %s", asked)
		}
	}
	if len(server.asked) != 5 {
		t.Errorf("asked %d times, want 5: %q", len(server.asked), server.asked)
	}
}

// prometheusOf asks fakes by the URL of the platform.
func prometheusOf(c *cluster, servers map[string]http.RoundTripper) *Prometheus {
	return &Prometheus{
		Reader: c, Platform: c.platform, Store: &Store{}, Interval: time.Minute,
		Python: func(context.Context, *obsv1.ObservabilityStack) ([]*corev1.ObjectReference, error) { return nil, nil },
		Servers: func(_ context.Context, p *obsv1.ObservabilityPlatform) ([]platform.Endpoint, error) {
			transport, ok := servers[string(p.Spec.Prometheus.URL)]
			if !ok {
				return nil, errors.New("the Secret secret is missing")
			}
			return []platform.Endpoint{{
				URL: &url.URL{Scheme: "http", Host: "fake"}, Client: &http.Client{Transport: transport},
			}}, nil
		},
	}
}

// verified is what the Store has of a stack: states, reasons and gaps.
func (p *Prometheus) verified(stack obsv1.ObservabilityStack) string {
	var known []string
	evidence := p.Store.Evidence(&stack)
	for _, f := range evidence.Findings {
		known = append(known, string(f.State)+" "+f.Reason)
	}
	for _, gap := range evidence.Gaps {
		known = append(known, "gap "+gap.Reason+" "+gap.Message)
	}
	return strings.Join(slices.Compact(known), ", ")
}

// never is a server that does not respond.
type never struct{}

func (never) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestPlatformsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{
			stacks: []obsv1.ObservabilityStack{
				stackOf("shop", "good"), stackOf("slow", "slow"), stackOf("none", ""), stackOf("dumb", "dumb"),
				stackOf("secret", "secret"),
			},
			platforms: []obsv1.ObservabilityPlatform{
				platformOf("good", "good"), platformOf("slow", "slow"), platformOf("dumb", ""), platformOf("secret", "secret"),
			},
		}
		p := prometheusOf(c, map[string]http.RoundTripper{"good": healthy(), "slow": never{}})
		p.Store.Changed = make(chan event.GenericEvent, 100)
		go func() { _ = p.Start(t.Context()) }()
		time.Sleep(time.Second)
		synctest.Wait()
		for i, want := range []string{
			"True Seen", "Unknown NotAsked", "Unknown NoPlatform", "Unknown NoPrometheus", "Unknown Unreachable, " +
				"gap Unreachable Prometheus of platform secret does not say whether metrics and rules are there: " +
				"obstack does not find out whom to ask, and the platform's conditions say why",
		} {
			if got := p.verified(c.stacks[i]); got != want {
				t.Errorf("%s: %s, want %s", c.stacks[i].Name, got, want)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		want := "Unknown Unreachable, gap Unreachable Prometheus of platform slow does not say whether metrics and rules " +
			"are there: it does not respond in time"
		if got := p.verified(c.stacks[1]); got != want {
			t.Errorf("a server that never responds: %s, want %s", got, want)
		}
	})
}

func TestPrometheusAsksAChangedPlatformAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{
			stacks:    []obsv1.ObservabilityStack{stackOf("shop", "p")},
			platforms: []obsv1.ObservabilityPlatform{platformOf("p", "away")},
		}
		away := &fakePrometheus{}
		p := prometheusOf(c, map[string]http.RoundTripper{"good": healthy(), "away": away})
		go func() { _ = p.Start(t.Context()) }()
		time.Sleep(time.Hour)
		synctest.Wait()
		// Rounds are up to 5 intervals apart, and end at the first query.
		if n := len(away.asked); n < 10 || n > 20 {
			t.Errorf("a server that is away was asked %d times within an hour", n)
		}
		c.mu.Lock()
		c.platforms[0].Generation++
		c.platforms[0].Spec.Prometheus.URL = "good"
		c.mu.Unlock()
		before := len(away.asked)
		time.Sleep(lookAtPlatforms + time.Second)
		synctest.Wait()
		if got := p.verified(c.stacks[0]); got != "True Seen" {
			t.Errorf("after the change: %s", got)
		}
		time.Sleep(time.Hour)
		if n := len(away.asked) - before; n > 0 {
			t.Errorf("the old server was asked %d times more", n)
		}
	})
}

// TestPrometheusGivesASlowMonitorTime: after a rollout its targets are scraped within its interval.
func TestPrometheusGivesASlowMonitorTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{
			stacks:    []obsv1.ObservabilityStack{stackOf("shop", "p")},
			platforms: []obsv1.ObservabilityPlatform{platformOf("p", "p")},
		}
		c.stacks[0].Spec.Metrics.Monitors[0].Interval = "4m"
		server := healthy()
		scraped := func(series string) {
			server.mu.Lock()
			defer server.mu.Unlock()
			server.responses["count_values"] = series
		}
		works := server.responses["count_values"]
		p := prometheusOf(c, map[string]http.RoundTripper{"p": server})
		go func() { _ = p.Start(t.Context()) }()
		for _, step := range []struct {
			series string
			after  time.Duration
			want   string
		}{
			{works, time.Minute, "True Seen"},
			{series(), 4 * time.Minute, "True Seen"},
			{works, 2 * time.Minute, "True Seen"},
			{series(), 7 * time.Minute, "False NotScraped, True Seen"},
		} {
			scraped(step.series)
			time.Sleep(step.after)
			synctest.Wait()
			if got := p.verified(c.stacks[0]); got != step.want {
				t.Errorf("%s, want %s", got, step.want)
			}
		}
	})
}

// TestPrometheusGivesANewClusterTime: until Prometheus reads what has the new label, series have
// the old one.
func TestPrometheusGivesANewClusterTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{
			stacks:    []obsv1.ObservabilityStack{stackOf("shop", "p")},
			platforms: []obsv1.ObservabilityPlatform{platformOf("p", "p")},
		}
		server := healthy()
		p := prometheusOf(c, map[string]http.RoundTripper{"p": server})
		go func() { _ = p.Start(t.Context()) }()
		time.Sleep(time.Minute)
		c.mu.Lock()
		c.platforms[0].Generation, c.platforms[0].Spec.Cluster = 2, "eu-2"
		c.mu.Unlock()
		asked := func() bool {
			server.mu.Lock()
			defer server.mu.Unlock()
			asked := slices.ContainsFunc(server.asked, func(query string) bool { return strings.Contains(query, "eu-2") })
			server.asked = nil
			return asked
		}
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		if asked() {
			t.Error("only series with the new label count at once")
		}
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		if !asked() {
			t.Error("series of other clusters count for ever")
		}
	})
}

func TestPrometheusGivesANewPartTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{
			stacks:    []obsv1.ObservabilityStack{stackOf("shop", "p")},
			platforms: []obsv1.ObservabilityPlatform{platformOf("p", "p")},
		}
		server := healthy()
		server.responses["count_values"] = series()
		p := prometheusOf(c, map[string]http.RoundTripper{"p": server})
		go func() { _ = p.Start(t.Context()) }()
		for _, tc := range []struct {
			after time.Duration // Rounds are at 0, 54 to 65 and 108 to 130 s.
			want  string
		}{
			{30 * time.Second, "Unknown NotScraped, True Seen"}, {50 * time.Second, "Unknown NotScraped, True Seen"},
			{60 * time.Second, "False NotScraped, True Seen"},
		} {
			time.Sleep(tc.after)
			synctest.Wait()
			if got := p.verified(c.stacks[0]); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		}
	})
}
