// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ActionReport is what the commands that change something print with -o json and -o yaml.
type ActionReport struct {
	// DryRun is client or server if nothing was changed.
	DryRun string `json:"dryRun,omitempty"`
	// Objects are those to which something was done, in that order.
	Objects []Action `json:"objects"`
}

// Action is what was done to one object.
type Action struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Done is paused, resumed, released, stamped, finished, failed or unchanged.
	Done string `json:"done"`
	// Says what that means, or what is wrong.
	Says string `json:"says,omitempty"`

	group string
}

// The values of Action.Done.
const (
	donePaused    = "paused"
	doneResumed   = "resumed"
	doneReleased  = "released"
	doneStamped   = "stamped"
	doneFinished  = "finished"
	doneFailed    = "failed"
	doneUnchanged = "unchanged"
)

// fieldManager owns the fields that the plugin sets.
const fieldManager = "kubectl-obstack"

// actor changes objects, with the rights of whoever calls, and says so.
type actor struct {
	streams genericiooptions.IOStreams
	api     client.WithWatch
	dryRun  string
	output  string
	printer printer
	report  ActionReport
}

// The values of --dry-run.
const (
	dryRunNone   = "none"
	dryRunClient = "client"
	dryRunServer = "server"
)

func (a *actor) addFlags(command *cobra.Command) {
	command.Flags().StringVar(&a.dryRun, "dry-run", dryRunNone,
		"none; client: only say what would be sent; server: have the API server check it and change nothing")
	command.Flags().Lookup("dry-run").NoOptDefVal = dryRunClient
	addOutput(command, &a.output, "name, json or yaml", "name")
}

// prepare reads the flags and connects, and returns the namespace.
func (a *actor) prepare(flags *genericclioptions.ConfigFlags) (namespace string, err error) {
	if modes := []string{dryRunNone, dryRunClient, dryRunServer}; !slices.Contains(modes, a.dryRun) {
		return "", usageError{fmt.Errorf("--dry-run=%s: must be one of %s", a.dryRun, strings.Join(modes, ", "))}
	}
	a.report = ActionReport{Objects: []Action{}}
	if a.dryRun != dryRunNone {
		a.report.DryRun = a.dryRun
	}
	if a.printer, err = newPrinter(a.streams.Out, a.output, "name"); err != nil {
		return "", err
	}
	a.api, namespace, err = connect(flags)
	return namespace, err
}

// patch merges into an object, unless nothing is to be sent, and returns what became of it; nil if
// nothing was sent.
func (a *actor) patch(ctx context.Context, kind schema.GroupVersionKind, name types.NamespacedName,
	body []byte) (*unstructured.Unstructured, error) {
	opts := []client.PatchOption{client.FieldOwner(fieldManager)}
	switch a.dryRun {
	case dryRunClient:
		return nil, nil
	case dryRunServer:
		opts = append(opts, client.DryRunAll)
	}
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(kind)
	object.SetNamespace(name.Namespace)
	object.SetName(name.Name)
	if err := a.api.Patch(ctx, object, client.RawPatch(types.MergePatchType, body), opts...); err != nil {
		return nil, writeError(kind.Kind+"s", name.Namespace, err)
	}
	return object, nil
}

// did says what was done to an object; for programs, finish does.
func (a *actor) did(kind schema.GroupVersionKind, name types.NamespacedName, done, says string) {
	action := Action{
		Kind: kind.Kind, Namespace: name.Namespace, Name: name.Name, Done: done, Says: says, group: kind.Group,
	}
	a.report.Objects = append(a.report.Objects, action)
	switch a.output {
	case "":
		action.tree(a.report.DryRun).print(a.printer)
	case "name":
		say(a.streams.Out, "%s.%s/%s", strings.ToLower(action.Kind), action.group, action.Name)
	}
}

// finish prints the report for programs. It is an error if something failed.
func (a *actor) finish() error {
	if a.output != "" && a.output != "name" {
		if err := a.printer.show(a.report, nil); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(a.report.Objects, func(action Action) bool { return action.Done == doneFailed }) {
		return errWrong
	}
	return nil
}

func (a *Action) tree(dryRun string) node {
	n := node{
		text: fmt.Sprintf("%s %s/%s: %s", a.Kind, a.Namespace, a.Name, a.Done), state: metav1.ConditionTrue, says: a.Says,
	}
	if dryRun != "" {
		n.text += fmt.Sprintf(" (%s dry run)", dryRun)
	}
	if a.Done == doneFailed {
		n.state = metav1.ConditionFalse
	}
	return n
}

// exactlyOne argument is to be given.
func exactlyOne(what, example string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError{fmt.Errorf("one %s is to be named, such as %s", what, example)}
		}
		return nil
	}
}
