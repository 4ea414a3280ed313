// SPDX-License-Identifier: Apache-2.0

// Command rules measures what the alerts and SLOs of a stack cost a real
// Prometheus: the series that they record and the time that their evaluation
// takes, with a month of recorded history, for one stack and for many.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

type options struct {
	many, pods, handlers, tasks int
	history, settle, measure    time.Duration
	out                         string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, parseFlags()); err != nil {
		fmt.Fprintln(os.Stderr, "rules:", err)
		os.Exit(1)
	}
}

func parseFlags() options {
	var o options
	flag.IntVar(&o.many, "many", 100, "`stacks` of the second measurement; the first has one")
	flag.IntVar(&o.pods, "pods", 3, "Pods of each stack's HTTP service")
	flag.IntVar(&o.handlers, "handlers", 20, "routes of each Pod, with two statuses each")
	flag.IntVar(&o.tasks, "tasks", 10, "task names of each stack")
	flag.DurationVar(&o.history, "history", 30*24*time.Hour, "how far back the recorded series go")
	flag.DurationVar(&o.settle, "settle", 5*time.Minute+30*time.Second, "how long Prometheus runs before it is measured")
	flag.DurationVar(&o.measure, "measure", 2*time.Minute+30*time.Second, "how long it is measured")
	flag.StringVar(&o.out, "out", filepath.Join("docs", "benchmarks-rules.md"), "`file` to write")
	flag.Parse()
	return o
}

func run(ctx context.Context, o options) error {
	parts := os.Getenv("OBSTACK_REALPARTS")
	if parts == "" {
		return errors.New(`OBSTACK_REALPARTS is not set: use make bench-rules, or export OBSTACK_REALPARTS="$(hack/realparts/dashboards.sh)"`)
	}
	var results []result
	for _, stacks := range []int{1, o.many} {
		found, err := measure(ctx, o, filepath.Join(parts, "prometheus"), stacks)
		if err != nil {
			return fmt.Errorf("%d stacks: %w", stacks, err)
		}
		fmt.Printf("%+v\n", found)
		results = append(results, found)
	}
	return report(o, results)
}

// measure runs one Prometheus with that many stacks.
func measure(ctx context.Context, o options, binary string, stacks int) (found result, err error) {
	dir, err := os.MkdirTemp("", "obstack-rules-")
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	scraped, err := serveApplications(o)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, scraped.Close()) }()
	rules, err := writeRules(dir, stacks)
	if err != nil {
		return result{}, err
	}
	if err := writeHistory(ctx, dir, stacks, o.history); err != nil {
		return result{}, err
	}
	server, err := startPrometheus(ctx, binary, dir, scraped.Addr, stacks, o.pods)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	if err := pause(ctx, o.settle); err != nil {
		return result{}, err
	}
	found, err = server.observe(ctx, o.measure)
	found.Stacks, found.Rules = stacks, rules
	return found, err
}

func pause(ctx context.Context, span time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(span):
		return nil
	}
}
