// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/platform"
	"obstack.dev/obstack/test/integration"
	"obstack.dev/obstack/test/testenv"
)

// realPrometheus scrapes and evaluates what its site makes of a stack's ServiceMonitors and
// PrometheusRules, as prometheus-operator would.
type realPrometheus struct {
	t       *testing.T
	dir     string
	url     *url.URL
	process *integration.Prometheus
	stack   obsv1.ObservabilityStack
	// targets by the name of the ServiceMonitor, instead of Services.
	targets map[string][]string
	// rules changes the groups of a PrometheusRule before they are loaded.
	rules func(name string, groups []monitoringv1.RuleGroup) []monitoringv1.RuleGroup
}

// startReal starts a Prometheus without anything to do.
func startReal(t *testing.T) *realPrometheus {
	t.Helper()
	parts := os.Getenv("OBSTACK_INTEGRATION")
	if parts == "" {
		t.Skip("SKIPPED, NOT TESTED: no real Prometheus; run make test-dashboards")
	}
	p := &realPrometheus{t: t, dir: t.TempDir()}
	p.write("prometheus.yaml", map[string]any{})
	log, err := os.Create(filepath.Join(p.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.process, err = integration.StartPrometheus(log, filepath.Join(parts, "prometheus"), "prometheus.yaml", "data")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.process.Kill()
		if output, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("%s", output[max(0, len(output)-2000):])
		}
	})
	if p.url, err = url.Parse(p.process.URL); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *realPrometheus) write(file string, content any) {
	p.t.Helper()
	text, err := yaml.Marshal(content)
	if err == nil {
		err = os.WriteFile(filepath.Join(p.dir, file), text, 0o600)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *realPrometheus) eventually(what string, condition func() bool) {
	p.t.Helper()
	for end := time.Now().Add(testenv.Timeout); !condition(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("%s: not within %v", what, testenv.Timeout)
		}
	}
}

// configure makes the configuration of what the stack's components want, with intervals of a
// second.
func (p *realPrometheus) configure() {
	p.t.Helper()
	var scrapes []any
	var files []string
	for _, component := range desired.Components {
		for _, object := range component.Build(&p.stack, desired.Inputs{ExporterImage: "exporter"}).Objects {
			switch object := object.(type) {
			case *monitoringv1.ServiceMonitor:
				scrapes = append(scrapes, p.scrape(object))
			case *monitoringv1.PrometheusRule:
				groups := object.Spec.Groups
				if p.rules != nil {
					groups = p.rules(object.Name, groups)
				}
				for i := range groups {
					groups[i].Interval = new(monitoringv1.Duration("1s"))
				}
				file := fmt.Sprintf("%s-%s-12345678-1234-1234-1234-123456789abc.yaml", object.Namespace, object.Name)
				p.write(file, map[string]any{"groups": groups})
				files = append(files, file)
			}
		}
	}
	p.write("prometheus.yaml", map[string]any{"scrape_configs": scrapes, "rule_files": files})
	p.process.Signal(syscall.SIGHUP)
}

// scrape is the configuration of a ServiceMonitor.
func (p *realPrometheus) scrape(monitor *monitoringv1.ServiceMonitor) map[string]any {
	endpoint := monitor.Spec.Endpoints[0]
	var relabelings []any
	for _, config := range endpoint.RelabelConfigs {
		relabelings = append(relabelings, map[string]any{
			"action": config.Action, "target_label": config.TargetLabel, "replacement": *config.Replacement,
		})
	}
	config := map[string]any{
		"job_name": fmt.Sprintf("serviceMonitor/%s/%s/0", monitor.Namespace, monitor.Name), "metrics_path": endpoint.Path,
		"scrape_interval": "1s", "scrape_timeout": "1s", "relabel_configs": relabelings,
		"static_configs": []any{map[string]any{
			"targets": p.targets[monitor.Name], "labels": map[string]string{"namespace": monitor.Namespace},
		}},
	}
	if monitor.Spec.SampleLimit != nil {
		config["sample_limit"] = *monitor.Spec.SampleLimit
	}
	if endpoint.Scheme != nil {
		config["scheme"] = *endpoint.Scheme
	}
	return config
}

// application serves what a function gives, which can be changed while it runs.
type application struct {
	*httptest.Server
	serve atomic.Pointer[http.HandlerFunc]
}

func startApplication(t *testing.T) *application {
	t.Helper()
	a := &application{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(*a.serve.Load())(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

// metrics are those that a framework or the exporter was seen to expose.
func metrics(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "test", "scrapes", name+".prom"))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func text(content string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, content)
	}
}

func replies(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// realStack has a part of each kind that a Prometheus knows of, with the defaults of the API that
// count here.
func realStack() obsv1.ObservabilityStack {
	stack := stackOf("shop", "real")
	monitor := &stack.Spec.Metrics.Monitors[0]
	monitor.Path, monitor.Interval, monitor.SampleLimit = "/metrics", "30s", nil
	stack.Spec.Tasks = &obsv1.TasksSpec{Brokers: []obsv1.Broker{{Name: "main", URL: "redis://redis"}}}
	stack.Spec.Alerts = &obsv1.AlertsSpec{
		TargetDown: obsv1.TargetDownAlert{Threshold: "0.1", Severity: "warning"},
		Latency:    obsv1.LatencyAlert{Disabled: true}, ErrorRatio: obsv1.RatioAlert{Disabled: true},
		TaskFailureRatio: obsv1.RatioAlert{Disabled: true}, QueueBacklog: obsv1.QueueBacklogAlert{Disabled: true},
		QueueStalled: obsv1.QueueStalledAlert{Disabled: true}, WorkersLost: obsv1.WorkersLostAlert{Disabled: true},
	}
	stack.Spec.SLOs = []obsv1.SLO{
		{Name: "available", Monitor: "api", Indicator: obsv1.IndicatorAvailability, Objective: "99.9", Window: "30d"},
		{Name: "fast", Monitor: "api", Indicator: obsv1.IndicatorLatency, Objective: "99", Window: "30d", Threshold: "500ms"},
	}
	return stack
}

// faulty is a stack on a real Prometheus, and what can go wrong with it.
type faulty struct {
	*realPrometheus
	app, exporter *application
}

// cure makes everything work.
func (f *faulty) cure() {
	f.serve(text(strings.ReplaceAll(metrics(f.t, "fastapi"), `le="0.1"`, `le="0.12"`)))
	tasks := text(metrics(f.t, "task-exporter"))
	f.exporter.serve.Store(&tasks)
	f.stack = realStack()
	f.targets = map[string][]string{
		"shop-api": {f.app.Listener.Addr().String()}, "shop-tasks-main": {f.exporter.Listener.Addr().String()},
	}
	f.rules = nil
}

func (f *faulty) serve(handler http.HandlerFunc) { f.app.serve.Store(&handler) }

// fails makes the expression of a rule one that cannot be evaluated: two series become one.
func fails(rule *monitoringv1.Rule) {
	rule.Expr = intstr.FromString(`label_replace(up, "instance", "", "", "")`)
}

// realFaults are made one after the other. The first part of each message is that of ours which
// stands for what the real Prometheus says.
var realFaults = []struct {
	name string
	make func(*faulty)
	want []string
}{
	{"nothing listens", func(f *faulty) { f.targets["shop-api"] = []string{"127.0.0.1:1"} },
		[]string{"api False TargetDown 0 of 1 targets of monitor api are up: connection refused"}},
	{"another path", func(f *faulty) { f.serve(replies(http.StatusNotFound)) },
		[]string{"api False TargetDown 0 of 1 targets of monitor api are up: not found (404)"}},
	{"no token", func(f *faulty) { f.serve(replies(http.StatusUnauthorized)) },
		[]string{"api False TargetDown 0 of 1 targets of monitor api are up: access is denied"}},
	{"no metrics", func(f *faulty) {
		f.serve(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html></html>") })
	}, []string{"api False TargetDown 0 of 1 targets of monitor api are up: not metrics"}},
	{"no TLS", func(f *faulty) { f.stack.Spec.Metrics.Monitors[0].Scheme = "https" },
		[]string{"api False TargetDown 0 of 1 targets of monitor api are up: TLS fails"}},
	{"slow", func(f *faulty) {
		f.serve(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	}, []string{"api False TargetDown 0 of 1 targets of monitor api are up: timeout"}},
	{"a low limit", func(f *faulty) { f.stack.Spec.Metrics.Monitors[0].SampleLimit = new(int64(10)) },
		[]string{"api False TargetDown 0 of 1 targets of monitor api are up: over a limit"}},
	{"one of two down", func(f *faulty) { f.targets["shop-api"] = append(f.targets["shop-api"], "127.0.0.1:1") },
		[]string{"api True Seen 1 of 2 targets of monitor api are up: connection refused"}},
	{"no target", func(f *faulty) { f.targets["shop-tasks-main"] = []string{} },
		[]string{"main False NotScraped Prometheus has no target of the task exporter of broker main"}},
	{"another framework", func(f *faulty) { f.serve(text(metrics(f.t, "django"))) },
		[]string{"api False FrameworkMismatch monitor api says framework fastapi, and its targets serve the metrics of dja"}},
	{"other buckets", func(f *faulty) {
		slo := f.stack.Spec.SLOs[1]
		slo.Name, slo.Threshold = "faster", "100ms"
		f.stack.Spec.SLOs = append(f.stack.Spec.SLOs, slo)
	}, []string{"faster False NoData SLO faster has no data, though monitor api serves its framework's series"}},
	{"rules not loaded", func(f *faulty) {
		f.rules = func(name string, groups []monitoringv1.RuleGroup) []monitoringv1.RuleGroup {
			if name == "shop-alerts" || name == "shop-slo-fast" {
				return nil
			}
			return groups
		}
	}, []string{"alerts False RulesNotLoaded Prometheus has not loaded the rules of the alerts",
		"fast False RulesNotLoaded Prometheus has not loaded the rules of SLO fast"}},
	{"a rule fails", func(f *faulty) {
		f.targets["shop-api"] = append(f.targets["shop-api"], f.exporter.Listener.Addr().String())
		f.rules = func(name string, groups []monitoringv1.RuleGroup) []monitoringv1.RuleGroup {
			if name == "shop-alerts" {
				fails(&groups[0].Rules[0])
			}
			return groups
		}
	}, []string{"alerts False RuleFailing Prometheus cannot evaluate rule ObstackTargetDown of the alerts: several"}},
}

// TestRealPrometheus makes one fault after the other, sees it, and sees it go.
func TestRealPrometheus(t *testing.T) {
	f := &faulty{startReal(t), startApplication(t), startApplication(t)}
	f.cure()
	f.configure()
	c := &cluster{
		stacks:    []obsv1.ObservabilityStack{f.stack},
		platforms: []obsv1.ObservabilityPlatform{platformOf("real", f.url.String())},
	}
	configure := func() {
		f.configure()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.stacks = []obsv1.ObservabilityStack{*f.stack.DeepCopy()}
	}
	proofs := prometheusOf(c, nil)
	proofs.Interval = 500 * time.Millisecond
	proofs.Servers = func(context.Context, *obsv1.ObservabilityPlatform) ([]platform.Endpoint, error) {
		return []platform.Endpoint{{URL: f.url, Client: http.DefaultClient}}, nil
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = proofs.Start(ctx) }) // nil
	defer running.Wait()
	defer stop()
	// says reports whether that is what is known beside what works.
	says := func(want ...string) bool {
		known := 0
		var beside []string
		for _, finding := range proofs.Store.Evidence(&f.stack).Findings {
			if finding.Reason == obsv1.ReasonNotAsked {
				continue // By others.
			}
			known++
			if finding.State != metav1.ConditionTrue || finding.Message != "" {
				beside = append(beside, strings.Join([]string{
					finding.Name, string(finding.State), finding.Reason, finding.Message,
				}, " "))
			}
		}
		for _, text := range want {
			if !slices.ContainsFunc(beside, func(s string) bool { return strings.HasPrefix(s, text) }) {
				return false
			}
		}
		return known == 3+len(f.stack.Spec.SLOs) && (len(want) > 0 || len(beside) == 0)
	}
	f.eventually("all is well", func() bool { return says() })
	for _, tc := range realFaults {
		tc.make(f)
		configure()
		f.eventually(tc.name+": "+strings.Join(tc.want, ", "), func() bool { return says(tc.want...) })
		f.cure()
		configure()
		f.eventually("all is well after "+tc.name, func() bool { return says() })
	}
}
