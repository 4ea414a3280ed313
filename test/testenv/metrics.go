// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
)

// Samples are the metrics of one scrape, by series as they are written:
// name{label="value",...}.
type Samples map[string]float64

// Metrics scrapes the operator.
func (o *Operator) Metrics(ctx context.Context) (Samples, error) {
	body, err := get(ctx, o.metrics)
	if err != nil {
		return nil, err
	}
	return ReadSamples(body), nil
}

// ReadSamples reads metrics in Prometheus' text format.
func ReadSamples(body string) Samples {
	samples := Samples{}
	for line := range strings.Lines(body) {
		// No label value of ours holds a space behind the closing brace.
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if value, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64); err == nil {
			samples[line[:at]] = value
		}
	}
	return samples
}

// Sum adds up the series of a metric that have all the labels, written as name="value".
func (s Samples) Sum(metric string, labels ...string) float64 {
	var sum float64
next:
	for series, value := range s {
		name, rest, _ := strings.Cut(series, "{")
		if name != metric {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(","+rest, ","+label) {
				continue next
			}
		}
		sum += value
	}
	return sum
}

// Passes is the number of passes over stacks that have ended.
func (s Samples) Passes() float64 {
	return s.Sum("controller_runtime_reconcile_total", `controller="observabilitystack"`)
}

// Idle reports whether no stack is being worked on, nor waits for it.
func (s Samples) Idle() bool {
	return s.Sum("workqueue_depth", `controller="observabilitystack"`) == 0 &&
		s.Sum("controller_runtime_active_workers", `controller="observabilitystack"`) == 0
}

// Requests is the number of requests that the operator has sent to the API server.
func (s Samples) Requests() float64 { return s.Sum("rest_client_requests_total") }

// Resident is the operator's resident memory in bytes, as Linux counts it.
func (o *Operator) Resident() (uint64, error) {
	process, err := procfs.NewProc(o.PID())
	if err != nil {
		return 0, fmt.Errorf("read the memory of the operator: %w", err)
	}
	status, err := process.NewStatus()
	if err != nil {
		return 0, fmt.Errorf("read the memory of the operator: %w", err)
	}
	return status.VmRSS, nil
}

// Heap is how many bytes of the operator's heap are in use, right after garbage
// was collected: what it holds, whatever it needed to get there.
func (o *Operator) Heap(ctx context.Context) (int64, error) {
	var profile string
	// What sync.Pools hold survives one collection.
	for range 2 {
		var err error
		if profile, err = get(ctx, o.pprof+"/heap?gc=1&debug=1"); err != nil {
			return 0, err
		}
	}
	for line := range strings.Lines(profile) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "# HeapAlloc = "); ok {
			return strconv.ParseInt(value, 10, 64)
		}
	}
	return 0, errors.New("read the operator's heap: its profile has no HeapAlloc")
}
