// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// concurrency of the operator, and of the bare client that it is compared with.
const concurrency = 8

// patience bounds each wait.
const patience = 20 * time.Minute

// bench is one run: the API server, the operator and what has been measured.
type bench struct {
	options
	report

	plane     *testenv.ControlPlane
	api       client.WithWatch
	clientset kubernetes.Interface
	webhooks  *testenv.Webhooks
	binary    string
	op        *testenv.Operator
	dir       string
	// sets counts the sets of namespaces, so that no two share a name.
	sets int
	// stacks are those that stay for all measurements but the first.
	stacks []*obsv1.ObservabilityStack
}

func newBench(ctx context.Context, o options) (*bench, error) {
	b := &bench{options: o}
	dir, err := os.MkdirTemp("", "obstack-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	b.dir = dir
	return b, b.start(ctx)
}

func (b *bench) start(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, b.stop())
		}
	}()
	progress("building the operator")
	if b.binary, err = testenv.BuildOperator(ctx, b.dir); err != nil {
		return err
	}
	if err := b.startPlane(ctx); err != nil {
		return err
	}
	return b.machineBefore()
}

// startPlane starts an API server with the webhooks registered.
func (b *bench) startPlane(ctx context.Context) error {
	root, err := testenv.Root()
	if err != nil {
		return err
	}
	progress("starting the API server")
	b.plane, err = testenv.StartControlPlane(ctx, testenv.Options{Log: os.Stderr, CRDPaths: []string{filepath.Join(root, "test", "crds")}})
	if err != nil {
		return err
	}
	if b.api, err = client.NewWithWatch(b.plane.Config, client.Options{Scheme: testenv.Scheme()}); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if b.clientset, err = kubernetes.NewForConfig(b.plane.Config); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	b.webhooks, err = testenv.RegisterWebhooks(b.plane)
	return err
}

// renew replaces the API server, and with it all that is in it, by an empty one.
func (b *bench) renew(ctx context.Context) error {
	if err := b.plane.Stop(); err != nil {
		return err
	}
	b.plane, b.op = nil, nil
	return b.startPlane(ctx)
}

func (b *bench) stop() error {
	var err error
	if b.plane != nil {
		err = b.plane.Stop()
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}

// restart starts the operator, anew if it runs, and waits until it is ready.
func (b *bench) restart(ctx context.Context, flags ...string) error {
	if b.op != nil {
		if err := b.op.Stop(); err != nil {
			return err
		}
	}
	flags = append(append(flags, b.webhooks.Flags()...), fmt.Sprintf("--max-concurrent-reconciles=%d", concurrency))
	var err error
	if b.op, err = testenv.StartOperator(b.plane, b.binary, "operator", flags...); err != nil {
		return err
	}
	return b.op.WaitReady(ctx)
}

// seldom is how often it is looked whether the operator is idle. Answering takes processor time that it needs.
const seldom = 400 * time.Millisecond

// until polls the operator's metrics.
func (b *bench) until(ctx context.Context, every time.Duration, what string, holds func(testenv.Samples) bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := wait.PollUntilContextCancel(ctx, every, true, func(ctx context.Context) (bool, error) {
		samples, err := b.op.Metrics(ctx)
		return err == nil && holds(samples), nil
	})
	if err != nil {
		return fmt.Errorf("wait until %s: %w; the end of the operator's log:\n%s", what, err, b.op.Tail())
	}
	return nil
}

// settled waits until the operator has passed over n stacks and has nothing left to do.
func (b *bench) settled(ctx context.Context, n int) error {
	return b.until(ctx, seldom, "the operator is idle", func(s testenv.Samples) bool { return s.Passes() >= float64(n) && s.Idle() })
}

// rested waits until the operator has passed over nothing for a while.
func (b *bench) rested(ctx context.Context) error {
	passes := -1.0
	return b.until(ctx, seldom, "the operator has caught up", func(s testenv.Samples) bool {
		same := s.Passes() == passes && s.Idle()
		passes = s.Passes()
		return same
	})
}

// halted does something while the operator stands still.
func (b *bench) halted(do func() error) error {
	if err := syscall.Kill(b.op.PID(), syscall.SIGSTOP); err != nil {
		return fmt.Errorf("halt the operator: %w", err)
	}
	return errors.Join(do(), syscall.Kill(b.op.PID(), syscall.SIGCONT))
}

// parallel does n things, as many at a time as the operator.
func parallel(ctx context.Context, n int, do func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var workers sync.WaitGroup
	for range concurrency {
		workers.Go(func() {
			for i := range next {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range n {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	workers.Wait()
	return context.Cause(ctx)
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}
