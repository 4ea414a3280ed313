// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

// DiffReport is what kubectl obstack diff prints with -o json and -o yaml.
type DiffReport struct {
	// Stacks are those of the file, in its order.
	Stacks []StackDiff `json:"stacks"`
}

// StackDiff is what would change if a stack of the file were applied.
type StackDiff struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// New reports whether there is no such stack yet.
	New bool `json:"new,omitempty"`
	// Changes of objects that obstack makes.
	Changes []Change `json:"changes"`
	// Rollouts are the workloads of which Kubernetes would replace the Pods, as KIND NAMESPACE/NAME:
	// at their next restart if Manual is set.
	Rollouts []string `json:"rollouts,omitempty"`
	Manual   bool     `json:"manual,omitempty"`
	// Problems are what the stack's conditions would say.
	Problems []string `json:"problems,omitempty"`
	// Unknown says what could not be compared, and why.
	Unknown []string `json:"unknown,omitempty"`
}

// Change is what would become of one object.
type Change struct {
	// Verb is create, update or delete.
	Verb      string `json:"verb"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Diff is a unified diff of YAML, without values of Secrets. Of what differs in too much it has
	// the sizes alone.
	Diff string `json:"diff"`
}

type diffOptions struct {
	streams  genericiooptions.IOStreams
	api      client.WithWatch
	file     string
	platform string
	image    string
	output   string
}

func newDiff(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	o := diffOptions{streams: streams}
	command := &cobra.Command{
		Use:   "diff -f FILE",
		Short: "Show what applying stacks would change in the cluster",
		Long: `Compare the objects that obstack would make for the ObservabilityStacks of a file with those in the
cluster, and list the workloads of which Kubernetes would replace the Pods. Nothing is changed.

Where you may patch objects, the API server is asked in a dry run; else the fields are compared that
obstack sets. What depends on Secrets that you may not read is named, and never counts as changed.

The exit status is that of kubectl diff: 0 if nothing would change, 1 if something would, and more
if it could not be found out (2: the command line cannot be meant, 3: anything else).`,
		Example: `  kubectl obstack diff -f stack.yaml
  kubectl obstack diff -f stack.yaml --platform platform.yaml -o json`,
		Args:        noArguments,
		Annotations: exitsUnknown,
		RunE:        func(command *cobra.Command, _ []string) error { return o.run(command.Context(), flags) },
	}
	command.Flags().StringVarP(&o.file, "filename", "f", "", "file with the stacks, - for the standard input")
	command.Flags().StringVar(&o.platform, "platform", "",
		"file with the ObservabilityPlatform that the stacks would have, instead of that in the cluster")
	command.Flags().StringVar(&o.image, "exporter-image", "",
		"image of the task exporter, as the operator's flag of that name; without it that of the exporters that run")
	addOutput(command, &o.output, "json or yaml")
	return command
}

func (o *diffOptions) run(ctx context.Context, flags *genericclioptions.ConfigFlags) error {
	if o.file == "" {
		return usageError{fmt.Errorf("-f is missing: write -f FILE, or -f - for the standard input")}
	}
	printer, err := newPrinter(o.streams.Out, o.output)
	if err != nil {
		return err
	}
	var namespace string
	if o.api, namespace, err = connect(flags); err != nil {
		return err
	}
	stacks, given, err := o.read(namespace)
	if err != nil {
		return err
	}
	report, same := DiffReport{Stacks: []StackDiff{}}, true
	var trees []node
	for _, stack := range stacks {
		comparison := comparison{api: o.api, stack: stack, image: o.image, platform: given}
		if err := comparison.run(ctx); err != nil {
			return err
		}
		diff := comparison.diff
		report.Stacks, trees = append(report.Stacks, diff), append(trees, diff.tree())
		same = same && diff.same()
		if o.output == "" {
			printer.diff(&diff)
		}
	}
	if err := printer.show(report, trees); err != nil {
		return err
	}
	if !same {
		return errWrong
	}
	return nil
}

// read the files: the stacks, and the platform if one is given.
func (o *diffOptions) read(namespace string) ([]*obsv1.ObservabilityStack, *desired.Platform, error) {
	stacks, err := readStacks(o.streams.In, o.file, namespace)
	if err != nil || o.platform == "" {
		return stacks, nil, err
	}
	platform, err := readPlatform(o.streams.In, o.platform)
	return stacks, &platform, err
}

// comparison of one stack with the cluster.
type comparison struct {
	api   client.WithWatch
	stack *obsv1.ObservabilityStack
	// live is the stack in the cluster; nil if there is none.
	live  *obsv1.ObservabilityStack
	image string
	// platform is the one that the stack would have; nil for that in the cluster.
	platform *desired.Platform
	diff     StackDiff

	inputs desired.Inputs
	// settled reports whether the hashes of the settings are known.
	settled bool
	// unpatched are the kinds of which the caller may patch none, so that no dry run is possible.
	unpatched []string
}

// unknown notes, once, what could not be found out.
func (c *comparison) unknown(what string) {
	if !slices.Contains(c.diff.Unknown, what) {
		c.diff.Unknown = append(c.diff.Unknown, what)
	}
}

func (c *comparison) run(ctx context.Context) error {
	c.diff = StackDiff{Namespace: c.stack.Namespace, Name: c.stack.Name, Changes: []Change{}}
	live := &obsv1.ObservabilityStack{}
	err := c.api.Get(ctx, client.ObjectKeyFromObject(c.stack), live)
	if client.IgnoreNotFound(err) != nil {
		return readError("ObservabilityStacks", c.stack.Namespace, err)
	}
	if c.diff.New = err != nil; !c.diff.New {
		c.live = live
		c.stack.UID, c.stack.Status = live.UID, live.Status
	}
	objects, err := c.children(ctx)
	if err != nil {
		return err
	}
	if err := c.observe(ctx, objects); err != nil {
		return err
	}
	needed, state := c.workloads(ctx)
	rendered := render(c.stack, c.inputs, needed)
	c.diff.Problems = rendered.problems
	if err := c.compare(ctx, rendered, objects); err != nil {
		return err
	}
	if len(c.unpatched) > 0 {
		c.unknown(fmt.Sprintf("which fields obstack would no longer set: you may not patch %s in namespace %s, so that the "+
			"API server cannot be asked", strings.Join(c.unpatched, ", "), c.stack.Namespace))
	}
	c.rollouts(ctx, rendered.settings, state)
	return nil
}
