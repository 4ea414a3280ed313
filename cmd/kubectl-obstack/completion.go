// SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed"
	"fmt"

	"github.com/spf13/cobra"
)

// completionScript is found and run by kubectl's own completion.
//
//go:embed kubectl_complete-obstack
var completionScript string

func newCompletion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion",
		Short: "Print the script that completes this plugin in a shell",
		Long: `Print a script that completes kubectl obstack: commands, flags, and the names of what is in the
cluster. The completion of kubectl itself runs it, in bash, zsh and fish, if it is an executable
kubectl_complete-obstack on the PATH. See kubectl completion --help for kubectl's own.`,
		Example: `  kubectl obstack completion > ~/.local/bin/kubectl_complete-obstack
  chmod +x ~/.local/bin/kubectl_complete-obstack`,
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(command.OutOrStdout(), completionScript)
			return err
		},
	}
}
