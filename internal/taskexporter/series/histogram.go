// SPDX-License-Identifier: Apache-2.0

package series

import (
	"math"
	"sort"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// histogram counts observations by bucket. One goroutine observes and any number read.
type histogram struct {
	bounds []float64 // upper bounds without +Inf, ascending, shared by all of one family
	counts []atomic.Uint64
	sum    atomic.Uint64 // bits of a float64
	// native has the same observations in a native histogram, if those are asked for.
	native prometheus.Histogram
}

func newHistogram(bounds []float64, native prometheus.Histogram) *histogram {
	return &histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1), native: native}
}

// observe adds without a lock: one goroutine does, and a reader may see the count before the sum.
func (h *histogram) observe(value float64) {
	h.counts[sort.SearchFloat64s(h.bounds, value)].Add(1)
	h.sum.Store(math.Float64bits(math.Float64frombits(h.sum.Load()) + value))
	if h.native != nil {
		h.native.Observe(value)
	}
}

// nativeBuckets bounds the buckets of a native histogram. It takes up to 15 KiB with all of them, a
// hundred times as much as a classic one.
const nativeBuckets = 160

// cost is the number of Prometheus series that a histogram with these bounds takes, each bucket of
// a native one counted as a series too.
func (s *Store) cost(bounds []float64) int {
	classic := len(bounds) + 3
	if s.config.Native {
		return classic + nativeBuckets
	}
	return classic
}
