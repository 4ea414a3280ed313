// SPDX-License-Identifier: Apache-2.0

// Package kit is what the benchmarks share. What fails ends them, so there is no error to pass on:
// Check and Must unwind to Main, and everything that was deferred is cleaned up on the way.
package kit

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

type failure struct{ error }

// Check ends the benchmark if there is an error.
func Check(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// Must returns a value, or ends the benchmark.
func Must[T any](value T, err error) T {
	Check(err)
	return value
}

// Try returns the error that ended something.
func Try(do func()) (err error) {
	defer func() {
		switch reason := recover().(type) {
		case nil:
		case failure:
			err = reason.error
		default:
			panic(reason)
		}
	}()
	do()
	return nil
}

// Main runs a benchmark until it ends or is interrupted, prints its figures, and returns the exit
// status: 1 if something went wrong or a bar is missed.
func Main(run func(context.Context, *Figures)) (status int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // A second signal ends it at once.
	figures := &Figures{}
	err := Try(func() { run(ctx, figures) })
	if len(figures.rows) > 0 {
		fmt.Print(figures)
	}
	if err == nil && figures.missed {
		err = errors.New("bars are missed")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// Parts of a benchmark, in their order.
type Parts []struct {
	Name string
	Run  func()
}

// Chosen parses the flags, and returns the parts that -only names.
func (parts Parts) Chosen() (chosen Parts) {
	var names []string
	for _, part := range parts {
		names = append(names, part.Name)
	}
	all := strings.Join(names, ",")
	only := flag.String("only", all, "the `parts` to measure")
	flag.Parse()
	wanted := strings.Split(*only, ",")
	for _, name := range wanted {
		if !slices.Contains(names, name) {
			Check(fmt.Errorf("-only: there is no part %q: write some of %s", name, all))
		}
	}
	for _, part := range parts {
		if slices.Contains(wanted, part.Name) {
			chosen = append(chosen, part)
		}
	}
	return chosen
}

// Run runs them one after the other.
func (parts Parts) Run() {
	for _, part := range parts {
		Progress("%s: load average %s", part.Name, Load())
		part.Run()
	}
}

// Parallel does n things, some at a time.
func Parallel(n, atATime int, do func(i int)) {
	var group errgroup.Group
	group.SetLimit(atATime)
	for i := range n {
		group.Go(func() error { return Try(func() { do(i) }) })
	}
	Check(group.Wait())
}

// Pause waits, and ends the benchmark if it is interrupted.
func Pause(ctx context.Context, span time.Duration) {
	select {
	case <-ctx.Done():
		Check(ctx.Err())
	case <-time.After(span):
	}
}

// Progress says on the standard error what is under way.
func Progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// MedianBy is the element with the median of a key; of an even number the larger one.
func MedianBy[T any](all []T, key func(T) float64) T {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b T) int { return cmp.Compare(key(a), key(b)) })
	return sorted[len(sorted)/2]
}

// Median is the median of numbers; of an even number the larger one.
func Median(all []float64) float64 { return MedianBy(all, func(v float64) float64 { return v }) }

// MiB is a size in MiB.
func MiB[N int | int64 | uint64 | float64](bytes N) float64 { return float64(bytes) / (1 << 20) }

// Load is the load average of one and of five minutes. On a machine that is shared, no time means
// anything without it.
func Load() string {
	fields := strings.Fields(string(Must(os.ReadFile("/proc/loadavg"))))
	return fields[0] + " and " + fields[1]
}

// Busy is for how long the processors of the machine have worked since it started, all together, as
// Linux counts in hundredths of a second.
func Busy() time.Duration {
	first, _, _ := strings.Cut(string(Must(os.ReadFile("/proc/stat"))), "\n")
	var busy int64
	for i, field := range strings.Fields(first)[1:] {
		if i < 7 && i != 3 && i != 4 { // user, nice, system, irq and softirq; not idle and iowait.
			busy += Must(strconv.ParseInt(field, 10, 64))
		}
	}
	return time.Duration(busy) * 10 * time.Millisecond
}

// Figures is a table of figures, some of which are held against a bar.
type Figures struct {
	rows   []string
	missed bool
}

// Note adds a figure without a bar, with remarks as for fmt.Sprintf.
func (f *Figures) Note(name string, value float64, unit string, remarks ...any) {
	f.add(name, value, unit, "", "", remarks)
}

// Most adds a figure that may be no larger than a bar.
func (f *Figures) Most(name string, value float64, unit string, bar float64, remarks ...any) {
	f.add(name, value, unit, "at most "+number(bar), verdicts[value <= bar], remarks)
}

// Least adds a figure that may be no smaller than a bar.
func (f *Figures) Least(name string, value float64, unit string, bar float64, remarks ...any) {
	f.add(name, value, unit, "at least "+number(bar), verdicts[value >= bar], remarks)
}

var verdicts = map[bool]string{true: "held", false: "**missed**"}

func (f *Figures) add(name string, value float64, unit, bar, verdict string, remarks []any) {
	remark := ""
	if len(remarks) > 0 {
		remark = fmt.Sprintf(remarks[0].(string), remarks[1:]...)
	}
	f.missed = f.missed || verdict == verdicts[false]
	measured := strings.TrimSpace(number(value) + " " + unit)
	f.rows = append(f.rows, fmt.Sprintf("| %s | %s | %s | %s | %s |\n", name, measured, remark, bar, verdict))
	Progress("%s: %s %s %s", name, measured, bar, verdict)
}

func (f *Figures) String() string {
	return "| figure | measured | | bar | |\n|---|---|---|---|---|\n" + strings.Join(f.rows, "")
}

// number prints three digits or more.
func number(v float64) string {
	switch {
	case v == float64(int64(v)) || v >= 100 || v <= -100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
