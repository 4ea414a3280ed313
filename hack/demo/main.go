// SPDX-License-Identifier: Apache-2.0

// Command demo shows obstack at work on this machine, without a cluster: it starts
// a control plane with simulated nodes, the operator of this checkout and the
// application of config/samples/shop, and says what became of it. With ROTATE=1 it
// then changes the application's Sentry DSN and shows how the workloads get it. With
// LIVE=1 it also starts a Prometheus and something to scrape, serves the dashboards,
// and waits until an alert fires. With PYTHON=1 it shows the same of
// config/samples/shop-python, which runs in Python. It stays until it is interrupted;
// with ONCE=1 it ends by itself, with an exit status that reports whether all that it
// showed went well.
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
	o, err := defaults(os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(2)
	}
	flag.BoolVar(&o.once, "once", o.once,
		"end by itself; the exit status reports whether all went well (the default can be set by ONCE=1)")
	flag.BoolVar(&o.rotate, "rotate", o.rotate,
		"change the Sentry DSN when the stack is Ready, and show the rollout (the default can be set by ROTATE=1)")
	flag.BoolVar(&o.live, "live", o.live,
		"start a Prometheus and what it scrapes, and serve the dashboards (the default can be set by LIVE=1)")
	flag.BoolVar(&o.python, "python", o.python,
		"the same with a shop in Python, without a line for observability (the default can be set by PYTHON=1)")
	flag.Parse()
	o.live = o.live || o.python
	o.open = o.live && !o.once
	ctx, stop := interruptible()
	defer stop()
	err = run(ctx, os.Stdout, o)
	switch {
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "demo: interrupted before all was shown")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// options say what the demo does beside showing the stack.
type options struct {
	once, rotate, live, python bool
	// open is whether a browser is to show the dashboards.
	open bool
}

// defaults reads the variables ONCE, ROTATE, LIVE and PYTHON; empty means no.
func defaults(getenv func(string) string) (options, error) {
	var o options
	for name, option := range map[string]*bool{
		"ONCE": &o.once, "ROTATE": &o.rotate, "LIVE": &o.live, "PYTHON": &o.python,
	} {
		value := getenv(name)
		if value == "" {
			continue
		}
		var err error
		if *option, err = strconv.ParseBool(value); err != nil {
			return o, fmt.Errorf("%s=%s: must be 1 or 0", name, value)
		}
	}
	return o, nil
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

// say writes one line of what the demo shows.
func say(out io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(out, format+"\n", args...)
}
