// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/apply"
	"obstack.dev/obstack/controllers/desired"
)

// CacheOptions say what of each kind is kept in memory: our own kind in full,
// children by label, and of Secrets and CustomResourceDefinitions, of which the
// cluster may hold thousands that do not concern us, next to nothing.
func CacheOptions() cache.Options {
	return cache.Options{
		// The default, because a kind that is not installed yet cannot be named in ByObject.
		DefaultLabelSelector: labels.SelectorFromSet(labels.Set{obsv1.LabelManagedBy: obsv1.ManagedBy}),
		DefaultTransform:     cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&obsv1.ObservabilityStack{}: {Label: labels.Everything()},
			// A Secret that a stack refers to is a stranger's, so Secrets cannot be chosen by label.
			&corev1.Secret{}:          {Label: labels.Everything(), Transform: keepOurs},
			crdMetadata():             {Label: labels.Everything(), Transform: keepName},
			&appsv1.Deployment{}:      {Transform: keepRollout},
			metadataOf(namespaceKind): {Label: labels.Everything(), Transform: keepNamespace},
			metadataOf(podKind):       stampedPods(),
		},
		// A read that nobody set up a watch for is a bug, not a reason to cache a whole kind.
		ReaderFailOnMissingInformer: true,
	}
}

// keepOurs keeps the metadata of our own objects, and of others what tells that they changed.
func keepOurs(obj any) (any, error) {
	meta, ok := obj.(metav1.Object)
	if !ok {
		return obj, nil
	}
	if meta.GetLabels()[obsv1.LabelManagedBy] != obsv1.ManagedBy {
		return keepName(obj)
	}
	meta.SetManagedFields(nil)
	return obj, nil
}

// keepName keeps name, UID, version and deletion.
func keepName(obj any) (any, error) {
	full, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return obj, nil
	}
	return &metav1.PartialObjectMetadata{TypeMeta: full.TypeMeta, ObjectMeta: metav1.ObjectMeta{
		Namespace: full.Namespace, Name: full.Name, UID: full.UID,
		ResourceVersion: full.ResourceVersion, DeletionTimestamp: full.DeletionTimestamp,
	}}, nil
}

// keepRollout keeps of a Deployment what tells how far it is.
func keepRollout(obj any) (any, error) {
	if d, ok := obj.(*appsv1.Deployment); ok {
		d.ManagedFields = nil
		d.Spec = appsv1.DeploymentSpec{Replicas: d.Spec.Replicas}
	}
	return obj, nil
}

// indexController finds children by the UID of the object that controls them.
const indexController = "metadata.controller.uid"

func controllerUID(obj client.Object) []string {
	if owner := metav1.GetControllerOf(obj); owner != nil {
		return []string{string(owner.UID)}
	}
	return nil
}

// indexSecrets finds stacks by the names of the Secrets that they refer to.
const indexSecrets = "spec.secretNames"

func secretNames(obj client.Object) []string {
	stack, ok := obj.(*obsv1.ObservabilityStack)
	if !ok {
		return nil
	}
	var names []string
	for _, ref := range desired.SecretRefs(stack) {
		names = append(names, ref.Name)
	}
	return names
}

// CachedChildren lists children from the cache, which must have indexController.
func CachedChildren(reader client.Reader) apply.Children {
	return func(ctx context.Context, owner client.Object, kind schema.GroupVersionKind) ([]metav1.PartialObjectMetadata, error) {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		opts := []client.ListOption{client.InNamespace(owner.GetNamespace()), client.MatchingFields{indexController: string(owner.GetUID())}}
		var err error
		if kind == deploymentKind {
			list.Items, err = deployments(ctx, reader, opts...)
		} else {
			err = reader.List(ctx, list, opts...)
		}
		if err != nil {
			return nil, fmt.Errorf("list %ss: %w", kind.Kind, err)
		}
		if kind != secretKind {
			return list.Items, nil
		}
		copies, err := copiesOf(ctx, reader, client.ObjectKeyFromObject(owner))
		return append(list.Items, copies...), err
	}
}

// deployments lists the metadata of Deployments, which are cached with their status.
func deployments(ctx context.Context, reader client.Reader, opts ...client.ListOption) ([]metav1.PartialObjectMetadata, error) {
	list := &appsv1.DeploymentList{}
	if err := reader.List(ctx, list, opts...); err != nil {
		return nil, err
	}
	found := make([]metav1.PartialObjectMetadata, len(list.Items))
	for i := range list.Items {
		found[i].ObjectMeta = list.Items[i].ObjectMeta
		found[i].SetGroupVersionKind(deploymentKind)
	}
	return found, nil
}

// copiesOf lists the copies of a stack's settings in other namespaces.
func copiesOf(ctx context.Context, reader client.Reader, stack types.NamespacedName) ([]metav1.PartialObjectMetadata, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(secretKind.GroupVersion().WithKind("SecretList"))
	if err := reader.List(ctx, list, client.MatchingFields{indexCopy: stack.String()}); err != nil {
		return nil, fmt.Errorf("list copies of the settings: %w", err)
	}
	return list.Items, nil
}
