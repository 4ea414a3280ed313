// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
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
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		_ = measured(ctx, source, func() error { return round(ctx) }) // which logs it
		pause = wait.Jitter(interval-interval/10, 0.2)
	}
}

// stacksOf lists the stacks that are there to stay, from the cache: they must not be changed.
func stacksOf(ctx context.Context, reader client.Reader) ([]*obsv1.ObservabilityStack, error) {
	list := &obsv1.ObservabilityStackList{}
	if err := reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list stacks: %w", err)
	}
	var stacks []*obsv1.ObservabilityStack
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp.IsZero() {
			stacks = append(stacks, &list.Items[i])
		}
	}
	return stacks, nil
}
