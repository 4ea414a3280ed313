// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

const (
	// outage is how long the API server is away.
	outage = 30 * time.Second
	// loadStacks is how many stacks are made, and then changed, meanwhile.
	loadStacks = 60
)

func (p *plane) apiServerAway(t *testing.T) {
	namespace := p.namespace(t)
	op := p.run(t, "operator")
	ready(t, op)

	load := p.startLoad(t.Context(), namespace)
	testenv.Poll(t, load.reached(loadStacks/2))
	if err := p.StopAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	over := time.Now().Add(outage)
	testenv.PollFor(t, 2*outage, func(ctx context.Context) string {
		if err := op.Live(ctx); err != nil {
			t.Errorf("while the API server is away, liveness fails: %v", err)
		}
		if time.Now().Before(over) {
			return "the outage is not over"
		}
		return ""
	})
	if load.done.Load() == load.total {
		t.Error("all changes were made before the outage, want some during and after it")
	}
	if err := p.StartAPIServer(); err != nil {
		t.Fatal(err)
	}
	testenv.Poll(t, load.reached(load.total))
	p.converged(t, op, namespace)
	p.wantChildren(t, namespace)
	if !running(op) {
		t.Fatalf("the operator ended with exit status %d", op.ExitCode())
	}

	// A new operator knows nothing and applies all again. That this changes
	// nothing shows that nothing is stale.
	if err := op.Stop(); err != nil {
		t.Fatal(err)
	}
	before := p.versions(t, namespace)
	second := p.run(t, "operator")
	ready(t, second)
	p.converged(t, second, namespace)
	if diff := cmp.Diff(before, p.versions(t, namespace)); diff != "" {
		t.Errorf("a restart changed what the operator left (-before +after):\n%s", diff)
	}
}

// load is a client that makes and changes stacks, one request after another, and
// tries each until it is done.
type load struct {
	done  atomic.Int32
	total int32
}

func (p *plane) startLoad(ctx context.Context, namespace string) *load {
	l := &load{total: 2 * loadStacks}
	const lag = 10 // how far changing is behind making
	go func() {
		for i := range loadStacks + lag {
			if i < loadStacks {
				l.try(ctx, func(ctx context.Context) error {
					err := p.api.Create(ctx, loadStack(namespace, i))
					if apierrors.IsAlreadyExists(err) {
						return nil // Made by a request whose response was lost.
					}
					return err
				})
			}
			if i >= lag {
				l.try(ctx, func(ctx context.Context) error {
					return p.change(ctx, loadStack(namespace, i-lag), changeLoad(i))
				})
			}
		}
	}()
	return l
}

func loadStack(namespace string, i int) *obsv1.ObservabilityStack {
	return newStack(namespace, fmt.Sprintf("stack-%02d", i))
}

// changeLoad makes every other change one that prunes.
func changeLoad(i int) func(*obsv1.ObservabilityStackSpec) {
	return func(spec *obsv1.ObservabilityStackSpec) {
		spec.Metrics.Monitors = append(spec.Metrics.Monitors, monitor("worker"))
		if i%2 == 0 {
			spec.Alerts = nil
		}
	}
}

// try sends a request every 50 ms until it succeeds or the test is over.
func (l *load) try(ctx context.Context, send func(context.Context) error) {
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, false, func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return send(ctx) == nil, nil
	})
	if err == nil {
		l.done.Add(1)
	}
}

func (l *load) reached(n int32) func(context.Context) string {
	return func(context.Context) string {
		if done := l.done.Load(); done < n {
			return fmt.Sprintf("%d of %d changes are made", done, n)
		}
		return ""
	}
}
