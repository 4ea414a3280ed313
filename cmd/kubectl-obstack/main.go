// SPDX-License-Identifier: Apache-2.0

// Command kubectl-obstack shows ObservabilityStacks in a terminal, as kubectl obstack. It reads the
// cluster with the rights of whoever calls it, and needs no operator that responds.
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // for clouds that log in by a plugin
)

// version is set by the linker for releases.
var version = "dev"

// What the process ends with.
const (
	exitWell  = 0
	exitWrong = 1
	exitUsage = 2
	// exitUnknown is for commands whose exit status 1 means something else.
	exitUnknown = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // A second signal ends what does not end by itself.
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	os.Exit(run(ctx, os.Args[1:], streams))
}

// errWrong ends the process after it was said what is wrong.
var errWrong = errors.New("something is wrong")

// exitsUnknown annotates a command whose exit status 1 means something else than an error.
var exitsUnknown = map[string]string{"exit status of errors": "3"}

// run the command line, and return what the process ends with.
func run(ctx context.Context, args []string, streams genericiooptions.IOStreams) int {
	root, started := newCommand(streams), false
	eachCommand(root, func(command *cobra.Command) {
		do := command.RunE
		command.RunE = func(command *cobra.Command, args []string) error {
			started = true
			return within(command.Context(), grace, func(ctx context.Context) error {
				command.SetContext(ctx)
				return do(command, args)
			})
		}
	})
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if err != nil && !started {
		err = usageError{err} // Whatever ends a command before it starts is wrong with its arguments.
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	var usage usageError
	switch {
	case err == nil:
		return exitWell
	case errors.Is(err, errWrong):
		return exitWrong
	case errors.As(err, &usage):
		fmt.Fprint(streams.ErrOut, explainUsage(command, usage))
		return exitUsage
	}
	say(streams.ErrOut, "error: %v", err)
	if maps.Equal(command.Annotations, exitsUnknown) {
		return exitUnknown
	}
	return exitWrong
}
