// SPDX-License-Identifier: Apache-2.0

// Command exporter measures the task exporter on a real Redis and a real RabbitMQ, and prints a
// table of figures and of the bars that they are held against. It exits with status 1 if a bar is
// missed or something goes wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"obstack.dev/obstack/test/bench/kit"
	"obstack.dev/obstack/test/cgroup"
)

// bench holds what all measurements share.
type bench struct {
	kit.Figures
	program string
	seconds float64
	group   *cgroup.Group // that exporters run in, nil for none
}

func main() { os.Exit(kit.Main(run)) }

func run(context.Context) {
	b := &bench{}
	flag.Float64Var(&b.seconds, "seconds", 60, "length of each run at a constant rate")
	only := flag.String("only", "",
		"measure only some of footprint,quiet,sustained,drain,overload,memory,scrapes,churn,broadcasts,refused,rabbitmq")
	flag.Parse()
	dir := kit.Must(os.MkdirTemp("", "bench-exporter"))
	defer os.RemoveAll(dir)
	b.program = filepath.Join(dir, "task-exporter")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", b.program, "./cmd/task-exporter")
	build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	kit.Check(build.Run())
	kit.Parts{
		{"footprint", b.footprint}, {"quiet", b.quiet}, {"sustained", b.sustained}, {"drain", b.drain},
		{"overload", b.overload}, {"memory", b.manyTasks}, {"scrapes", b.scrapes}, {"churn", b.churn},
		{"broadcasts", b.broadcasts}, {"refused", b.refused}, {"rabbitmq", b.rabbitMQ},
	}.Run(*only)
	fmt.Print(b.String())
	if b.Missed {
		kit.Check(errors.New("bars are missed"))
	}
}
