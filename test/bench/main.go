// SPDX-License-Identifier: Apache-2.0

// Command bench measures the operator against a bare client, on one real API
// server of this machine, prints the numbers as a table and writes them to
// docs/benchmarks/operator.md. All are ratios or counts from one run, because times alone
// say more about the machine than about the operator.
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

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"obstack.dev/obstack/test/testenv"
)

// options say how much to measure. The defaults are what docs/benchmarks/operator.md holds.
type options struct {
	few, many, pairs, manyPairs, changes, foreign int
	pods, podRounds, workloads                    int
	out                                           string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctrl.SetLogger(logr.Discard())
	if err := run(ctx, parseFlags()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseFlags() options {
	var o options
	flag.IntVar(&o.few, "few", 200, "`stacks` of the first comparison")
	flag.IntVar(&o.pairs, "pairs", 7, "how often the first comparison is made; the median counts")
	flag.IntVar(&o.many, "many", 1000, "`stacks` of the second comparison and of all other measurements")
	flag.IntVar(&o.manyPairs, "many-pairs", 1, "how often the second comparison is made; the median counts")
	flag.IntVar(&o.changes, "changes", 25, "how many fields are changed, one after another")
	flag.IntVar(&o.foreign, "foreign", 10000, "foreign `objects` of each kind")
	flag.IntVar(&o.pods, "pods", 500, "`Pods` of each kind that are created with the webhook and without")
	flag.IntVar(&o.podRounds, "pod-rounds", 12, "how often they are")
	flag.IntVar(&o.workloads, "workloads", 10000, "`workloads`, with 5 Pods each, for the memory of injection; a multiple of 200")
	flag.StringVar(&o.out, "out", filepath.Join("docs", "benchmarks", "operator.md"), "`file` to write")
	flag.Parse()
	return o
}

func run(ctx context.Context, o options) (err error) {
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	for _, step := range []func(context.Context) error{b.idle, b.compareFew, b.compareMany, b.change, b.resync, b.foreign, b.handler, b.podCreation, b.workloadMemory} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	b.machineAfter()
	if err := b.write(os.Stdout, "table"); err != nil {
		return err
	}
	root, err := testenv.Root()
	if err != nil {
		return err
	}
	if !filepath.IsAbs(o.out) {
		o.out = filepath.Join(root, o.out)
	}
	file, err := os.Create(o.out)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return errors.Join(b.write(file, "page"), file.Close())
}
