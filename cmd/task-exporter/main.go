// SPDX-License-Identifier: Apache-2.0

// Command task-exporter serves Celery's events as Prometheus metrics.
// docs/reference/task-exporter.md describes it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/redis/go-redis/v9"

	"obstack.dev/obstack/internal/taskexporter"
	"obstack.dev/obstack/internal/taskexporter/broker"
)

// version is set at build time with -ldflags.
var version = "dev"

// memoryRatio is how much of the container's memory limit the garbage collector may let the process
// take.
const memoryRatio = 0.9

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop) // a second signal does not wait for another exporter
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "task-exporter:", err)
		os.Exit(exitStatus(err))
	}
}

// usageError is a mistake in the arguments or the environment.
type usageError struct{ error }

// exitStatus is 2 for what starting again cannot change.
func exitStatus(err error) int {
	if errors.As(err, new(usageError)) {
		return 2
	}
	return 1
}

// run works until the context ends or the address cannot be listened on.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	options, err := taskexporter.ParseOptions(args, getenv, stdout)
	if errors.Is(err, taskexporter.ErrHelp) {
		return nil
	}
	if err != nil {
		return usageError{err}
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: options.LogLevel}))
	for _, warning := range options.Warnings {
		log.Warn(warning)
	}
	redis.SetLogger(silent{})
	// Without a limit of the container there is nothing to honour.
	if _, err := memlimit.Set(memlimit.WithRatio(memoryRatio)); err != nil {
		log.Debug("no memory limit to honour", "reason", err)
	}
	options.Version = version
	log.Info("starting", "broker", options.Address.String(), "listen", options.Listen)
	exporter := taskexporter.New(options, broker.New(options.Address, options.Transport, options.TLS), log)
	// Work goes on after the signal for as long as another exporter needs to take over.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	context.AfterFunc(ctx, func() {
		exporter.Leave()
		cancel()
	})
	stopped := make(chan struct{})
	go func() {
		exporter.Run(work)
		close(stopped)
	}()
	err = exporter.Serve(work, options.Listen)
	cancel()
	waitFor(stopped)
	return err
}

// silent drops what go-redis would print by itself: every error reaches our own log.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// closeTimeout is how long the connections to the broker may take to close.
const closeTimeout = 400 * time.Millisecond

func waitFor(stopped <-chan struct{}) {
	select {
	case <-stopped:
	case <-time.After(closeTimeout):
	}
}
