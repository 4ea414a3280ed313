// SPDX-License-Identifier: Apache-2.0

// Command bench measures the operator against a bare client, on one real API
// server of this machine, prints the figures and writes them to
// docs/benchmarks/operator.md. All are ratios or counts from one run, because times
// alone say more about the machine than about the operator.
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"text/template"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/discovery"
	ctrl "sigs.k8s.io/controller-runtime"

	"obstack.dev/obstack/test/bench/kit"
	"obstack.dev/obstack/test/testenv"
)

//go:embed report.md.tmpl
var page string

func main() { os.Exit(kit.Main(run)) }

func run(ctx context.Context) {
	ctrl.SetLogger(logr.Discard())
	b := &bench{ctx: ctx}
	flag.IntVar(&b.few, "few", 200, "`stacks` of the first comparison")
	flag.IntVar(&b.pairs, "pairs", 7, "how often the first comparison is made; the median counts")
	flag.IntVar(&b.many, "many", 1000, "`stacks` of the second comparison and of all other measurements")
	flag.IntVar(&b.foreign, "foreign", 10000, "foreign `objects` of each kind")
	flag.IntVar(&b.pods, "pods", 500, "`Pods` of each kind that are created with the webhook and without")
	flag.IntVar(&b.rounds, "pod-rounds", 12, "how often they are")
	flag.IntVar(&b.workloads, "workloads", 10000, "`workloads`, with 5 Pods each; a multiple of 200")
	only := flag.String("only", "", "measure only some of converge,steady,restart,proofs,pods,workloads; write no page")
	out := flag.String("out", filepath.Join("docs", "benchmarks", "operator.md"), "`file` to write")
	flag.Parse()
	date, load := time.Now().UTC().Format("2006-01-02 15:04"), kit.Load()
	dir := kit.Must(os.MkdirTemp("", "obstack-bench-"))
	defer os.RemoveAll(dir)
	kit.Progress("building the operator")
	b.binary = kit.Must(testenv.BuildOperator(ctx, dir))
	b.renew()
	defer func() { kit.Check(b.plane.Stop()) }()
	kit.Parts{
		{"converge", b.converges}, {"steady", b.steady}, {"restart", b.restarts}, {"proofs", b.proofs},
		{"pods", b.podCreation}, {"workloads", b.workloadMemory},
	}.Run(*only)
	fmt.Print(b.String())
	if *only != "" {
		return
	}
	file := kit.Must(os.Create(*out))
	kit.Check(template.Must(template.New("page").Parse(page)).Execute(file, map[string]any{
		"Figures": b.String(), "Pairs": b.comparisons, "Date": date, "LoadBefore": load, "Load": kit.Load(),
		"Processors": runtime.NumCPU(), "Go": runtime.Version(), "Concurrency": concurrency, "Pods": b.pods,
		"Kubernetes": kit.Must(kit.Must(discovery.NewDiscoveryClientForConfig(b.plane.Config)).ServerVersion()).GitVersion,
	}))
	kit.Check(file.Close())
}
