// SPDX-License-Identifier: Apache-2.0

// Command rules measures what the alerts and SLOs of many stacks cost a real Prometheus, with a
// month of recorded history, and how long a page of dashboards takes that is drawn from it. It
// prints the figures for docs/benchmarks/rules.md.
package main

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/test/bench/kit"
	"obstack.dev/obstack/test/integration"
	"obstack.dev/obstack/test/testenv"
)

// lookEvery is how often the groups are looked at: as often as the fastest are evaluated.
const lookEvery = 30 * time.Second

func main() { os.Exit(kit.Main(run)) }

func run(ctx context.Context, f *kit.Figures) {
	stacks := flag.Int("stacks", 100, "how many `stacks` there are")
	history := flag.Duration("history", 30*24*time.Hour, "how far back the recorded series go")
	settle := flag.Duration("settle", 5*time.Minute+30*time.Second, "how long Prometheus runs before it is measured")
	span := flag.Duration("measure", 2*time.Minute+30*time.Second, "how long it is measured, with the rules and without")
	flag.Parse()
	parts := os.Getenv("OBSTACK_INTEGRATION")
	if parts == "" {
		kit.Check(errors.New("OBSTACK_INTEGRATION is not set: use make bench-rules"))
	}
	dir := kit.Must(os.MkdirTemp("", "obstack-rules-"))
	defer os.RemoveAll(dir)
	n, rules := float64(*stacks), filepath.Join(dir, "rules.yaml")
	f.Note("rules of each stack", float64(writeRules(rules, *stacks)), "")
	writeHistory(ctx, dir, *stacks, *history)
	ended := writeScrapes(ctx, dir)
	applications := serveApplications()
	defer applications.Close()
	p := start(filepath.Join(parts, "prometheus"), dir, applications.Listener.Addr().String(), *stacks)
	defer p.Kill()
	kit.Pause(ctx, *settle)
	rounds := map[string]float64{} // mean seconds, by kind
	with := p.busy(func() {
		looks := int(*span / lookEvery)
		for range looks {
			kit.Pause(ctx, lookEvery)
			for series, seconds := range p.metrics() {
				if strings.HasPrefix(series, "prometheus_rule_group_last_duration_seconds{") {
					rounds[kindOf(series)] += seconds / float64(looks)
				}
			}
		}
	})
	for _, kind := range []string{"alerts, every 30 s", "SLOs, every minute", "long windows of SLOs, every 2 minutes"} {
		f.Note("a round of the "+kind, 1e3*rounds[kind]/n, "ms", "%.0f ms for %d stacks", 1e3*rounds[kind], *stacks)
	}
	p.viewPage(f, ended)
	samples := p.metrics()
	f.Most("rules that failed", samples.Sum("prometheus_rule_evaluation_failures_total"), "", 0)
	f.Note("series of each stack", samples.Sum("prometheus_tsdb_head_series")/n, "")
	f.Note("resident memory of Prometheus", kit.MiB(samples.Sum("process_resident_memory_bytes")), "MiB")
	kit.Check(os.WriteFile(rules, nil, 0o600))
	p.Signal(syscall.SIGHUP)
	kit.Pause(ctx, lookEvery)
	without := p.busy(func() { kit.Pause(ctx, *span) })
	f.Note("processor time of each stack's rules, of one processor", 100*(with-without)/n, "%",
		"Prometheus: %.2f %% with %d stacks, %.2f %% without", 100*with, *stacks, 100*without)
	kit.Progress("load average %s", kit.Load())
}

func kindOf(series string) string {
	switch {
	case strings.Contains(series, ":long"):
		return "long windows of SLOs, every 2 minutes"
	case strings.Contains(series, ":slo:"):
		return "SLOs, every minute"
	}
	return "alerts, every 30 s"
}

//go:embed prometheus.yaml.tmpl
var configuration string

type prometheus struct{ *integration.Prometheus }

func start(program, dir, address string, stacks int) prometheus {
	file := kit.Must(os.Create(filepath.Join(dir, "prometheus.yaml")))
	data := map[string]any{"Address": address, "Stacks": stacks}
	kit.Check(template.Must(template.New("").Parse(configuration)).Execute(file, data))
	kit.Check(file.Close())
	return prometheus{kit.Must(integration.StartPrometheus(os.Stderr, program, file.Name(), filepath.Join(dir, "data"),
		"--log.level=error", "--storage.tsdb.retention.time=60d"))}
}

// metrics are those about itself.
func (p prometheus) metrics() testenv.Samples {
	response := kit.Must(http.Get(p.URL + "/metrics"))
	defer response.Body.Close()
	return testenv.ReadSamples(string(kit.Must(io.ReadAll(response.Body))))
}

// busy is the processor time that Prometheus takes in each second while something is done.
func (p prometheus) busy(do func()) float64 {
	const cpu = "process_cpu_seconds_total"
	before, began := p.metrics()[cpu], time.Now()
	do()
	return (p.metrics()[cpu] - before) / time.Since(began).Seconds()
}

//go:embed stack.yaml
var stackYAML []byte

// writeRules writes the rules of all stacks into one file, and returns how many a stack has.
func writeRules(file string, stacks int) (each int) {
	var groups []monitoringv1.RuleGroup
	for i := range stacks {
		stack := &obsv1.ObservabilityStack{}
		kit.Check(yaml.UnmarshalStrict(stackYAML, stack))
		stack.Namespace = fmt.Sprintf("shop-%d", i)
		stack = desired.Effective(stack, nil)
		for _, component := range desired.Components {
			for _, object := range component.Build(stack, desired.Inputs{}).Objects {
				if rule, ok := object.(*monitoringv1.PrometheusRule); ok {
					groups = append(groups, rule.Spec.Groups...)
				}
			}
		}
	}
	for _, group := range groups {
		each += len(group.Rules)
	}
	kit.Check(os.WriteFile(file, kit.Must(yaml.Marshal(map[string]any{"groups": groups})), 0o600))
	return each / stacks
}

// historyEnds before the head of the database begins.
func historyEnds() time.Time { return time.Now().Add(-3 * time.Hour).Truncate(time.Minute) }

// writeHistory makes blocks of what would have been recorded of each objective, once a minute.
func writeHistory(ctx context.Context, dir string, stacks int, history time.Duration) {
	file := kit.Must(os.Create(filepath.Join(dir, "history.txt")))
	out := bufio.NewWriterSize(file, 1<<20)
	end := historyEnds().Unix()
	for metric, rate := range map[string]float64{"obstack:slo_events:rate5m": 10, "obstack:slo_errors:rate5m": 0} {
		fmt.Fprintf(out, "# TYPE %s gauge\n", metric)
		for series := range 2 * stacks {
			head := fmt.Sprintf(`%s{namespace="shop-%d",obstack_stack="shop",obstack_monitor="api",slo="%s"} `,
				metric, series/2, []string{"api-availability", "api-latency"}[series%2])
			for at := end - int64(history.Seconds()); at < end; at += 60 {
				// Differs from minute to minute, as real rates do, so that it compresses no better
				// than they do.
				noise := float64((at/60*7919+int64(series)*104729)%1000) / 1000
				fmt.Fprintf(out, "%s%g %d\n", head, rate+noise*max(.001, rate/10), at)
			}
		}
	}
	kit.Check(out.Flush())
	makeBlocks(ctx, dir, file)
}

// makeBlocks of a file in the text format of OpenMetrics, which is removed.
func makeBlocks(ctx context.Context, dir string, file *os.File) {
	kit.Must(fmt.Fprintln(file, "# EOF"))
	kit.Check(file.Close())
	// Every block is another pass over the whole file.
	output, err := exec.CommandContext(ctx, kit.Must(testenv.Tool(ctx, "promtool")), "tsdb", "create-blocks-from",
		"openmetrics", "--quiet", "--max-block-duration=1000h", file.Name(), filepath.Join(dir, "data")).CombinedOutput()
	if err != nil {
		kit.Check(fmt.Errorf("make blocks: %w: %s", err, output))
	}
	kit.Check(os.Remove(file.Name()))
}

//go:embed applications.tmpl
var applications string

// expose writes what the applications of a stack expose at /api or /tasks, so many seconds after
// they began.
func expose(out io.Writer, path string, seconds float64) error {
	count := func(rate float64) float64 { return rate * seconds }
	pages, err := template.New("").Delims("<<", ">>").Funcs(template.FuncMap{
		"count": count,
		"histogram": func(name, labels string, rate float64, buckets string) string {
			var out strings.Builder
			for i, le := range strings.Fields(buckets) {
				fmt.Fprintf(&out, "%s_bucket{%sle=\"%s\"} %g\n", name, labels, le, count(rate)*min(1, .9+.02*float64(i)))
			}
			fmt.Fprintf(&out, "%s_count{%s} %g\n%s_sum{%s} %g\n", name, labels, count(rate), name, labels, count(rate)/20)
			return out.String()
		},
	}).Parse(applications)
	if err != nil {
		return err
	}
	return pages.ExecuteTemplate(out, path, nil)
}

// serveApplications serves what the applications of a stack expose.
func serveApplications() *httptest.Server {
	began := time.Now()
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = expose(w, r.URL.Path, time.Since(began).Seconds()) // Prometheus may have gone.
	}))
}
