// SPDX-License-Identifier: Apache-2.0

// Command rules measures what the alerts and SLOs of many stacks cost a real Prometheus, with a
// month of recorded history, and prints the figures for docs/benchmarks/rules.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"

	"obstack.dev/obstack/test/bench/kit"
	"obstack.dev/obstack/test/testenv"
)

// A stack's HTTP service has so many Pods with so many routes, and its broker so many tasks.
const pods, routes, tasks = 3, 20, 10

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
	f, n := &kit.Figures{}, float64(*stacks)
	f.Note("rules of each stack", float64(writeRules(dir, *stacks)), "")
	writeHistory(ctx, dir, *stacks, *history)
	applications := serveApplications()
	defer applications.Close()
	p := start(filepath.Join(parts, "prometheus"), dir, strings.TrimPrefix(applications.URL, "http://"), *stacks)
	defer p.stop()
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
	for _, file := range kit.Must(filepath.Glob(filepath.Join(dir, "*.rules.yaml"))) {
		kit.Check(os.Remove(file))
	}
	// It reads its configuration again, in which no rule matches any more.
	kit.Check(p.cmd.Process.Signal(syscall.SIGHUP))
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
	url string
	cmd *exec.Cmd
}

// start starts one that scrapes and evaluates at the intervals that are usual: 30 s, and 15 s for
// task exporters.
func start(program, dir, address string, stacks int) *prometheus {
	job := func(name, interval string, pods int, label, value string) map[string]any {
		var targets []any
		for i := range stacks * pods {
			targets = append(targets, map[string]any{"targets": []string{address}, "labels": map[string]string{
				"namespace": fmt.Sprintf("shop-%d", i/pods), "pod": fmt.Sprintf("%s-%d", name, i%pods),
				"obstack_stack": "shop", label: value,
			}})
		}
		return map[string]any{
			"job_name": name, "metrics_path": "/" + name, "scrape_interval": interval, "static_configs": targets,
		}
	}
	file, listen := filepath.Join(dir, "prometheus.yaml"), kit.Must(testenv.FindAddress())
	kit.Check(os.WriteFile(file, kit.Must(yaml.Marshal(map[string]any{
		"global": map[string]any{"evaluation_interval": "30s"}, "rule_files": []string{filepath.Join(dir, "*.rules.yaml")},
		"scrape_configs": []any{
			job("api", "30s", pods, "obstack_monitor", "api"), job("tasks", "15s", 1, "obstack_broker", "main"),
		},
	})), 0o600))
	p := &prometheus{url: "http://" + listen, cmd: exec.Command(program, "--config.file="+file, "--log.level=error",
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--storage.tsdb.retention.time=60d",
		"--web.listen-address="+listen)}
	p.cmd.Stderr = os.Stderr
	kit.Check(p.cmd.Start())
	for range 120 {
		if kit.Try(func() { p.metrics() }) == nil {
			return p
		}
		time.Sleep(time.Second)
	}
	p.stop()
	kit.Check(errors.New("Prometheus does not respond")) //nolint:staticcheck // a name
	return nil
}

func (p *prometheus) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // It may have ended by itself, which Wait reports.
	if err := p.cmd.Wait(); err != nil {
		kit.Progress("Prometheus ended: %v", err)
	}
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
