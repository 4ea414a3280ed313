// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/metadata"
)

// CopyIndex finds the copies of a stack's settings, also with injection off.
func CopyIndex() metadata.Index {
	return index(metadata.Of(metadata.Secret), indexCopy, copiedFrom)
}

// copiedFrom names the stack of a copy of its settings in another namespace.
func copiedFrom(obj client.Object) []types.NamespacedName {
	stack := types.NamespacedName{
		Namespace: obj.GetLabels()[obsv1.LabelStackNamespace], Name: obj.GetLabels()[obsv1.LabelStack],
	}
	if stack.Namespace == obj.GetNamespace() || obj.GetName() != obsv1.SettingsName(stack.Namespace, stack.Name) {
		return nil
	}
	return []types.NamespacedName{stack}
}

// CopiesOf lists the copies of a stack's settings in other namespaces, from a cache with CopyIndex.
func CopiesOf(ctx context.Context, reader client.Reader,
	stack types.NamespacedName) ([]metav1.PartialObjectMetadata, error) {
	list := metadata.ListOf(metadata.Secret)
	if err := reader.List(ctx, list, client.MatchingFields{indexCopy: stack.String()}); err != nil {
		return nil, fmt.Errorf("list copies of the settings: %w", err)
	}
	return list.Items, nil
}

// CopyReconciler deletes copies of settings whose stack is gone. While it exists,
// its own pass keeps them.
type CopyReconciler struct {
	client.Client
}

// Reconcile looks at one copy.
func (r *CopyReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	secret := metadata.Of(metadata.Secret)
	if err := r.Get(ctx, req.NamespacedName, secret); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	stacks := copiedFrom(secret)
	if len(stacks) == 0 || !secret.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	stack := &obsv1.ObservabilityStack{}
	err := r.Get(ctx, stacks[0], stack)
	if client.IgnoreNotFound(err) != nil || err == nil && stack.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if err := r.Delete(ctx, secret, client.Preconditions{UID: &secret.UID}); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	return ctrl.Result{}, nil
}
