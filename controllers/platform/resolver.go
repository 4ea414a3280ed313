// SPDX-License-Identifier: Apache-2.0

// Package platform finds the ObservabilityPlatform behind a stack, whom it names to be asked, and
// keeps its status.
package platform

import (
	"cmp"
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/metadata"
)

// Resolver finds which platform stands behind which stack.
type Resolver struct {
	// Reader of the cache.
	Reader client.Reader
}

// For returns what stands behind a stack: the platform that it names, or why it has not got it, or
// the default one, if there is one that admits it.
func (r Resolver) For(ctx context.Context, stack *obsv1.ObservabilityStack) (desired.Platform, error) {
	name := platformName(stack)
	found := &obsv1.ObservabilityPlatform{}
	err := r.Reader.Get(ctx, client.ObjectKey{Name: name}, found, client.UnsafeDisableDeepCopy)
	named := stack.Spec.Platform != ""
	switch {
	case apierrors.IsNotFound(err) && named:
		return desired.Platform{Name: name, Problem: obsv1.ReasonPlatformNotFound}, nil
	case apierrors.IsNotFound(err):
		return desired.Platform{}, nil
	case err != nil:
		return desired.Platform{}, fmt.Errorf("read ObservabilityPlatform %s: %w", name, err)
	}
	admits, err := r.admits(ctx, &found.Spec, stack.Namespace)
	switch {
	case err != nil:
		return desired.Platform{}, err
	case admits:
		return desired.Platform{Name: name, Spec: &found.Spec}, nil
	case named:
		return desired.Platform{Name: name, Problem: obsv1.ReasonPlatformNotAdmitted}, nil
	default:
		return desired.Platform{}, nil
	}
}

// Stacks lists those that have a platform. They are the cache's own: nobody may change them.
func (r Resolver) Stacks(
	ctx context.Context, platform *obsv1.ObservabilityPlatform,
) ([]*obsv1.ObservabilityStack, error) {
	list := &obsv1.ObservabilityStackList{}
	if err := r.Reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list ObservabilityStacks: %w", err)
	}
	var stacks []*obsv1.ObservabilityStack
	admitted := map[string]bool{}
	for i := range list.Items {
		stack := &list.Items[i]
		if platformName(stack) != platform.Name || !stack.DeletionTimestamp.IsZero() {
			continue
		}
		admits, known := admitted[stack.Namespace]
		if !known {
			var err error
			if admits, err = r.admits(ctx, &platform.Spec, stack.Namespace); err != nil {
				return nil, err
			}
			admitted[stack.Namespace] = admits
		}
		if admits {
			stacks = append(stacks, stack)
		}
	}
	return stacks, nil
}

// platformName is the name of the platform that a stack would have.
func platformName(stack *obsv1.ObservabilityStack) string {
	return cmp.Or(stack.Spec.Platform, obsv1.DefaultPlatform)
}

// admits reports whether stacks of a namespace may use a platform. A namespace that is not known is
// not admitted, nor is one by a selector that cannot be read.
func (r Resolver) admits(
	ctx context.Context, platform *obsv1.ObservabilityPlatformSpec, namespace string,
) (bool, error) {
	from := platform.Namespaces
	if from == nil || from.From == obsv1.PlatformNamespacesFromAll {
		return true, nil
	}
	found, err := metadata.Find(ctx, r.Reader, metadata.Namespace, client.ObjectKey{Name: namespace})
	if found == nil || err != nil {
		return false, err
	}
	// The condition Ready of the platform says so if the selector is not valid.
	selector, err := metav1.LabelSelectorAsSelector(from.Selector)
	return err == nil && selector.Matches(labels.Set(found.Labels)), nil
}
