// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/pager"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/metadata"
)

// findStacks reads the stack of that name, or all of a namespace if it is empty, sorted.
func findStacks(ctx context.Context, api client.Reader, namespace, name string) ([]obsv1.ObservabilityStack, error) {
	if name != "" {
		stack := &obsv1.ObservabilityStack{}
		err := api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, stack)
		if apierrors.IsNotFound(err) {
			return nil, cmp.Or(noNamespace(ctx, api, namespace),
				fmt.Errorf("namespace %s has no ObservabilityStack %s: kubectl get obs -A lists all", namespace, name))
		}
		if err != nil {
			return nil, readError("ObservabilityStacks", namespace, err)
		}
		return []obsv1.ObservabilityStack{*stack}, nil
	}
	list := &obsv1.ObservabilityStackList{}
	if err := api.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return nil, readError("ObservabilityStacks", namespace, err)
	}
	sortStacks(list.Items)
	if len(list.Items) == 0 && namespace != metav1.NamespaceAll {
		return nil, noNamespace(ctx, api, namespace)
	}
	return list.Items, nil
}

// noNamespace is an error if the cluster has no namespace of that name. Whoever may not read it
// cannot know.
func noNamespace(ctx context.Context, api client.Reader, namespace string) error {
	if apierrors.IsNotFound(api.Get(ctx, client.ObjectKey{Name: namespace}, metadata.Of(metadata.Namespace))) {
		return fmt.Errorf("there is no namespace %s", namespace)
	}
	return nil
}

func sortStacks(stacks []obsv1.ObservabilityStack) {
	slices.SortFunc(stacks, func(a, b obsv1.ObservabilityStack) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
}

// where something was read.
func where(namespace string) string {
	if namespace == metav1.NamespaceAll {
		return "all namespaces"
	}
	return "namespace " + namespace
}

// readError says what could not be read, and which right is missing.
func readError(what, namespace string, err error) error {
	switch {
	case meta.IsNoMatchError(err):
		return fmt.Errorf("the cluster does not serve %s: install obstack first", what)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("you may not read %s in %s: ask for a role that lets you get and list them", what,
			where(namespace))
	default:
		return fmt.Errorf("read %s in %s: %w", what, where(namespace), err)
	}
}

// writeError says what could not be changed, and which right is missing.
func writeError(what, namespace string, err error) error {
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("you may not change %s in namespace %s: ask for a role that lets you patch them", what, namespace)
	}
	return fmt.Errorf("change %s in namespace %s: %w", what, namespace, err)
}

// each object of the kind of a list, page by page.
func each(
	ctx context.Context, api client.Reader, list client.ObjectList, do func(client.Object), opts ...client.ListOption,
) error {
	pages := pager.New(func(ctx context.Context, page metav1.ListOptions) (runtime.Object, error) {
		next := list.DeepCopyObject().(client.ObjectList)
		return next, api.List(ctx, next, slices.Concat(opts,
			[]client.ListOption{client.Limit(page.Limit), client.Continue(page.Continue)})...)
	})
	return pages.EachListItem(ctx, metav1.ListOptions{}, func(item runtime.Object) error {
		do(item.(client.Object))
		return nil
	})
}

// childKinds are those of the objects that obstack makes.
var childKinds = []schema.GroupVersionKind{
	desired.ServiceMonitorKind, desired.PrometheusRuleKind, desired.GrafanaDashboardKind, metadata.ConfigMap,
	metadata.Deployment, metadata.Service, metadata.NetworkPolicy, metadata.Secret,
}

// children of a stack by their component, as KIND/NAME, and which of them the caller may not read.
func children(ctx context.Context, api client.Reader, stack *obsv1.ObservabilityStack) (map[string][]string, []string) {
	byComponent := map[string][]string{}
	var unread []string
	for _, kind := range childKinds {
		list := metadata.ListOf(kind)
		err := api.List(ctx, list, client.InNamespace(stack.Namespace), client.MatchingLabels{
			obsv1.LabelManagedBy: obsv1.ManagedBy, obsv1.LabelStack: stack.Name, obsv1.LabelStackNamespace: stack.Namespace,
		})
		if meta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			unread = append(unread, readError(kind.Kind+"s", stack.Namespace, err).Error())
			continue
		}
		for i := range list.Items {
			component := list.Items[i].Labels[obsv1.LabelComponent]
			byComponent[component] = append(byComponent[component], kind.Kind+"/"+list.Items[i].Name)
		}
	}
	for _, names := range byComponent {
		slices.Sort(names)
	}
	return byComponent, unread
}

func atMostOne(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usageError{fmt.Errorf("at most one %s, not %s", what, strings.Join(args, " "))}
		}
		return nil
	}
}
