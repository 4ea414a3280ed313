// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/proof/judge"
)

// StatusReport is what kubectl obstack status prints with -o json and -o yaml.
type StatusReport struct {
	// Stacks are those asked for, by namespace and name.
	Stacks []StackReport `json:"stacks"`
}

// StackReport is what is known of one stack.
type StackReport struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Stale reports whether the operator has not looked at the newest spec yet.
	Stale bool `json:"stale,omitempty"`
	// Ready and Verified are the conditions of these names; absent before the first pass.
	Ready    *Verdict `json:"ready,omitempty"`
	Verified *Verdict `json:"verified,omitempty"`
	// Components are what the spec asks for.
	Components []ComponentReport `json:"components,omitempty"`
	// Workloads are those that take the stack's settings.
	Workloads *obsv1.WorkloadsStatus `json:"workloads,omitempty"`
	// Unread says which objects could not be read, and why.
	Unread []string `json:"unread,omitempty"`
}

// Verdict is a condition.
type Verdict struct {
	Status  metav1.ConditionStatus `json:"status"`
	Reason  string                 `json:"reason"`
	Message string                 `json:"message,omitempty"`
}

// ComponentReport is what is known of one component.
type ComponentReport struct {
	// Name is such as metrics or alerts.
	Name string `json:"name"`
	Verdict
	// Parts are the component's monitors, brokers, dashboards, SLOs or DSNs.
	Parts []obsv1.PartStatus `json:"parts,omitempty"`
	// Objects that obstack made for it, as KIND/NAME.
	Objects []string `json:"objects,omitempty"`
}

type statusOptions struct {
	streams       genericiooptions.IOStreams
	allNamespaces bool
	output        string
	watch         bool
	print         printer
}

func newStatus(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	o := statusOptions{streams: streams}
	command := &cobra.Command{
		Use:   "status [STACK]",
		Short: "Show what works of a stack, what does not, and what to do",
		Long: `Show the stacks of a namespace, or one of them, as a tree: its components, what is known of each
part of them, the objects that obstack made, and the workloads that take its settings.

The exit status is 0 if every stack shown is ready and no part is known to be wrong, and else 1.`,
		Example: `  kubectl obstack status                  # the stacks of this namespace
  kubectl obstack status shop -n shop     # one
  kubectl obstack status -A -o json       # all, for programs`,
		Args: atMostOne("STACK"),
		RunE: func(command *cobra.Command, args []string) error {
			printer, err := newPrinter(o.streams.Out, o.output, "wide")
			if err != nil {
				return err
			}
			o.print = printer
			if o.allNamespaces && len(args) > 0 {
				return usageError{fmt.Errorf("a name and --all-namespaces exclude each other: write -n NAMESPACE")}
			}
			api, namespace, err := connect(flags)
			if err != nil {
				return err
			}
			if o.allNamespaces {
				namespace = metav1.NamespaceAll
			}
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			if o.watch {
				return o.follow(command.Context(), api, namespace, name)
			}
			_, err = o.show(command.Context(), api, namespace, name)
			return err
		},
		ValidArgsFunction: completeStacks(flags),
	}
	command.Flags().BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "show the stacks of all namespaces")
	addOutput(command, &o.output, "json, yaml, or wide: with every object that obstack made", "wide")
	command.Flags().BoolVarP(&o.watch, "watch", "w", false, "show again whenever what is shown changes, until Ctrl-C")
	return command
}

// show prints once, and returns what it showed.
func (o *statusOptions) show(ctx context.Context, api client.Reader, namespace, name string) (StatusReport, error) {
	stacks, err := findStacks(ctx, api, namespace, name)
	if err != nil {
		return StatusReport{}, err
	}
	report := newReports(ctx, api, stacks)
	return report, o.display(report)
}

// display prints a report.
func (o *statusOptions) display(report StatusReport) error {
	if len(report.Stacks) == 0 {
		fmt.Fprintln(o.streams.ErrOut, "No ObservabilityStacks found: see docs/install.md for the first one.")
	}
	if err := o.print.show(report, report.trees(o.output == "wide")); err != nil {
		return err
	}
	if slices.ContainsFunc(report.Stacks, func(r StackReport) bool { return !r.well() }) {
		return errWrong
	}
	return nil
}

// trees of the stacks; wide, with every object.
func (r StatusReport) trees(wide bool) []node {
	var trees []node
	for i := range r.Stacks {
		trees = append(trees, r.Stacks[i].tree(wide))
	}
	return trees
}

// newReports say what is known of stacks.
func newReports(ctx context.Context, api client.Reader, stacks []obsv1.ObservabilityStack) StatusReport {
	report, made := StatusReport{Stacks: []StackReport{}}, children(ctx, api, stacks)
	for i := range stacks {
		report.Stacks = append(report.Stacks, reportOf(&stacks[i], made))
	}
	return report
}

// reportOf a stack, with what was made for it.
func reportOf(stack *obsv1.ObservabilityStack, made madeObjects) StackReport {
	status := &stack.Status
	report := StackReport{
		Namespace: stack.Namespace, Name: stack.Name, Stale: status.ObservedGeneration < stack.Generation,
		Ready: verdict(status, obsv1.Ready), Verified: verdict(status, obsv1.Verified), Workloads: status.Workloads,
	}
	report.Unread = made.unread[stack.Namespace]
	objects := made.byComponent[client.ObjectKeyFromObject(stack)]
	for _, component := range desired.Components {
		v := verdict(status, component.Condition)
		if v == nil {
			continue
		}
		c := ComponentReport{Name: component.Name, Verdict: *v, Objects: objects[component.Name]}
		for _, part := range status.Parts {
			if judge.ConditionOf(part.Kind) == component.Condition {
				c.Parts = append(c.Parts, part)
			}
		}
		report.Components = append(report.Components, c)
	}
	return report
}

func verdict(status *obsv1.ObservabilityStackStatus, condition string) *Verdict {
	found := meta.FindStatusCondition(status.Conditions, condition)
	if found == nil {
		return nil
	}
	return &Verdict{Status: found.Status, Reason: found.Reason, Message: found.Message}
}

// well reports whether the stack is ready and nothing is known to be wrong.
func (r *StackReport) well() bool {
	return r.Ready != nil && r.Ready.Status == metav1.ConditionTrue && !r.Stale &&
		(r.Verified == nil || r.Verified.Status != metav1.ConditionFalse)
}
