// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"math/rand/v2"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// podsPage keeps a page of whole Pods small; one of metadata may have more.
	podsPage, metadataPage = 250, 1000
	// requestsPerMinute bounds what proofs ask the API server. A start may ask as much at once.
	requestsPerMinute = 12
	// firstRound is within this time of the start, for operators that start together.
	firstRound = 5 * time.Second
)

// NewRequests returns what bounds the requests of proofs to the API server.
func NewRequests() *rate.Limiter {
	return rate.NewLimiter(rate.Every(time.Minute/requestsPerMinute), requestsPerMinute)
}

// every calls a round again and again until the context ends. One that fails is repeated like any
// other.
func every(ctx context.Context, interval time.Duration, source Source, round func(context.Context) error) error {
	pause := rand.N(min(firstRound, interval)) // #nosec G404 -- nobody must not guess it
	for sleep(ctx, pause) {
		_ = measured(ctx, source, func() error { return round(ctx) }) // which logs it
		pause = pauseOf(interval)
	}
	return nil
}

// sleep reports whether the context still goes on after a pause.
func sleep(ctx context.Context, pause time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}

// pauseOf is how long a round waits for the one before. It is shorter than the interval, so that a
// fault which must be found in several rounds shows within as many intervals, rounds included.
func pauseOf(interval time.Duration) time.Duration { return wait.Jitter(interval*4/5, 0.2) }
