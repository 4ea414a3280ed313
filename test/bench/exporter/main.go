// SPDX-License-Identifier: Apache-2.0

// Command exporter measures the task exporter on a real Redis and a real RabbitMQ, and prints a table of figures and of
// the bars that they are held against. It exits with status 1 if a bar is missed.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// bench holds what all measurements share.
type bench struct {
	exporter string
	seconds  float64
	table    *tabwriter.Writer
	missed   int
}

// bar is what a figure is held against.
type bar struct {
	value   float64
	atLeast bool
}

func main() {
	path := flag.String("exporter", "", "the exporter's program")
	seconds := flag.Float64("seconds", 15, "length of each run at a constant rate; issue 4 asks for 60")
	only := flag.String("only", "", "measure only some of footprint,sustained,drain,overload,memory,scrapes,rabbitmq")
	reader := flag.String("reader", "", "be the plain go-redis reader of this address, for comparison")
	port := flag.Int("publish", 0, "only publish a stream to the Redis at this port of this machine, and end")
	events := flag.Int("events", burst, "with -publish: number of events")
	rate := flag.Float64("rate", 0, "with -publish: events/s, 0 for as fast as possible")
	flag.Parse()
	if *port != 0 {
		if *rate == 0 {
			*rate = 1e9
		}
		fmt.Println(publishRedis(*port, renderBy(newGenerator(usual).stream(*events), max(1, int(*rate/1000))), *rate))
		return
	}
	if *reader != "" {
		plainReader(*reader)
		return
	}
	if *path == "" {
		fmt.Fprintln(os.Stderr, "-exporter: name the exporter's program")
		os.Exit(1)
	}
	b := &bench{exporter: *path, seconds: *seconds, table: tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)}
	fmt.Fprintln(b.table, "figure\tmeasured\tbar\t")
	parts := []struct {
		name string
		run  func()
	}{
		{"footprint", b.footprint}, {"sustained", b.sustainedRedis}, {"drain", b.drain}, {"overload", b.overload},
		{"memory", b.manyTasks}, {"scrapes", b.scrapes}, {"rabbitmq", b.sustainedRabbit},
	}
	for _, part := range parts {
		if *only == "" || slices.Contains(strings.Split(*only, ","), part.name) {
			part.run()
		}
	}
	check(b.table.Flush())
	if b.missed > 0 {
		os.Exit(1)
	}
}

// figure prints a line of the table. A bar of the zero value is none.
func (b *bench) figure(name, unit string, value float64, against bar) {
	verdict := ""
	if against != (bar{}) {
		ok := value <= against.value
		sign := "<="
		if against.atLeast {
			ok, sign = value >= against.value, ">="
		}
		verdict = fmt.Sprintf("%s %s", sign, number(against.value))
		if !ok {
			verdict += " MISSED"
			b.missed++
		}
	}
	fmt.Fprintf(b.table, "%s\t%s %s\t%s\t\n", name, number(value), unit, verdict)
	check(b.table.Flush())
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

// counted waits until the exporter has accounted for all events, dropped messages apart, and returns the events read.
func counted(p program, events int) float64 {
	last, still := -1.0, 0
	for still < 4 {
		got := p.sum("celery_exporter_events_total{type=\"task-")
		if got >= float64(events) {
			return got
		}
		if still++; got != last {
			still = 0
		}
		last = got
		time.Sleep(250 * time.Millisecond)
	}
	return last
}
