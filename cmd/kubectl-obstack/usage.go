// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usageError is a command line that cannot be meant.
type usageError struct{ error }

// explainUsage says what is wrong with a command line, and shows one that is right.
func explainUsage(command *cobra.Command, err error) string {
	text := fmt.Sprintf("error: %s\n", printable(err.Error()))
	if command.HasExample() {
		text += fmt.Sprintf("Examples:\n%s\n", command.Example)
	}
	return text + fmt.Sprintf("See %s --help.\n", command.CommandPath())
}

// eachCommand of a tree.
func eachCommand(command *cobra.Command, do func(*cobra.Command)) {
	do(command)
	for _, below := range command.Commands() {
		eachCommand(below, do)
	}
}

// noArguments is for commands that only take flags.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("it takes no arguments, not %s", strings.Join(args, " "))
	}
	return nil
}

func commandNames(command *cobra.Command) (names []string) {
	for _, below := range command.Commands() {
		if below.IsAvailableCommand() {
			names = append(names, below.Name())
		}
	}
	return names
}

// noCommand has that name below one.
func noCommand(command *cobra.Command, name string) error {
	return fmt.Errorf("there is no command %q%s", name, didYouMean(name, "", commandNames(command)...))
}

// flagError says which flag was meant.
func flagError(command *cobra.Command, err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		var names []string
		command.Flags().VisitAll(func(flag *pflag.Flag) { names = append(names, flag.Name) })
		err = fmt.Errorf("%w%s", err, didYouMean(unknown.GetSpecifiedName(), "--", names...))
	}
	return usageError{err}
}

// didYouMean one of the names, each with a prefix; empty if none is like what was typed.
func didYouMean(typed, prefix string, names ...string) string {
	// Cobra measures how much commands are alike.
	like := &cobra.Command{SuggestionsMinimumDistance: 2}
	for _, name := range names {
		like.AddCommand(&cobra.Command{Use: name, Run: func(*cobra.Command, []string) {}})
	}
	found := like.SuggestionsFor(typed)
	if len(found) == 0 {
		return ""
	}
	return fmt.Sprintf(": did you mean %s%s?", prefix, strings.Join(found, ", "+prefix))
}
