// SPDX-License-Identifier: Apache-2.0

// Command demo shows obstack at work on this machine, without a cluster: it starts
// a control plane with simulated nodes, the operator of this checkout and the
// application of config/samples/shop, and says what became of it. It stays until it
// is interrupted; with ONCE=1 it ends by itself, with an exit status that tells
// whether the stack became Ready.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	once, err := onceDefault(os.Getenv("ONCE"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(2)
	}
	flag.BoolVar(&once, "once", once, "end by itself; the exit status tells whether the stack became Ready (the default can be set by ONCE=1)")
	flag.Parse()
	ctx, stop := interruptible()
	defer stop()
	err = run(ctx, os.Stdout, once)
	switch {
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "demo: interrupted before the stack was ready")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// onceDefault reads the variable ONCE; empty means no.
func onceDefault(value string) (bool, error) {
	if value == "" {
		return false, nil
	}
	once, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("ONCE=%s: must be 1 or 0", value)
	}
	return once, nil
}

// interruptible is a context that ends with Ctrl-C, SIGTERM, a closed terminal,
// and with the parent: go run does not pass SIGTERM on before it ends itself.
func interruptible() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(ctx)
	parent := os.Getppid()
	go func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for os.Getppid() == parent {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
		cancel()
	}()
	return ctx, func() { cancel(); stop() }
}

// say writes one line of what the demo tells.
func say(out io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(out, format+"\n", args...)
}
