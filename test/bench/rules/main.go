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
	"sync"
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
	flag.StringVar(&o.out, "out", filepath.Join("docs", "benchmarks", "rules.md"), "`file` to write")
	flag.Parse()
	return o
}

func run(ctx context.Context, o options) (err error) {
	parts := os.Getenv("OBSTACK_INTEGRATION")
	if parts == "" {
		return errors.New(`OBSTACK_INTEGRATION is not set: use make bench-rules, or export OBSTACK_INTEGRATION="$(hack/integration/dashboards.sh)"`)
	}
	var sites []*site
	for _, stacks := range []int{1, o.many} {
		s, err := newSite(ctx, o, stacks)
		if err != nil {
			return fmt.Errorf("%d stacks: %w", stacks, err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
		sites = append(sites, s)
	}
	// Both at a time, which saves ten minutes: the small one takes next to nothing.
	results, failures := make([]result, len(sites)), make([]error, len(sites))
	var running sync.WaitGroup
	for i, s := range sites {
		running.Go(func() { results[i], failures[i] = s.measure(ctx, o, filepath.Join(parts, "prometheus")) })
	}
	running.Wait()
	if err := errors.Join(failures...); err != nil {
		return err
	}
	return report(o, results)
}

// site is what one Prometheus starts with.
type site struct {
	dir           string
	stacks, rules int
}

func newSite(ctx context.Context, o options, stacks int) (*site, error) {
	dir, err := os.MkdirTemp("", "obstack-rules-")
	if err != nil {
		return nil, err
	}
	rules, err := writeRules(dir, stacks)
	if err == nil {
		err = writeHistory(ctx, dir, stacks, o.history)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &site{dir, stacks, rules}, nil
}

// measure runs Prometheus with the rules, and then for as long without, because
// what evaluation costs shows best in the processor time that is saved.
func (s *site) measure(ctx context.Context, o options, binary string) (found result, err error) {
	scraped, err := serveApplications(o)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, scraped.Close()) }()
	server, err := startPrometheus(ctx, binary, s.dir, scraped.Addr, s.stacks, o.pods)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	if err := pause(ctx, o.settle); err != nil {
		return result{}, err
	}
	found, err = server.observe(ctx, o.measure)
	found.Stacks, found.Rules = s.stacks, s.rules
	fmt.Printf("%+v\n", found)
	if err != nil {
		return found, err
	}
	if err := server.dropRules(ctx, s.dir); err != nil {
		return found, err
	}
	found.CPUWithout, err = server.busy(ctx, o.measure)
	fmt.Printf("%+v\n", found)
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
