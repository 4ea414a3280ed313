// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// grace is how long a command has to end by itself after Ctrl-C, or when its time is over.
const grace = 2 * time.Second

// undoing is held for reading while something is there that is to be undone.
type undoing struct{}

// undoes keeps the process from ending before the function that it returns is called.
func undoes(ctx context.Context) func() {
	if lock, ok := ctx.Value(undoing{}).(*sync.RWMutex); ok {
		lock.RLock()
		return lock.RUnlock
	}
	return func() {}
}

// within waits until do returns or, once the context has ended, for a grace and until all is
// undone, and then returns the error of the context. Not all that takes long knows a context:
// discovery does not, nor does the standard input.
func within(ctx context.Context, grace time.Duration, do func(context.Context) error) error {
	lock, ok := ctx.Value(undoing{}).(*sync.RWMutex)
	if !ok {
		lock = &sync.RWMutex{}
		ctx = context.WithValue(ctx, undoing{}, lock)
	}
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	for range 2 {
		select {
		case err := <-done:
			return err
		case <-time.After(grace):
		}
		lock.Lock()
		lock.Unlock() //nolint:staticcheck // Nothing is guarded: it waits for those who hold it.
	}
	return ctx.Err()
}

// limited runs what --timeout bounds, if it is set, from the first request on.
func limited(ctx context.Context, timeout time.Duration, do func(context.Context) error) error {
	if timeout <= 0 {
		return do(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := within(ctx, grace, do)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the cluster does not respond within --timeout=%s: %w", timeout, err)
	}
	return err
}
