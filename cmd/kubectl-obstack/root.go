// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	monitoringv1alpha1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1alpha1"
	"github.com/spf13/cobra"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

func newCommand(streams genericiooptions.IOStreams) *cobra.Command {
	flags := genericclioptions.NewConfigFlags(true)
	root := &cobra.Command{
		Use:   "kubectl-obstack",
		Short: "Show ObservabilityStacks: what works, what does not, and what to do",
		Example: `  kubectl obstack status                          # what is wrong here?
  kubectl obstack explain deployment/api -n shop  # why has it no settings?`,
		Annotations: map[string]string{
			cobra.CommandDisplayNameAnnotation: "kubectl obstack",
		},
		Version: version,
		// Errors are printed once, by run.
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(command *cobra.Command, args []string) error {
			if len(args) > 0 {
				return noCommand(command, args[0])
			}
			return nil
		},
		RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(func(command *cobra.Command, _ []string) { printHelp(command.OutOrStdout(), command) })
	root.SetHelpCommand(newHelp())
	root.CompletionOptions.DisableDefaultCmd = true
	flags.AddFlags(root.PersistentFlags())
	completeFlags(root, flags)
	root.AddCommand(
		newStatus(flags, streams),
		newExplain(flags, streams),
		newRender(flags, streams),
		newDiff(flags, streams),
		newDoctor(flags, streams),
		newInit(flags, streams),
		newSupportBundle(flags, streams),
		newPause(flags, streams),
		newResume(flags, streams),
		newRelease(flags, streams),
		newRollout(flags, streams),
		newVerify(flags, streams),
		newDashboard(flags, streams),
		newCompletion(),
	)
	return root
}

// connect makes a client with the rights of whoever calls, and the namespace of the command line or
// the kubeconfig.
func connect(flags *genericclioptions.ConfigFlags) (client.WithWatch, string, error) {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(apiextensionsv1.AddToScheme(scheme))
	utilruntime.Must(monitoringv1.AddToScheme(scheme))
	utilruntime.Must(monitoringv1alpha1.AddToScheme(scheme))
	utilruntime.Must(obsv1.AddToScheme(scheme))
	namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("read the kubeconfig: %w", err)
	}
	config, err := flags.ToRESTConfig()
	if err != nil {
		return nil, "", fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.UserAgent = "kubectl-obstack/" + version
	// The API server bounds what it is asked; the client's own limit would make people wait.
	config.QPS = -1
	api, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, "", fmt.Errorf("connect to the cluster: %w", err)
	}
	return api, namespace, nil
}
