// SPDX-License-Identifier: Apache-2.0

// Package watchdog notices reconcile passes that never end, which nothing but a
// restart ends. It does not look at the API server: that it is away is no
// reason to restart.
package watchdog

import (
	"context"
	"fmt"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Watchdog knows when the running passes began.
type Watchdog struct {
	limit time.Duration
	now   func() time.Time

	mu      sync.Mutex
	next    int
	running map[int]pass
}

type pass struct {
	request reconcile.Request
	began   time.Time
}

// New makes a watchdog for passes longer than limit.
func New(limit time.Duration, now func() time.Time) *Watchdog {
	return &Watchdog{limit: limit, now: now, running: map[int]pass{}}
}

// Wrap watches the passes of a reconciler.
func (w *Watchdog) Wrap(next reconcile.Reconciler) reconcile.Reconciler {
	return reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
		defer w.end(w.begin(req))
		return next.Reconcile(ctx, req)
	})
}

// Check returns an error that names the longest-running pass, if it is over the limit.
func (w *Watchdog) Check() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var longest pass
	for _, p := range w.running {
		if longest.began.IsZero() || p.began.Before(longest.began) {
			longest = p
		}
	}
	if longest.began.IsZero() {
		return nil
	}
	if age := w.now().Sub(longest.began); age > w.limit {
		return fmt.Errorf("the pass over %s has been running for %s, longer than %s", longest.request, age.Round(time.Second),
			w.limit)
	}
	return nil
}

func (w *Watchdog) begin(req reconcile.Request) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	w.running[w.next] = pass{req, w.now()}
	return w.next
}

func (w *Watchdog) end(id int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.running, id)
}
