// SPDX-License-Identifier: Apache-2.0

// Command exporter measures the task exporter on a real Redis and a real RabbitMQ, and prints a table of figures and of
// the bars that they are held against. It exits with status 1 if a bar is missed or something goes wrong.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"obstack.dev/obstack/test/bench/machine"
)

// bench holds what all measurements share.
type bench struct {
	program string
	seconds float64
	table   *tabwriter.Writer
	missed  int
}

// bar is what a figure is held against.
type bar struct {
	value   float64
	atLeast bool
}

var errMissed = errors.New("bars are missed")

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	path := flag.String("exporter", "", "the exporter's `program`; it is built if none is given")
	seconds := flag.Float64("seconds", 60, "length of each run at a constant rate")
	only := flag.String("only", "", "measure only some of footprint,quiet,sustained,drain,overload,memory,scrapes,rabbitmq")
	reader := flag.String("reader", "", "be the plain go-redis reader of this `address`, for comparison")
	port := flag.Int("publish", 0, "only publish a stream to the Redis at this `port` of this machine, and end")
	rate := flag.Float64("rate", 1000, "with -publish: events/s, 0 for as fast as possible")
	flag.Parse()
	switch {
	case *reader != "":
		return plainReader(*reader)
	case *port != 0:
		sent, err := publishRedis(*port, render(newGenerator(usual).stream(streamEvents), max(1, int(*rate/1000))), int(max(*rate, 10_000)**seconds), *rate)
		fmt.Println(sent)
		return err
	}
	if *path == "" {
		dir, err := os.MkdirTemp("", "bench-exporter")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if *path, err = build(dir); err != nil {
			return err
		}
	}
	b := &bench{program: *path, seconds: *seconds, table: tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)}
	return b.measure(*only)
}

// build makes the program as a release has it.
func build(dir string) (string, error) {
	path := filepath.Join(dir, "task-exporter")
	command := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "obstack.dev/obstack/cmd/task-exporter")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	command.Stderr = os.Stderr
	return path, command.Run()
}

// measure runs the parts, all or those that are named.
func (b *bench) measure(only string) error {
	parts := []struct {
		name string
		run  func() error
	}{
		{"footprint", b.footprint}, {"quiet", b.quiet}, {"sustained", b.sustained}, {"drain", b.drain}, {"overload", b.overload},
		{"memory", b.manyTasks}, {"scrapes", b.scrapes}, {"rabbitmq", b.rabbitMQ},
	}
	for _, part := range parts {
		if only != "" && !slices.Contains(strings.Split(only, ","), part.name) {
			continue
		}
		fmt.Printf("%s %s: load average %s\n", time.Now().Format(time.TimeOnly), part.name, machine.LoadAverage())
		began := machine.Now()
		if err := errors.Join(part.run(), b.table.Flush()); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		fmt.Printf("  the host took %.1f %% of the processors' time\n", 100*machine.Now().StolenSince(began))
	}
	if b.missed > 0 {
		return fmt.Errorf("%d %w", b.missed, errMissed)
	}
	return nil
}

// figure prints a line of the table. A bar of the zero value is none.
func (b *bench) figure(name, unit string, value float64, against bar) {
	verdict := ""
	if against != (bar{}) {
		ok, sign := value <= against.value, "<="
		if against.atLeast {
			ok, sign = value >= against.value, ">="
		}
		verdict = fmt.Sprintf("%s %s", sign, number(against.value))
		if !ok {
			verdict += " MISSED"
			b.missed++
		}
	}
	fmt.Fprintf(b.table, "  %s\t%s %s\t%s\t\n", name, number(value), unit, verdict)
}

func number(v float64) string {
	switch {
	case v == 0 || v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
