// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

// objectives are those of each stack, as in the design's example.
var objectives = []obsv1.SLO{
	{Name: "api-availability", Monitor: "api", Indicator: obsv1.IndicatorAvailability, Objective: "99.9"},
	{Name: "api-latency", Monitor: "api", Indicator: obsv1.IndicatorLatency, Objective: "99", Threshold: "500ms"},
}

// stack has a FastAPI service, a broker, every alert and the objectives, with the defaults of the API.
func stack(i int) *obsv1.ObservabilityStack {
	ratio := obsv1.RatioAlert{Threshold: "0.05", For: "10m", Severity: "warning"}
	slos := append([]obsv1.SLO(nil), objectives...)
	for j := range slos {
		slos[j].Window, slos[j].Alerts.MinimumFailures = "30d", 3
	}
	return &obsv1.ObservabilityStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprintf("shop-%d", i), Name: "shop"},
		Spec: obsv1.ObservabilityStackSpec{
			Metrics: &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{{Name: "api", Framework: obsv1.FrameworkFastAPI, Interval: "30s"}}},
			Tasks: &obsv1.TasksSpec{Brokers: []obsv1.Broker{{Name: "main", URL: "redis://redis:6379/0",
				PeriodicTasks: []obsv1.PeriodicTask{{Name: "task-0", Interval: "1h"}}}}},
			Alerts: &obsv1.AlertsSpec{
				Latency:    obsv1.LatencyAlert{Threshold: "1s", For: "10m", Severity: "warning"},
				ErrorRatio: ratio, TaskFailureRatio: ratio,
				QueueBacklog:      obsv1.QueueBacklogAlert{Threshold: 1000, For: "15m", Severity: "warning"},
				QueueStalled:      obsv1.QueueStalledAlert{Window: "10m", For: "5m", Severity: "warning"},
				WorkersLost:       obsv1.WorkersLostAlert{Threshold: 1, Window: "15m", Severity: "warning"},
				SchedulerSilent:   obsv1.SchedulerSilentAlert{For: "10m", Severity: "warning"},
				TargetDown:        obsv1.TargetDownAlert{Threshold: "0.1", For: "10m", Severity: "warning"},
				BrokerUnreachable: obsv1.BrokerUnreachableAlert{For: "5m", Severity: "warning"},
			},
			SLOs: slos,
		},
	}
}

// writeRules writes a file for each PrometheusRule, as prometheus-operator does,
// and returns the number of rules of one stack.
func writeRules(dir string, stacks int) (rules int, err error) {
	for i := range stacks {
		rules = 0
		for _, component := range desired.Components {
			for _, object := range component.Build(stack(i), desired.Inputs{}).Objects {
				rule, ok := object.(*monitoringv1.PrometheusRule)
				if !ok {
					continue
				}
				content, err := yaml.Marshal(map[string]any{"groups": rule.Spec.Groups})
				if err != nil {
					return 0, err
				}
				if err := os.WriteFile(filepath.Join(dir, rule.Namespace+"-"+rule.Name+".rules.yaml"), content, 0o600); err != nil {
					return 0, err
				}
				for _, group := range rule.Spec.Groups {
					rules += len(group.Rules)
				}
			}
		}
	}
	return rules, nil
}

// writeHistory makes blocks of what would have been recorded of each objective, once a minute.
func writeHistory(ctx context.Context, dir string, stacks int, history time.Duration) (err error) {
	text := filepath.Join(dir, "history.txt")
	if err := writeSamples(text, stacks, history); err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "tool", "-modfile="+filepath.Join("hack", "tools", "go.mod"), "-n", "promtool")
	build.Env = append(os.Environ(), "GOFLAGS=-tags=remove_all_sd", "CGO_ENABLED=0")
	promtool, err := build.Output()
	if err != nil {
		return fmt.Errorf("build promtool: %w", err)
	}
	// Every block is another pass over the whole file.
	tool := exec.CommandContext(ctx, strings.TrimSpace(string(promtool)),
		"tsdb", "create-blocks-from", "openmetrics", "--quiet", "--max-block-duration=1000h", text, filepath.Join(dir, "data"))
	if output, err := tool.CombinedOutput(); err != nil {
		return fmt.Errorf("make blocks: %w: %s", err, output)
	}
	return os.Remove(text)
}

func writeSamples(file string, stacks int, history time.Duration) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<20)
	// Ends before the head of the database begins.
	end := time.Now().Add(-3 * time.Hour).Truncate(time.Minute).Unix()
	start := end - int64(history.Seconds())
	var line []byte
	for _, metric := range []string{"obstack:slo_events:rate5m", "obstack:slo_errors:rate5m"} {
		fmt.Fprintf(w, "# TYPE %s gauge\n", metric)
		for i := range stacks {
			for _, slo := range objectives {
				head := fmt.Sprintf(`%s{namespace="shop-%d",obstack_stack="shop",obstack_monitor="api",slo="%s"} `, metric, i, slo.Name)
				for at := start; at < end; at += 60 {
					line = append(line[:0], head...)
					line = strconv.AppendFloat(line, rateAt(metric, i, at), 'g', 6, 64)
					line = append(line, ' ')
					line = append(strconv.AppendInt(line, at, 10), '\n')
					if _, err := w.Write(line); err != nil {
						return err
					}
				}
			}
		}
	}
	fmt.Fprintln(w, "# EOF")
	return w.Flush()
}

// rateAt differs from minute to minute, as real rates do, so that it compresses no better than they do.
func rateAt(metric string, i int, at int64) float64 {
	noise := float64((at/60*7919+int64(i)*104729)%1000) / 1000
	if strings.Contains(metric, "errors") {
		return noise / 1000
	}
	return 10 + noise
}
