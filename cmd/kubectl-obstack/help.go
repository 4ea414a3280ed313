// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Show what a command does",
		Example: `  kubectl obstack help status`,
		RunE: func(help *cobra.Command, args []string) error {
			command, rest, err := help.Root().Find(args)
			if err == nil && len(rest) > 0 {
				err = noCommand(help.Root(), rest[0])
			}
			if err != nil {
				return usageError{err}
			}
			return command.Help()
		},
		ValidArgsFunction: func(help *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return commandNames(help.Root()), cobra.ShellCompDirectiveNoFileComp
		},
	}
}

// printHelp of a command, as wide as everything else. The flags of kubectl are many and known.
func printHelp(out io.Writer, command *cobra.Command) {
	command.InitDefaultHelpFlag()
	command.InitDefaultVersionFlag()
	long := command.Long
	if long == "" {
		long = command.Short
	}
	fmt.Fprintf(out, "%s\n\nUsage:\n  %s\n", wrapText(long, columns), command.UseLine())
	if command.HasAvailableSubCommands() {
		fmt.Fprint(out, "\nCommands:\n")
		for _, below := range command.Commands() {
			if below.IsAvailableCommand() {
				fmt.Fprintf(out, "  %-*s  %s\n", below.NamePadding(), below.Name(), below.Short)
			}
		}
	}
	if command.HasExample() {
		fmt.Fprintf(out, "\nExamples:\n%s\n", command.Example)
	}
	fmt.Fprintf(out, "\nFlags:\n%s", command.LocalNonPersistentFlags().FlagUsagesWrapped(columns))
	fmt.Fprint(out, "\nAnd the flags of kubectl, such as -n and --context: see kubectl options.\n")
	if command.HasAvailableSubCommands() {
		fmt.Fprintf(out, "What a command does: %s help COMMAND.\n", command.CommandPath())
	}
}

// wrapText breaks the lines of each paragraph anew; one that is indented stays as it is.
func wrapText(text string, width int) string {
	var paragraphs []string
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if !strings.Contains("\n"+paragraph, "\n ") {
			paragraph = strings.Join(wrap(paragraph, width), "\n")
		}
		paragraphs = append(paragraphs, paragraph)
	}
	return strings.Join(paragraphs, "\n\n")
}
