// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

type initOptions struct {
	streams     genericiooptions.IOStreams
	fromCluster bool
	file        string
}

func newInit(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	o := initOptions{streams: streams}
	command := &cobra.Command{
		Use:   "init [NAME]",
		Short: "Write the first stack of an application",
		Long: `Write an ObservabilityStack for an application, with comments. A few questions ask for what it needs;
with --from-cluster it is read from a namespace: Services and what serves metrics behind them,
Celery's workers and their broker, and the Secret with Sentry's DSN.

Of Secrets only the names and keys are used, never the values. What is written works as it stands;
what cannot be used as it is, and what is left to do, stands below it in comments.

The exit status is 1 if nothing was found to observe.`,
		Example: `  kubectl obstack init
  kubectl obstack init shop -n shop --from-cluster -o stack.yaml
  kubectl obstack init -n shop --from-cluster | kubectl apply -f -`,
		Args: atMostOne("NAME"),
		RunE: func(command *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			return o.run(command.Context(), flags, name)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	command.Flags().BoolVar(&o.fromCluster, "from-cluster", false, "read the namespace instead of asking")
	command.Flags().StringVarP(&o.file, "output", "o", "", "write to this new file instead of the standard output")
	return command
}

func (o *initOptions) run(ctx context.Context, flags *genericclioptions.ConfigFlags, name string) error {
	if !o.fromCluster && !isTerminal(o.streams.In) {
		return usageError{errors.New("there is no terminal to ask at: write --from-cluster, which reads the namespace, " +
			"such as kubectl obstack init shop -n shop --from-cluster")}
	}
	namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	d, err := newDraft(namespace)
	if err != nil {
		return err
	}
	if name != "" {
		if problem := d.try(func(stack *obsv1.ObservabilityStack) { stack.Name = name }); problem != "" {
			return usageError{fmt.Errorf("%q cannot be the name of a stack: %s", name, problem)}
		}
	}
	if o.fromCluster {
		err = describeNamespace(ctx, flags, d)
	} else {
		err = ask(ctx, o.streams.In, o.streams.ErrOut, d, name == "")
	}
	if err != nil {
		return err
	}
	if err := o.write(d); err != nil {
		return err
	}
	if d.empty() {
		say(o.streams.ErrOut, "Nothing to observe was found in namespace %s.", namespace)
		return errWrong
	}
	return nil
}

// describeNamespace describes the application in the draft's namespace.
func describeNamespace(ctx context.Context, flags *genericclioptions.ConfigFlags, d *draft) error {
	api, namespace, err := connect(flags)
	if err != nil {
		return err
	}
	app, err := look(ctx, api, namespace)
	if err != nil {
		return err
	}
	d.describe(app)
	return nil
}

// write the draft to the standard output, or to a file that is not there yet.
func (o *initOptions) write(d *draft) error {
	var text bytes.Buffer
	if err := d.write(&text); err != nil {
		return err
	}
	if o.file == "" {
		_, err := o.streams.Out.Write(text.Bytes())
		return err
	}
	if err := writeNew(o.file, text.Bytes()); err != nil {
		return err
	}
	say(o.streams.ErrOut, "%s is written: see it, then kubectl apply -f %s", o.file, o.file)
	return nil
}

// writeNew writes a file for its owner alone, and never over another one.
func writeNew(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- the user's own
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there already: remove it, or name another file", path)
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(file, bytes.NewReader(content))
	return errors.Join(err, file.Close())
}

// firstStack is what a draft begins with.
func firstStack(namespace string) *obsv1.ObservabilityStack {
	return &obsv1.ObservabilityStack{
		TypeMeta:   metav1.TypeMeta{APIVersion: obsv1.GroupVersion.String(), Kind: stackKind.Kind},
		ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: namespace},
	}
}
