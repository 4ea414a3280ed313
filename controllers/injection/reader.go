// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/metadata"
)

// Reader finds workloads, their Namespaces, Pods and stacks in the caches.
type Reader struct {
	// Main has stacks in full, and Namespaces and stamped Pods as metadata.
	Main client.Reader
	// Workloads has the partial workloads; the webhooks need none.
	Workloads client.Reader
	// Watched reports whether the caches hold the objects of a namespace.
	Watched func(namespace string) bool
}

// Concerning lists the workloads that claim a stack or carry its stamp.
func (r *Reader) Concerning(ctx context.Context, stack types.NamespacedName) ([]*policy.Workload, error) {
	found := map[types.UID]*policy.Workload{}
	collect := func(w *policy.Workload) { found[w.UID] = w }
	if err := r.each(ctx, collect, client.MatchingFields{indexClaims: stack.String()}); err != nil {
		return nil, err
	}
	namespaces := metadata.ListOf(metadata.Namespace)
	if err := r.Main.List(ctx, namespaces, client.MatchingFields{indexNamed: stack.String()}); err != nil {
		return nil, fmt.Errorf("list Namespaces: %w", err)
	}
	for i := range namespaces.Items {
		if !r.Watched(namespaces.Items[i].Name) {
			continue
		}
		if err := r.each(ctx, collect, client.InNamespace(namespaces.Items[i].Name)); err != nil {
			return nil, err
		}
	}
	return slices.Collect(maps.Values(found)), nil
}

// InNamespace lists the workloads of a namespace.
func (r *Reader) InNamespace(ctx context.Context, namespace string) ([]*policy.Workload, error) {
	var all []*policy.Workload
	err := r.each(ctx, func(w *policy.Workload) { all = append(all, w) }, client.InNamespace(namespace))
	return all, err
}

func (r *Reader) each(ctx context.Context, f func(*policy.Workload), opts ...client.ListOption) error {
	for _, kind := range policy.Kinds {
		list := kind.NewList()
		// Nothing here changes a workload, so none needs a copy of its own.
		if err := r.Workloads.List(ctx, list, append(opts, client.UnsafeDisableDeepCopy)...); err != nil {
			return fmt.Errorf("list %ss: %w", kind.Kind, err)
		}
		list.Each(func(w *policy.Workload) {
			if w.Kind == "" { // as the API server sends the items of a list
				w.SetGroupVersionKind(kind.GroupVersionKind)
			}
			f(w)
		})
	}
	return nil
}

// Workload reads one workload; nil if there is none.
func (r *Reader) Workload(ctx context.Context, key policy.Key) (*policy.Workload, error) {
	kind, err := policy.KindOf(key.Kind)
	if err != nil {
		return nil, err
	}
	obj := kind.New()
	if err := r.Workloads.Get(ctx, key.NamespacedName, obj); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	w := obj.Partial()
	w.SetGroupVersionKind(kind.GroupVersionKind)
	return w, nil
}

// Claim reads what a workload asks for, and the metadata of its Namespace.
func (r *Reader) Claim(ctx context.Context, w *policy.Workload) (policy.Claim, *metav1.PartialObjectMetadata, error) {
	namespace, err := r.namespace(ctx, w.Namespace)
	if err != nil {
		return policy.Claim{}, nil, err
	}
	return policy.ClaimOf(w, namespace), namespace, nil
}

// namespace reads the metadata of a Namespace; they are empty if there is none.
func (r *Reader) namespace(ctx context.Context, name string) (*metav1.PartialObjectMetadata, error) {
	namespace := metadata.Of(metadata.Namespace)
	if err := r.Main.Get(ctx, types.NamespacedName{Name: name}, namespace); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read Namespace %s: %w", name, err)
	}
	return namespace, nil
}

// stack reads the stack of a claim; nil if nothing is claimed or the operator watches none.
func (r *Reader) stack(ctx context.Context, claim policy.Claim) (*obsv1.ObservabilityStack, error) {
	if !claim.Made() || !r.Watched(claim.Stack.Namespace) {
		return nil, nil
	}
	stack := &obsv1.ObservabilityStack{}
	if err := r.Main.Get(ctx, claim.Stack, stack); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil, nil
		}
		return nil, fmt.Errorf("read ObservabilityStack %s: %w", claim.Stack, err)
	}
	return stack, nil
}
