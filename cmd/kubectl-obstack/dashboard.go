// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/desired/dashboards"
	"obstack.dev/obstack/controllers/platform"
	"obstack.dev/obstack/controllers/proof/promclient"
	"obstack.dev/obstack/internal/browser"
	"obstack.dev/obstack/internal/viewer"
)

type dashboardOptions struct {
	streams genericiooptions.IOStreams
	url     string
	noOpen  bool
	png     string
	// allStacks is the operator's dashboard instead of a stack's.
	allStacks bool
	// browser draws what --png wants.
	browser string
}

func newDashboard(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	o := dashboardOptions{streams: streams}
	command := &cobra.Command{
		Use:   "dashboard [STACK]",
		Short: "Show a stack's dashboards in a browser, without Grafana",
		Long: `Show the dashboards of a stack in a browser, live, without Grafana: the same panels, queries and
colours, drawn by this command from what Prometheus says. It serves them on a free port of this
machine's loopback address until Ctrl-C. With --png it draws them into files instead. With -A it is
the dashboard of all stacks, for whoever runs obstack.

Prometheus is that of the stack's ObservabilityPlatform, or the only Prometheus object of the
cluster, and is asked with your rights by way of the API server, for which you need to get
services/proxy in its namespace; or what --url names. Only queries are sent, and the cluster is only
read.`,
		Example: `  kubectl obstack dashboard                     # the only stack of a namespace
  kubectl obstack dashboard shop -n shop
  kubectl obstack dashboard shop --url http://127.0.0.1:9090  # a port-forward
  kubectl obstack dashboard shop --png incident  # files for a report
  kubectl obstack dashboard -A                   # all stacks`,
		Args: atMostOne("STACK"),
		RunE: func(command *cobra.Command, args []string) error {
			if o.allStacks && len(args) > 0 {
				return usageError{errors.New("a name and --all-namespaces exclude each other: write -n NAMESPACE")}
			}
			if o.png == "" && command.Flags().Changed("png") {
				return usageError{errors.New("--png is empty: write the folder for the files, such as --png=incident")}
			}
			if err := o.check(); err != nil {
				return usageError{err}
			}
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			return o.run(command.Context(), flags, name)
		},
		ValidArgsFunction: completeStacks(flags),
	}
	command.Flags().StringVar(&o.url, "url", "", "address of a Prometheus, or of what serves its queries, which is asked "+
		"without credentials")
	command.Flags().BoolVar(&o.noOpen, "no-open", false, "print the address, and open no browser")
	command.Flags().BoolVarP(&o.allStacks, "all-namespaces", "A", false, "show the dashboard of all stacks, for whoever "+
		"runs obstack, instead of those of one")
	command.Flags().StringVar(&o.png, "png", "", "draw each dashboard into a file of this folder, by the Chrome, "+
		"Chromium or Edge of this machine, and serve no page")
	return command
}

// check refuses an address that is none, or that has a password in it, which others could read in
// the list of processes.
func (o *dashboardOptions) check() error {
	if o.url == "" {
		return nil
	}
	parsed, err := url.Parse(o.url)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.User != nil ||
		parsed.RawQuery != "" || parsed.Fragment != "" {
		return errors.New("--url is not an address without credentials and query: write for example " +
			"http://127.0.0.1:9090")
	}
	return nil
}

func (o *dashboardOptions) run(ctx context.Context, flags *genericclioptions.ConfigFlags, name string) (err error) {
	if o.png != "" {
		if o.browser, err = browser.Find(); err != nil {
			return fmt.Errorf("--png: %w", err)
		}
	}
	api, namespace, err := connect(flags)
	if err != nil {
		return err
	}
	of, err := o.display(ctx, api, namespace, name)
	if err != nil {
		return err
	}
	server, err := o.prometheus(ctx, flags, api, of.behind)
	if err != nil {
		return err
	}
	// Whoever sees an empty page would look for the fault in the application.
	if err := server.client.Query(ctx, clock, func(promclient.Sample) {}); err != nil {
		return fmt.Errorf("ask %s: %w: name another with --url", server.name, err)
	}
	shown, err := viewer.New(pages(of.dashboards), server.client)
	if err != nil {
		return err
	}
	if o.png != "" {
		return o.draw(ctx, shown, of.dashboards)
	}
	return o.serve(ctx, shown, fmt.Sprintf("%s of %s\n%s", plural(len(of.dashboards), "dashboard"), of.name, server.name))
}

// display is what is shown.
type display struct {
	name       string
	dashboards []dashboard
	behind     desired.Platform
}

// display of a stack, or of all of them.
func (o *dashboardOptions) display(
	ctx context.Context, api client.Reader, namespace, name string,
) (of display, err error) {
	if o.allStacks {
		parsed, err := viewer.Parse([]byte(dashboards.AllStacks))
		return display{"all stacks", []dashboard{{parsed, "all-stacks"}}, o.defaultPlatform(ctx, api)}, err
	}
	stack, err := theStack(ctx, api, namespace, name)
	if err != nil {
		return of, err
	}
	of.name, of.behind = stack.Namespace+"/"+stack.Name, o.platform(ctx, api, stack)
	of.dashboards, err = dashboardsOf(stack, of.behind)
	return of, err
}

// theStack of that name, or the only one of a namespace.
func theStack(ctx context.Context, api client.Reader, namespace, name string) (*obsv1.ObservabilityStack, error) {
	stacks, err := findStacks(ctx, api, namespace, name)
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range stacks {
		names = append(names, stacks[i].Name)
	}
	switch len(stacks) {
	case 0:
		return nil, fmt.Errorf("namespace %s has no ObservabilityStack: kubectl get obs -A lists all", namespace)
	case 1:
		return &stacks[0], nil
	default:
		return nil, fmt.Errorf("namespace %s has several stacks, write one of %s", namespace, strings.Join(names, ", "))
	}
}

// platform behind the stack. Without it, the dashboards lack its defaults.
func (o *dashboardOptions) platform(
	ctx context.Context, api client.Reader, stack *obsv1.ObservabilityStack,
) desired.Platform {
	found, err := platform.Resolver{Reader: api}.For(ctx, stack)
	if err != nil {
		o.sayWithout("The stack is shown without its platform", err)
	}
	return found
}

// defaultPlatform is the one whose Prometheus is asked about all stacks.
func (o *dashboardOptions) defaultPlatform(ctx context.Context, api client.Reader) desired.Platform {
	found := &obsv1.ObservabilityPlatform{}
	err := api.Get(ctx, client.ObjectKey{Name: obsv1.DefaultPlatform}, found)
	if err != nil && !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err) {
		o.sayWithout("The platform is not asked which Prometheus there is", err)
	}
	return desired.Platform{Spec: &found.Spec}
}

func (o *dashboardOptions) sayWithout(what string, err error) {
	why := err.Error()
	if apierrors.IsForbidden(err) {
		why = "you may not read ObservabilityPlatforms and Namespaces"
	}
	say(o.streams.ErrOut, "%s: %s.", what, why)
}

// dashboard with the name of its file.
type dashboard struct {
	*viewer.Dashboard

	file string
}

func pages(of []dashboard) (all []*viewer.Dashboard) {
	for _, d := range of {
		all = append(all, d.Dashboard)
	}
	return all
}

// dashboardsOf a stack, as obstack makes them, whether or not the stack asks for any.
func dashboardsOf(stack *obsv1.ObservabilityStack, behind desired.Platform) ([]dashboard, error) {
	asking := stack.DeepCopy()
	if asking.Spec.Dashboards == nil {
		asking.Spec.Dashboards = &obsv1.DashboardsSpec{}
	}
	effective := desired.Effective(asking, behind.Spec)
	i := slices.IndexFunc(desired.Components, func(c desired.Component) bool {
		return c.Condition == obsv1.DashboardsReady
	})
	var all []dashboard
	for _, object := range desired.Components[i].Build(effective, desired.Inputs{Platform: behind}).Objects {
		configMap, ok := object.(*corev1.ConfigMap)
		if !ok {
			continue
		}
		for file, content := range configMap.Data {
			parsed, err := viewer.Parse([]byte(content))
			if err != nil {
				return nil, fmt.Errorf("dashboard %s: %w", configMap.Name, err)
			}
			all = append(all, dashboard{parsed, strings.TrimSuffix(file, ".json")})
		}
	}
	return all, nil
}

// closeTimeout is for requests that are under way at the end.
const closeTimeout = time.Second

// serve until the context ends.
func (o *dashboardOptions) serve(ctx context.Context, shown *viewer.Viewer, what string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen on this machine: %w", err)
	}
	server := viewer.Server(ctx, shown, listener.Addr())
	address := "http://" + listener.Addr().String()
	fmt.Fprintf(o.streams.Out, "%s\n%s until Ctrl-C\n", what, address)
	if !o.noOpen {
		browser.Open(address)
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve the dashboards: %w", err)
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if server.Shutdown(closing) != nil {
		_ = server.Close() // It ends in any case.
	}
	return nil
}
