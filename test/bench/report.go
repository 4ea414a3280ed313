// SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"runtime"
	"strings"
	"text/template"
	"time"

	"k8s.io/client-go/discovery"

	"obstack.dev/obstack/test/bench/machine"
)

// The bars that the numbers are held against.
const (
	barConverge = 1.3
	barResync   = 0
	barMemory   = 1.3
	// At least these shares of the Pods per second that are created without the webhook.
	barPlain   = 0.98
	barStamped = 0.85
	// Bytes for each workload that does not concern us; for each Pod, nothing that
	// differs from nothing in this measurement.
	barWorkload = 1024
	barPod      = 10
)

// report is what has been measured, and on what.
type report struct {
	Date                         time.Time
	Processor, Go, Kubernetes    string
	Processors                   int
	LoadBefore, LoadAfter        string
	Few, Many                    []pair
	Children                     int
	PassesPerStack               float64
	RequestsPerStack             float64
	ResyncPasses, ResyncRequests int
	Change                       pair
	ChangeRequests               float64
	MemoryIdle                   int64
	MemoryStacks, MemoryForeign  readings
	Creations                    []*creation
	PodsInjected, PodsMissed     int
	Handler                      []handling
	Loads                        loads
	Annotated                    int
}

func (b *bench) machineBefore() error {
	disco, err := discovery.NewDiscoveryClientForConfig(b.plane.Config)
	if err != nil {
		return fmt.Errorf("ask for the version: %w", err)
	}
	version, err := disco.ServerVersion()
	if err != nil {
		return fmt.Errorf("ask for the version: %w", err)
	}
	b.Date, b.Go, b.Kubernetes = time.Now().UTC(), runtime.Version(), version.GitVersion
	b.Processor, b.Processors, b.LoadBefore = processor(), runtime.NumCPU(), machine.LoadAverage()
	return nil
}

func (b *bench) machineAfter() { b.LoadAfter = machine.LoadAverage() }

func processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if match := regexp.MustCompile(`(?m)^model name\s*:\s*(.+)$`).FindSubmatch(info); err == nil && match != nil {
		return string(match[1])
	}
	return runtime.GOARCH
}

//go:embed report.md.tmpl
var page string

// write writes one part of the report: "table" or "page".
func (b *bench) write(out io.Writer, part string) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"median":      medianBy(pair.Ratio),
		"medianTuned": medianBy(pair.TunedRatio),
		"f0":          func(x float64) string { return fmt.Sprintf("%.0f", math.Round(x)+0) }, // no -0
		"f3":          func(x float64) string { return fmt.Sprintf("%.3f", x) },
		"us":          func(d time.Duration) string { return fmt.Sprintf("%.0f µs", float64(d.Nanoseconds())/1000) },
		"percent":     func(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) },
		"f1":          func(x float64) string { return fmt.Sprintf("%.1f", x) },
		"f2":          func(x float64) string { return fmt.Sprintf("%.2f", x) },
		"s":           func(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) },
		"ms":          func(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1000) },
		"mib":         func(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) },
		"float":       func(n int) float64 { return float64(n) },
		"ratio":       func(a, b int64) float64 { return float64(a) / float64(b) },
		"held":        held,
		"atLeast":     func(number, bar float64) string { return held(-number, -bar) },
		"shares":      shares,
		"each":        func(after, before int64, n int) float64 { return float64(after-before) / float64(n) },
		"fmib":        func(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) },
	}).Parse(page)
	if err != nil {
		return fmt.Errorf("read the template of the report: %w", err)
	}
	data := map[string]any{
		"R": b.report, "FewStacks": b.few, "ManyStacks": b.many, "Changes": b.changes, "Foreign": b.options.foreign, "Concurrency": concurrency,
		"Pods": b.pods, "PodRounds": b.podRounds, "Obstack": obstack, "Answer": onlyAnswer, "Nobody": nobody, "Workloads": b.workloads, "PodsPerWorkload": podsPerWorkload, "WorkloadPods": b.workloads * podsPerWorkload,
		"Namespaces":  b.workloads / workloadsPerNamespace,
		"HandlerRuns": handlerRuns, "Restarts": restarts, "BarWorkload": float64(barWorkload), "BarPod": float64(barPod),
		"BarConverge": barConverge, "BarResync": float64(barResync), "BarMemory": barMemory,
	}
	if err := t.ExecuteTemplate(out, part, data); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// held says whether a number is within its bar.
func held(number, bar float64) string {
	if number <= bar {
		return "held"
	}
	return "**missed**"
}

// shares lists shares in the order of the rounds.
func shares(all []float64) string {
	var list []string
	for _, share := range all {
		list = append(list, fmt.Sprintf("%.2f", share))
	}
	return strings.Join(list, " ")
}
