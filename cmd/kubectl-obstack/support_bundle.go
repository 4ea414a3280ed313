// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

func newSupportBundle(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var file string
	command := &cobra.Command{
		Use:   "support-bundle",
		Short: "Collect what an issue needs, without secrets",
		Long: `Collect what helps to find out what is wrong: versions, the operator's objects and logs, stacks,
platforms and what was made for them, events, webhooks and policies, what Prometheus selects by, the
workloads that take settings, and the reports of doctor and status.

Values of Secrets, ConfigMaps and variables are left out, and logins and queries of URLs. The values
of all Secrets that you may read are searched for in all the rest, and replaced. Look at the archive
before you give it away all the same: manifest.yaml lists its files and what could not be read.`,
		Example: `  kubectl obstack support-bundle
  kubectl obstack support-bundle -o issue-42.tar.gz`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("support-bundle takes no %s: write -o FILE to name the archive", args[0])}
			}
			return nil
		},
		RunE: func(command *cobra.Command, _ []string) error {
			printer, err := newPrinter(streams.Out, "")
			if err != nil {
				return err
			}
			b, err := collect(command.Context(), flags)
			if err != nil {
				return err
			}
			archive, err := b.pack()
			if err != nil {
				return err
			}
			if err := writeNew(file, archive); err != nil {
				return err
			}
			return printer.show(b.manifest, []node{b.manifest.tree(file)})
		},
	}
	command.Flags().StringVarP(&file, "output", "o", "obstack-support-bundle.tar.gz", "the new archive")
	return command
}

// collect a bundle.
func collect(ctx context.Context, flags *genericclioptions.ConfigFlags) (*bundle, error) {
	reader, err := newScopedReader(flags)
	if err != nil {
		return nil, err
	}
	b := &bundle{
		manifest: SupportBundle{Plugin: version, Kubernetes: reader.kubernetes},
		objects:  map[string][]*unstructured.Unstructured{}, contents: map[string]any{}, texts: map[string]string{},
	}
	b.collect(ctx, reader)
	in := b.reports(ctx, reader, time.Now())
	b.logs(ctx, flags, b.logged(in))
	// The last, so that a Secret which is made meanwhile is known.
	only, err := b.redactor.learn(ctx, reader)
	b.manifest.SearchedSecrets = b.redactor.secrets
	switch {
	case err != nil:
		b.leaveOut("")
		b.leftOut = fmt.Sprintf("logs and events are left out, because the values of Secrets were not searched for: %v",
			readError("Secrets", metav1.NamespaceAll, err))
	case only != "":
		b.leaveOut(only)
		b.leftOut = fmt.Sprintf("logs and events of other namespaces than %s are left out, because only the values of its "+
			"Secrets were searched for", only)
	}
	return b, ctx.Err()
}

// tree says what was written.
func (s *SupportBundle) tree(file string) node {
	root := node{
		text:  file + ": " + plural(len(s.Files), "file"),
		state: metav1.ConditionTrue,
		says: fmt.Sprintf("the values of %s were searched for and replaced; look at it before you give it away",
			plural(s.SearchedSecrets, "Secret")),
	}
	for _, text := range s.Unread {
		root.branches = append(root.branches, node{text: "not read", state: metav1.ConditionUnknown, says: text})
	}
	for _, text := range s.Cut {
		root.branches = append(root.branches, node{text: "cut", state: metav1.ConditionUnknown, says: text})
	}
	return root
}
