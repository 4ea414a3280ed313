// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/test/bench/kit"
)

//go:embed stack.yaml
var stackYAML []byte

// writeRules writes a file for each PrometheusRule, as prometheus-operator does,
// and returns the number of rules of one stack.
func writeRules(dir string, stacks int) (rules int) {
	for i := range stacks {
		rules = 0
		stack := &obsv1.ObservabilityStack{}
		kit.Check(yaml.UnmarshalStrict(stackYAML, stack))
		stack.Namespace = fmt.Sprintf("shop-%d", i)
		for _, component := range desired.Components {
			for _, object := range component.Build(stack, desired.Inputs{}).Objects {
				rule, ok := object.(*monitoringv1.PrometheusRule)
				if !ok {
					continue
				}
				content := kit.Must(yaml.Marshal(map[string]any{"groups": rule.Spec.Groups}))
				kit.Check(os.WriteFile(filepath.Join(dir, rule.Namespace+"-"+rule.Name+".rules.yaml"), content, 0o600))
				for _, group := range rule.Spec.Groups {
					rules += len(group.Rules)
				}
			}
		}
	}
	return rules
}

// writeHistory makes blocks of what would have been recorded of each objective, once a minute.
func writeHistory(ctx context.Context, dir string, stacks int, history time.Duration) {
	text := filepath.Join(dir, "history.txt")
	file := kit.Must(os.Create(text))
	out := bufio.NewWriterSize(file, 1<<20)
	// Ends before the head of the database begins.
	end := time.Now().Add(-3 * time.Hour).Truncate(time.Minute).Unix()
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
	fmt.Fprintln(out, "# EOF")
	kit.Check(out.Flush())
	kit.Check(file.Close())
	build := exec.CommandContext(ctx, "go", "tool", "-modfile="+filepath.Join("hack", "tools", "go.mod"), "-n", "promtool")
	build.Env = append(os.Environ(), "GOFLAGS=-tags=remove_all_sd", "CGO_ENABLED=0")
	promtool := strings.TrimSpace(string(kit.Must(build.Output())))
	// Every block is another pass over the whole file.
	output, err := exec.CommandContext(ctx, promtool, "tsdb", "create-blocks-from", "openmetrics", "--quiet",
		"--max-block-duration=1000h", text, filepath.Join(dir, "data")).CombinedOutput()
	if err != nil {
		kit.Check(fmt.Errorf("make blocks: %w: %s", err, output))
	}
	kit.Check(os.Remove(text))
}

// serveApplications serves, at /api and /tasks, what a Pod of a FastAPI service and a task exporter
// expose. The counts grow with the time; the names, labels and numbers of series are the real ones,
// because those are what rules cost.
func serveApplications() *httptest.Server {
	began := time.Now()
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := bufio.NewWriter(w)
		defer out.Flush()
		seconds := time.Since(began).Seconds()
		if r.URL.Path == "/tasks" {
			writeTasks(out, seconds)
		} else {
			writeAPI(out, seconds)
		}
	}))
}

func writeAPI(w io.Writer, seconds float64) {
	for handler := range routes {
		labels := fmt.Sprintf(`handler="/%d",method="GET",`, handler)
		fmt.Fprintf(w, "http_requests_total{%sstatus=\"2xx\"} %g\n", labels, 10*seconds)
		fmt.Fprintf(w, "http_requests_total{%sstatus=\"5xx\"} %g\n", labels, .001*seconds)
		writeHistogram(w, "http_request_duration_seconds", labels, "0.1 0.5 1.0 +Inf", 10*seconds)
	}
	writeHistogram(w, "http_request_duration_highr_seconds", "", "0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1.0 1.5 2.0 "+
		"2.5 3.0 3.5 4.0 4.5 5.0 7.5 10.0 30.0 60.0 +Inf", 10*seconds*routes)
}

func writeTasks(w io.Writer, seconds float64) {
	const buckets = "0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1.0 2.5 5.0 7.5 10.0 +Inf"
	for task := range tasks {
		labels := fmt.Sprintf(`name="task-%d",hostname="worker",queue_name="celery",`, task)
		for state := range strings.FieldsSeq("sent received started succeeded retried revoked rejected cancelled") {
			fmt.Fprintf(w, "celery_task_%s_total{%s} %g\n", state, labels, seconds)
		}
		fmt.Fprintf(w, "celery_task_failed_total{%sexception=\"ValueError\"} %g\n", labels, .001*seconds)
		writeHistogram(w, "celery_task_runtime", labels, buckets, seconds)
		writeHistogram(w, "celery_task_queue_wait_time", labels, buckets, seconds)
	}
	fmt.Fprintln(w, `celery_queue_length{queue_name="celery"} 3`)
	fmt.Fprintln(w, "celery_worker_lost_total 0\ncelery_exporter_broker_up 1")
}

func writeHistogram(w io.Writer, name, labels, buckets string, count float64) {
	for i, le := range strings.Fields(buckets) {
		fmt.Fprintf(w, "%s_bucket{%sle=\"%s\"} %g\n", name, labels, le, count*min(1, .9+.02*float64(i)))
	}
	fmt.Fprintf(w, "%s_count{%s} %g\n%s_sum{%s} %g\n", name, labels, count, name, labels, count/20)
}
