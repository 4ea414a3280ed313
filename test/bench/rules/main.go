// SPDX-License-Identifier: Apache-2.0

// Command rules measures what the alerts and SLOs of many stacks cost a real Prometheus, with a
// month of recorded history, and prints the figures for docs/benchmarks/rules.md.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"

	"obstack.dev/obstack/test/bench/kit"
	"obstack.dev/obstack/test/integration"
	"obstack.dev/obstack/test/testenv"
)

// lookEvery is how often the groups are looked at: as often as the fastest are evaluated.
const lookEvery = 30 * time.Second

func main() { os.Exit(kit.Main(run)) }

func run(ctx context.Context) {
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
	f, n, rules := &kit.Figures{}, float64(*stacks), filepath.Join(dir, "rules.yaml")
	f.Note("rules of each stack", float64(writeRules(rules, *stacks)), "")
	writeHistory(ctx, dir, *stacks, *history)
	applications := serveApplications()
	defer applications.Close()
	p := start(filepath.Join(parts, "prometheus"), dir, strings.TrimPrefix(applications.URL, "http://"), *stacks)
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
	samples := p.metrics()
	f.Most("rules that failed", samples.Sum("prometheus_rule_evaluation_failures_total"), "", 0)
	f.Note("series of each stack", samples.Sum("prometheus_tsdb_head_series")/n, "")
	f.Note("resident memory of Prometheus", samples.Sum("process_resident_memory_bytes")/(1<<20), "MiB")
	kit.Check(os.WriteFile(rules, nil, 0o600))
	p.Signal(syscall.SIGHUP)
	kit.Pause(ctx, lookEvery)
	without := p.busy(func() { kit.Pause(ctx, *span) })
	f.Note("processor time of each stack's rules, of one processor", 100*(with-without)/n, "%",
		"Prometheus: %.2f %% with %d stacks, %.2f %% without", 100*with, *stacks, 100*without)
	fmt.Print(f)
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

// prometheus is a running server.
type prometheus struct {
	*integration.Process
	url string
}

//go:embed prometheus.yaml.tmpl
var configuration string

func start(program, dir, address string, stacks int) *prometheus {
	name := filepath.Join(dir, "prometheus.yaml")
	file, listen := kit.Must(os.Create(name)), kit.Must(testenv.FindAddress())
	data := map[string]any{"Address": address, "Stacks": stacks}
	kit.Check(template.Must(template.New("").Parse(configuration)).Execute(file, data))
	kit.Check(file.Close())
	p := &prometheus{url: "http://" + listen, Process: kit.Must(integration.Start(os.Stderr, nil, program,
		"--config.file="+name, "--log.level=error", "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--storage.tsdb.retention.time=60d", "--web.listen-address="+listen))}
	responds := func() bool { return kit.Try(func() { p.metrics() }) == nil }
	if err := integration.WaitFor("Prometheus responds", 2*time.Minute, responds); err != nil {
		p.Kill()
		kit.Check(err)
	}
	return p
}

// metrics are those about itself.
func (p *prometheus) metrics() testenv.Samples {
	response := kit.Must(http.Get(p.url + "/metrics"))
	defer response.Body.Close()
	return testenv.ReadSamples(string(kit.Must(io.ReadAll(response.Body))))
}

// busy is the processor time that Prometheus takes in each second while something is done.
func (p *prometheus) busy(do func()) float64 {
	const cpu = "process_cpu_seconds_total"
	before, began := p.metrics()[cpu], time.Now()
	do()
	return (p.metrics()[cpu] - before) / time.Since(began).Seconds()
}
