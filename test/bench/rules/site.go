// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/test/bench/kit"
	"obstack.dev/obstack/test/testenv"
)

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
	// Every block is another pass over the whole file.
	output, err := exec.CommandContext(ctx, kit.Must(testenv.Tool(ctx, "promtool")), "tsdb", "create-blocks-from",
		"openmetrics", "--quiet", "--max-block-duration=1000h", text, filepath.Join(dir, "data")).CombinedOutput()
	if err != nil {
		kit.Check(fmt.Errorf("make blocks: %w: %s", err, output))
	}
	kit.Check(os.Remove(text))
}

//go:embed applications.tmpl
var applications string

// serveApplications serves, at /api and /tasks, what the applications of a stack expose.
func serveApplications() *httptest.Server {
	began := time.Now()
	count := func(rate float64) float64 { return rate * time.Since(began).Seconds() }
	pages := template.Must(template.New("").Delims("<<", ">>").Funcs(template.FuncMap{
		"count": count,
		"histogram": func(name, labels string, rate float64, buckets string) string {
			var out strings.Builder
			for i, le := range strings.Fields(buckets) {
				fmt.Fprintf(&out, "%s_bucket{%sle=\"%s\"} %g\n", name, labels, le, count(rate)*min(1, .9+.02*float64(i)))
			}
			fmt.Fprintf(&out, "%s_count{%s} %g\n%s_sum{%s} %g\n", name, labels, count(rate), name, labels, count(rate)/20)
			return out.String()
		},
	}).Parse(applications))
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = pages.ExecuteTemplate(w, r.URL.Path, nil) // Prometheus may have gone.
	}))
}
