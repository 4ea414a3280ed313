// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/metadata"
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
cluster. The completion of kubectl itself runs it, as tried in bash and zsh, if it is an executable
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

// completionTimeout is how long a shell waits for names.
const completionTimeout = 2 * time.Second

// completeNames offers the names of objects of a kind to a shell; those of the namespace of the
// command line, if the kind has namespaces.
func completeNames(
	ctx context.Context, flags *genericclioptions.ConfigFlags, kind schema.GroupVersionKind, prefix string,
) (names []string) {
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	list := metadata.ListOf(kind)
	err := within(ctx, 0, func(ctx context.Context) error {
		api, namespace, err := connect(flags)
		if err != nil {
			return err
		}
		if kind == metadata.Namespace {
			namespace = ""
		}
		return api.List(ctx, list, client.InNamespace(namespace))
	})
	if err != nil {
		return nil // A shell has no place for errors.
	}
	for i := range list.Items {
		names = append(names, prefix+list.Items[i].Name)
	}
	slices.Sort(names)
	return names
}

// completeStacks offers the names of the stacks of the namespace.
func completeStacks(flags *genericclioptions.ConfigFlags) cobra.CompletionFunc {
	return func(command *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return completeNames(command.Context(), flags, stackKind, ""), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeWorkloads offers KIND/NAME of workloads, and with pods the names of Pods.
func completeWorkloads(flags *genericclioptions.ConfigFlags, pods bool) cobra.CompletionFunc {
	return func(command *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if word, _, found := strings.Cut(typed, "/"); found {
			kind, ok := workloadKind(word)
			if !ok {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return completeNames(command.Context(), flags, kind.GroupVersionKind, word+"/"), cobra.ShellCompDirectiveNoFileComp
		}
		var offered []string
		for _, kind := range policy.Kinds {
			offered = append(offered, strings.ToLower(kind.Kind)+"/")
		}
		if pods {
			offered = append(offered, completeNames(command.Context(), flags, metadata.Pod, "")...)
		}
		return offered, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// completeFlags offers namespaces and contexts, which the flags of kubectl name.
func completeFlags(root *cobra.Command, flags *genericclioptions.ConfigFlags) {
	offer := func(flag string, names func(context.Context) []string) {
		utilruntime.Must(root.RegisterFlagCompletionFunc(flag,
			func(command *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
				return names(command.Context()), cobra.ShellCompDirectiveNoFileComp
			}))
	}
	offer("namespace", func(ctx context.Context) []string {
		return completeNames(ctx, flags, metadata.Namespace, "")
	})
	offer("context", func(context.Context) []string {
		config, _ := flags.ToRawKubeConfigLoader().RawConfig() // A shell has no place for errors.
		return slices.Sorted(maps.Keys(config.Contexts))
	})
}

// addOutput is the flag -o of a command, of which the formats are completed: those for people, json
// and yaml.
func addOutput(command *cobra.Command, output *string, usage string, formats ...string) {
	command.Flags().StringVarP(output, "output", "o", "", usage)
	utilruntime.Must(command.RegisterFlagCompletionFunc("output",
		cobra.FixedCompletions(append(formats, "json", "yaml"), cobra.ShellCompDirectiveNoFileComp)))
}
