// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/apply"
	"obstack.dev/obstack/controllers/metadata"
)

func (k *Keeper) create(ctx context.Context, want client.Object) (wrote bool, err error) {
	err = k.write(ctx, want)
	if apierrors.IsAlreadyExists(err) {
		return k.takeOver(ctx, want)
	}
	return err == nil, err
}

// write a version that is not there, or not any more.
func (k *Keeper) write(ctx context.Context, want client.Object) error {
	object := want.DeepCopyObject().(client.Object)
	if secret, ok := object.(*corev1.Secret); ok && !k.isFresh(client.ObjectKeyFromObject(want)) {
		metav1.SetMetaDataAnnotation(&secret.ObjectMeta, obsv1.AnnotationRestored, "true")
	}
	if err := k.Client.Create(ctx, object, client.FieldOwner(obsv1.FieldManager)); err != nil {
		return err
	}
	k.know(object)
	return nil
}

// takeOver makes a version of the object that has its name. One that holds the same becomes it; of
// another, only one of ours is replaced.
func (k *Keeper) takeOver(ctx context.Context, want client.Object) (wrote bool, err error) {
	found, same, ours, err := k.read(ctx, want)
	if err != nil {
		return false, err
	}
	if same {
		return false, k.takeEqual(ctx, want, found)
	}
	taken := &apply.NameTakenError{Kind: kindOf(want.GetName()).Kind, Name: found.Namespace + "/" + found.Name}
	if !ours || !found.DeletionTimestamp.IsZero() { // A finalizer may keep it for ever.
		return false, taken
	}
	if err := k.Client.Delete(ctx, found, client.Preconditions{UID: &found.UID}); client.IgnoreNotFound(err) != nil {
		return false, err
	}
	err = k.write(ctx, want)
	if apierrors.IsAlreadyExists(err) {
		return false, taken
	}
	return err == nil, err
}

// read what has the name of a version, whether it holds the same, and whether obstack made it.
func (k *Keeper) read(ctx context.Context, want client.Object) (found *metav1.PartialObjectMetadata, same, ours bool,
	err error) {
	found = metadata.Of(kindOf(want.GetName()))
	switch want := want.(type) {
	case *corev1.Secret:
		secret := &corev1.Secret{}
		err = k.Live.Get(ctx, client.ObjectKeyFromObject(want), secret)
		found.ObjectMeta = secret.ObjectMeta
		_, ours = VersionOf(secret)
		same = isTrue(secret.Immutable) && secret.Type == want.Type && maps.EqualFunc(secret.Data, want.Data, bytes.Equal)
	case *corev1.ConfigMap:
		bundle := &corev1.ConfigMap{}
		err = k.Live.Get(ctx, client.ObjectKeyFromObject(want), bundle)
		found.ObjectMeta, ours = bundle.ObjectMeta, isBundle(bundle)
		same = isTrue(bundle.Immutable) && len(bundle.BinaryData) == 0 && maps.Equal(bundle.Data, want.Data)
	}
	return found, same, ours, err
}

func isTrue(value *bool) bool { return value != nil && *value }

// takeEqual makes a version of an object that holds the same. Unless this process wrote that, Pods
// may have had the same of the one before.
func (k *Keeper) takeEqual(ctx context.Context, want client.Object, found *metav1.PartialObjectMetadata) error {
	known, ok := k.knows(client.ObjectKeyFromObject(want))
	if secret, is := want.(*corev1.Secret); is && (!ok || known.uid != found.UID) {
		secret = secret.DeepCopy()
		metav1.SetMetaDataAnnotation(&secret.ObjectMeta, obsv1.AnnotationRestored, "true")
		want = secret
	}
	err := k.keepMetadata(ctx, want, found)
	if known, ok := k.knows(client.ObjectKeyFromObject(want)); err == nil && (!ok || known.uid != found.UID) {
		k.know(found)
	}
	return err
}

// keepMetadata gives a version its labels and annotations. That it was to be deleted is taken
// back before anything relies on it: the collector deletes no version that was written since.
func (k *Keeper) keepMetadata(ctx context.Context, want client.Object, found *metav1.PartialObjectMetadata) error {
	annotations := map[string]*string{}
	for _, key := range obsv1.DeletionMarks {
		if _, set := found.Annotations[key]; set {
			annotations[key] = nil
		}
	}
	for key, value := range want.GetAnnotations() {
		if found.Annotations[key] != value {
			annotations[key] = &value
		}
	}
	labels := map[string]*string{}
	for key, value := range want.GetLabels() {
		if found.Labels[key] != value {
			labels[key] = &value
		}
	}
	if len(annotations)+len(labels) == 0 {
		return nil
	}
	return k.patch(ctx, found, map[string]any{"annotations": annotations, "labels": labels})
}

// patch changes the metadata of an object as it was found.
func (k *Keeper) patch(ctx context.Context, found *metav1.PartialObjectMetadata, change map[string]any) error {
	change["uid"], change["resourceVersion"] = found.UID, found.ResourceVersion
	body, err := json.Marshal(map[string]any{"metadata": change})
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	response := metadata.Of(kindOf(found.Name))
	response.Namespace, response.Name = found.Namespace, found.Name
	if err := k.Client.Patch(ctx, response, client.RawPatch(types.MergePatchType, body),
		client.FieldOwner(obsv1.FieldManager)); err != nil {
		return err
	}
	k.know(response)
	return nil
}
