// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"time"

	"obstack.dev/obstack/test/testenv"
)

// handling is what the Pod webhook's handler needs for one Pod.
type handling struct {
	Containers         int
	Time               time.Duration
	Bytes, Allocations int
}

// handlerRuns is how often each Go benchmark is run; the median counts.
const handlerRuns = 5

var benchmarkLine = regexp.MustCompile(`(?m)^BenchmarkPodWebhook/containers=(\d+)\S*\s+\d+\s+([\d.]+) ns/op\s+(\d+) B/op\s+(\d+) allocs/op$`)

// handler runs the Go benchmark of the Pod webhook's handler.
func (b *bench) handler(ctx context.Context) error {
	progress("the Pod webhook's handler")
	root, err := testenv.Root()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-run=^$", "-bench=^BenchmarkPodWebhook$", "-benchmem", "-benchtime=300ms",
		fmt.Sprintf("-count=%d", handlerRuns), "./controllers/injection")
	cmd.Dir = root
	// Interrupted, go removes its temporary folders; killed, it does not.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("run the benchmark of the handler: %w\n%s", err, output)
	}
	b.Handler, err = parseHandler(output)
	return err
}

// parseHandler reads the median run for each number of containers, in that order.
func parseHandler(output []byte) ([]handling, error) {
	runs := map[int][]handling{}
	for _, match := range benchmarkLine.FindAllSubmatch(output, -1) {
		var numbers [4]float64
		for i := range numbers {
			var err error
			if numbers[i], err = strconv.ParseFloat(string(match[i+1]), 64); err != nil {
				return nil, fmt.Errorf("read the benchmark of the handler: %w", err)
			}
		}
		containers := int(numbers[0])
		runs[containers] = append(runs[containers], handling{
			containers, time.Duration(numbers[1]), int(numbers[2]), int(numbers[3]),
		})
	}
	if len(runs) == 0 {
		return nil, fmt.Errorf("read the benchmark of the handler: no result in %s", bytes.TrimSpace(output))
	}
	var medians []handling
	for _, of := range runs {
		slices.SortFunc(of, func(a, b handling) int { return cmp.Compare(a.Time, b.Time) })
		medians = append(medians, of[len(of)/2])
	}
	slices.SortFunc(medians, func(a, b handling) int { return cmp.Compare(a.Containers, b.Containers) })
	return medians, nil
}
