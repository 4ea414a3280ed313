// SPDX-License-Identifier: Apache-2.0

// Package metadata reads and keys the metadata of objects. It decides nothing.
package metadata

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The built-in kinds that are read as metadata.
var (
	Secret     = corev1.SchemeGroupVersion.WithKind("Secret")
	ConfigMap  = corev1.SchemeGroupVersion.WithKind("ConfigMap")
	Service    = corev1.SchemeGroupVersion.WithKind("Service")
	Namespace  = corev1.SchemeGroupVersion.WithKind("Namespace")
	Pod        = corev1.SchemeGroupVersion.WithKind("Pod")
	Deployment = appsv1.SchemeGroupVersion.WithKind("Deployment")

	NetworkPolicy = networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy")

	Definition = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}
)

// Of makes an empty object of a kind, for reading and watching metadata only.
func Of(kind schema.GroupVersionKind) *metav1.PartialObjectMetadata {
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(kind)
	return meta
}

// Find reads the metadata of an object; nil if there is none.
func Find(
	ctx context.Context, reader client.Reader, kind schema.GroupVersionKind, key types.NamespacedName,
) (*metav1.PartialObjectMetadata, error) {
	found := Of(kind)
	err := reader.Get(ctx, key, found)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read metadata of %s %s: %w", kind.Kind, strings.TrimPrefix(key.String(), "/"), err)
	}
	return found, nil
}

// ListOf makes an empty list of a kind's metadata.
func ListOf(kind schema.GroupVersionKind) *metav1.PartialObjectMetadataList {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	return list
}

// KeepName is a cache's transform that keeps name, UID, version and deletion.
func KeepName(obj any) (any, error) {
	full, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return obj, nil
	}
	return &metav1.PartialObjectMetadata{TypeMeta: full.TypeMeta, ObjectMeta: metav1.ObjectMeta{
		Namespace: full.Namespace, Name: full.Name, UID: full.UID,
		ResourceVersion: full.ResourceVersion, DeletionTimestamp: full.DeletionTimestamp,
	}}, nil
}

// Index is an index of a cache.
type Index struct {
	Of     client.Object
	Field  string
	Values client.IndexerFunc
}

// AddIndexes registers indexes with a cache.
func AddIndexes(ctx context.Context, indexer client.FieldIndexer, indexes ...Index) error {
	for _, index := range indexes {
		if err := indexer.IndexField(ctx, index.Of, index.Field, index.Values); err != nil {
			return fmt.Errorf("index %s: %w", index.Field, err)
		}
	}
	return nil
}

// IndexController is the field of the index that finds objects by the UID of their controller.
const IndexController = "metadata.controller.uid"

// ByController is an index of a kind by the UID of the controlling object.
func ByController(of client.Object) Index {
	return Index{of, IndexController, ControllerUID}
}

// ControllerUID returns the UID of the object's controller, if it has one.
func ControllerUID(obj client.Object) []string {
	if owner := metav1.GetControllerOf(obj); owner != nil {
		return []string{string(owner.UID)}
	}
	return nil
}

// ParseName reads NAMESPACE/NAME, or NAME of an object in the default namespace, if there is one.
func ParseName(text, defaultNamespace string) (name types.NamespacedName, ok bool) {
	name = types.NamespacedName{Namespace: defaultNamespace, Name: text}
	if before, after, found := strings.Cut(text, "/"); found {
		name.Namespace, name.Name = before, after
	}
	ok = len(validation.IsDNS1123Label(name.Namespace)) == 0 && len(validation.IsDNS1123Subdomain(name.Name)) == 0
	return name, ok
}

// maxNote is what the API server takes of an event's note, in bytes; a longer one is refused.
const maxNote = 1024

// Note cuts a message to what an event may say.
func Note(message string) string {
	if len(message) <= maxNote {
		return message
	}
	const more = "..."
	return strings.ToValidUTF8(message[:maxNote-len(more)], "") + more
}
