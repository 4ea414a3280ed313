// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/pager"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
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

// pluralOf a kind, such as NetworkPolicies.
func pluralOf(kind string) string {
	if start, ok := strings.CutSuffix(kind, "y"); ok {
		return start + "ies"
	}
	return kind + "s"
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
var childKinds = slices.Concat(optionalKinds, []schema.GroupVersionKind{
	metadata.ConfigMap, metadata.Deployment, metadata.Service, metadata.NetworkPolicy, metadata.Secret,
})

// madeObjects are what obstack made for stacks.
type madeObjects struct {
	// byComponent are KIND/NAME by stack and component.
	byComponent map[client.ObjectKey]map[string][]string
	// unread says by namespace which of them the caller could not read, and why.
	unread map[string][]string
}

// children of stacks, read at once: a cluster may have thousands.
func children(ctx context.Context, api client.Reader, stacks []obsv1.ObservabilityStack) madeObjects {
	found := make([]madeObjects, len(childKinds))
	var wait sync.WaitGroup
	for i, kind := range childKinds {
		wait.Go(func() { found[i].read(ctx, api, kind, stacks) })
	}
	wait.Wait()
	all := newMadeObjects()
	for _, of := range found {
		for stack, byComponent := range of.byComponent {
			for component, names := range byComponent {
				all.add(stack, component, names...)
			}
		}
		for namespace, says := range of.unread {
			all.unread[namespace] = append(all.unread[namespace], says...)
		}
	}
	for _, byComponent := range all.byComponent {
		for _, names := range byComponent {
			slices.Sort(names)
		}
	}
	return all
}

func newMadeObjects() madeObjects {
	return madeObjects{byComponent: map[client.ObjectKey]map[string][]string{}, unread: map[string][]string{}}
}

func (m *madeObjects) add(stack client.ObjectKey, component string, names ...string) {
	if m.byComponent[stack] == nil {
		m.byComponent[stack] = map[string][]string{}
	}
	m.byComponent[stack][component] = append(m.byComponent[stack][component], names...)
}

// maxApart is in how many namespaces objects are looked for one by one, where the caller may not
// look into all at once.
const maxApart = 20

// read those of one kind: in all namespaces at once, if there are several.
func (m *madeObjects) read(ctx context.Context, api client.Reader, kind schema.GroupVersionKind,
	stacks []obsv1.ObservabilityStack) {
	*m = newMadeObjects()
	opts := []client.ListOption{client.MatchingLabels{obsv1.LabelManagedBy: obsv1.ManagedBy},
		client.HasLabels{obsv1.LabelStack}}
	if len(stacks) == 1 {
		opts = []client.ListOption{client.MatchingLabels{obsv1.LabelManagedBy: obsv1.ManagedBy,
			obsv1.LabelStack: stacks[0].Name, obsv1.LabelStackNamespace: stacks[0].Namespace}}
	}
	list := func(namespace string) error {
		return ignoreNoMatch(each(ctx, api, metadata.ListOf(kind), func(object client.Object) {
			if of := object.GetLabels(); of[obsv1.LabelStackNamespace] == object.GetNamespace() {
				m.add(client.ObjectKey{Namespace: object.GetNamespace(), Name: of[obsv1.LabelStack]},
					of[obsv1.LabelComponent], kind.Kind+"/"+object.GetName())
			}
		}, append(opts, client.InNamespace(namespace))...))
	}
	namespaces := namespacesOf(stacks)
	if len(namespaces) > 1 {
		err := list(metav1.NamespaceAll)
		if err == nil {
			return
		}
		if !apierrors.IsForbidden(err) || len(namespaces) > maxApart {
			for _, namespace := range namespaces {
				m.unread[namespace] = []string{readError(pluralOf(kind.Kind), metav1.NamespaceAll, err).Error()}
			}
			return
		}
	}
	for _, namespace := range namespaces {
		if err := list(namespace); err != nil {
			m.unread[namespace] = []string{readError(pluralOf(kind.Kind), namespace, err).Error()}
		}
	}
}

func namespacesOf(stacks []obsv1.ObservabilityStack) (namespaces []string) {
	for i := range stacks {
		namespaces = append(namespaces, stacks[i].Namespace)
	}
	slices.Sort(namespaces)
	return slices.Compact(namespaces)
}

func atMostOne(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usageError{fmt.Errorf("at most one %s, not %s", what, strings.Join(args, " "))}
		}
		return nil
	}
}
