// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

var stackKind = obsv1.GroupVersion.WithKind("ObservabilityStack")

func newPause(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	command := newSuspend(flags, streams, true)
	command.Use = "pause STACK"
	command.Short = "Have obstack change nothing for a stack"
	command.Long = `Set spec.suspend of a stack: obstack changes nothing for it any more, and its status says what it
would change. Workloads keep the settings that they have.`
	command.Example = `  kubectl obstack pause shop -n shop
  kubectl obstack pause shop --dry-run=server`
	return command
}

func newResume(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	command := newSuspend(flags, streams, false)
	command.Use = "resume STACK"
	command.Short = "Have obstack keep a stack that was paused"
	command.Long = `Remove spec.suspend of a stack: obstack makes what is missing, repairs what was changed meanwhile, and
brings new settings to its workloads. What that will be the status of the stack says while it is
paused.`
	command.Example = `  kubectl obstack resume shop -n shop`
	return command
}

// newSuspend makes the command that sets or removes spec.suspend.
func newSuspend(
	flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams, suspend bool,
) *cobra.Command {
	a := actor{streams: streams}
	command := &cobra.Command{
		Args: exactlyOne("STACK", "shop"),
		RunE: func(command *cobra.Command, args []string) error {
			namespace, err := a.prepare(flags)
			if err != nil {
				return err
			}
			stacks, err := findStacks(command.Context(), a.api, namespace, args[0])
			if err != nil {
				return err
			}
			if err := a.suspend(command.Context(), &stacks[0], suspend); err != nil {
				return err
			}
			return a.finish()
		},
		ValidArgsFunction: completeStacks(flags),
	}
	a.addFlags(command)
	return command
}

func (a *actor) suspend(ctx context.Context, stack *obsv1.ObservabilityStack, suspend bool) error {
	name := client.ObjectKeyFromObject(stack)
	which := fmt.Sprintf("%s -n %s", stack.Name, stack.Namespace)
	done, value, already, says := doneResumed, "null", "it is not paused", "obstack keeps it again: see "+
		"kubectl obstack status "+which
	if suspend {
		done, value, already = donePaused, "true", "it is paused already"
		says = "obstack changes nothing for it, and its status says what it would change, until " +
			"kubectl obstack resume " + which
	}
	if stack.Spec.Suspend == suspend {
		a.did(stackKind, name, doneUnchanged, already)
		return nil
	}
	if _, err := a.patch(ctx, stackKind, name, []byte(`{"spec":{"suspend":`+value+`}}`)); err != nil {
		return err
	}
	a.did(stackKind, name, done, says)
	return nil
}
