// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/apply"
	"obstack.dev/obstack/controllers/metadata"
)

// Keeper makes the versions exist that stacks want. Use one for all passes; it is safe for
// concurrent use by different stacks.
type Keeper struct {
	// Client writes.
	Client client.Client
	// Cache lists versions; it has the Index. Live reads what has the name of one.
	Cache, Live client.Reader
	// Now is the clock.
	Now func() time.Time

	mu sync.Mutex
	// known is the last that was seen of each version that a pass wanted.
	known map[types.NamespacedName]identity
	// refused are the versions that could not be written and will not be before somebody changes
	// something.
	refused map[types.NamespacedName]refusal
	// wanted has the versions that the last pass over a stack wanted.
	wanted map[types.NamespacedName]wanted
	// fresh has the versions that are to be written and that, for certain, never were.
	fresh map[types.NamespacedName]bool
	// queue is that of the collector, once it runs.
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
}

// Wanted are the versions of a stack that should exist, and those that do.
type Wanted struct {
	Stack   types.NamespacedName
	Secrets []*corev1.Secret
	Exist   []metav1.PartialObjectMetadata
	// Held keeps all that exist.
	Held bool
	// Named are the hashes in the status before the pass: a former process may have written them.
	Named []string
}

// Keep writes what is missing or was replaced, and returns what failed by Secret: the trouble of
// one is no other's.
func (k *Keeper) Keep(ctx context.Context, want Wanted) map[types.NamespacedName]error {
	k.want(want)
	exist, failures := want.exist(), map[types.NamespacedName]error{}
	for _, secret := range want.Secrets {
		name := client.ObjectKeyFromObject(secret)
		if err := k.tryToKeep(ctx, secret, exist[name]); err != nil {
			failures[name] = err
		}
	}
	return failures
}

// tryToKeep writes a version, unless that was refused just now.
func (k *Keeper) tryToKeep(ctx context.Context, want *corev1.Secret, found *metav1.PartialObjectMetadata) error {
	name := client.ObjectKeyFromObject(want)
	k.mu.Lock()
	last := k.refused[name]
	k.mu.Unlock()
	if k.Now().Before(last.until) {
		return last.err
	}
	err := k.keep(ctx, want, found)
	if err != nil {
		err = fmt.Errorf("write Secret %s: %w", name, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var taken *apply.NameTakenError
	if apply.Rejected(err) || errors.As(err, &taken) {
		k.refused[name] = refusal{err, k.Now().Add(refusedFor)}
	} else {
		delete(k.refused, name)
	}
	return err
}

// Missing are the changes that Keep would make.
func (k *Keeper) Missing(want Wanted) []apply.Change {
	k.want(want)
	exist := want.exist()
	var changes []apply.Change
	for _, secret := range want.Secrets {
		if exist[client.ObjectKeyFromObject(secret)] == nil {
			changes = append(changes, apply.Change{Verb: "create", Kind: "Secret", Name: secret.Namespace + "/" + secret.Name})
		}
	}
	return changes
}

// exist are the versions that exist, by name.
func (w *Wanted) exist() map[types.NamespacedName]*metav1.PartialObjectMetadata {
	exist := make(map[types.NamespacedName]*metav1.PartialObjectMetadata, len(w.Exist))
	for i := range w.Exist {
		exist[client.ObjectKeyFromObject(&w.Exist[i])] = &w.Exist[i]
	}
	return exist
}

// keep makes one version be as wanted. Immutable data cannot be changed, but somebody may have
// deleted the Secret and made another of its name: one with another UID is read.
func (k *Keeper) keep(ctx context.Context, want *corev1.Secret, found *metav1.PartialObjectMetadata) error {
	if found == nil {
		return k.create(ctx, want)
	}
	known, ok := k.knows(client.ObjectKeyFromObject(want))
	if found.Annotations[obsv1.AnnotationContent] != want.Annotations[obsv1.AnnotationContent] ||
		ok && known.uid != found.UID {
		return k.takeOver(ctx, want)
	}
	k.know(found)
	return k.keepMetadata(ctx, want, found)
}

func (k *Keeper) create(ctx context.Context, want *corev1.Secret) error {
	err := k.write(ctx, want)
	if apierrors.IsAlreadyExists(err) {
		return k.takeOver(ctx, want)
	}
	return err
}

// write a version that is not there, or not any more.
func (k *Keeper) write(ctx context.Context, want *corev1.Secret) error {
	secret := want.DeepCopy()
	if !k.isFresh(client.ObjectKeyFromObject(want)) {
		metav1.SetMetaDataAnnotation(&secret.ObjectMeta, obsv1.AnnotationRestored, "true")
	}
	if err := k.Client.Create(ctx, secret, client.FieldOwner(obsv1.FieldManager)); err != nil {
		return err
	}
	k.know(secret)
	return nil
}

// takeOver makes a version of the Secret that has its name. One that holds the same becomes it;
// of another, only one of ours is replaced.
func (k *Keeper) takeOver(ctx context.Context, want *corev1.Secret) error {
	found := &corev1.Secret{}
	if err := k.Live.Get(ctx, client.ObjectKeyFromObject(want), found); err != nil {
		return err
	}
	immutable := found.Immutable != nil && *found.Immutable
	if immutable && found.Type == want.Type && maps.EqualFunc(found.Data, want.Data, bytes.Equal) {
		return k.takeEqual(ctx, want, found)
	}
	if _, ours := VersionOf(found); !ours || !found.DeletionTimestamp.IsZero() { // A finalizer may keep it for ever.
		return &apply.NameTakenError{Kind: "Secret", Name: found.Namespace + "/" + found.Name}
	}
	if err := k.Client.Delete(ctx, found, client.Preconditions{UID: &found.UID}); client.IgnoreNotFound(err) != nil {
		return err
	}
	err := k.write(ctx, want)
	if apierrors.IsAlreadyExists(err) {
		return &apply.NameTakenError{Kind: "Secret", Name: found.Namespace + "/" + found.Name}
	}
	return err
}

// takeEqual makes a version of a Secret that holds the same. Unless this process wrote that, Pods
// may have had the same of the one before.
func (k *Keeper) takeEqual(ctx context.Context, want, found *corev1.Secret) error {
	if known, ok := k.knows(client.ObjectKeyFromObject(want)); !ok || known.uid != found.UID {
		want = want.DeepCopy()
		metav1.SetMetaDataAnnotation(&want.ObjectMeta, obsv1.AnnotationRestored, "true")
	}
	err := k.keepMetadata(ctx, want, &metav1.PartialObjectMetadata{ObjectMeta: found.ObjectMeta})
	if known, ok := k.knows(client.ObjectKeyFromObject(want)); err == nil && (!ok || known.uid != found.UID) {
		k.know(found)
	}
	return err
}

// keepMetadata gives a version its labels and annotations. That it was to be deleted is taken
// back before anything relies on it: the collector deletes no version that was written since.
func (k *Keeper) keepMetadata(ctx context.Context, want *corev1.Secret, found *metav1.PartialObjectMetadata) error {
	annotations := map[string]*string{}
	for _, key := range obsv1.DeletionMarks {
		if _, set := found.Annotations[key]; set {
			annotations[key] = nil
		}
	}
	for key, value := range want.Annotations {
		if found.Annotations[key] != value {
			annotations[key] = &value
		}
	}
	labels := map[string]*string{}
	for key, value := range want.Labels {
		if found.Labels[key] != value {
			labels[key] = &value
		}
	}
	if len(annotations)+len(labels) == 0 {
		return nil
	}
	return k.patch(ctx, found, map[string]any{"annotations": annotations, "labels": labels})
}

// patch changes the metadata of a Secret as it was found.
func (k *Keeper) patch(ctx context.Context, found *metav1.PartialObjectMetadata, change map[string]any) error {
	change["uid"], change["resourceVersion"] = found.UID, found.ResourceVersion
	body, err := json.Marshal(map[string]any{"metadata": change})
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	response := metadata.Of(metadata.Secret)
	response.Namespace, response.Name = found.Namespace, found.Name
	if err := k.Client.Patch(ctx, response, client.RawPatch(types.MergePatchType, body),
		client.FieldOwner(obsv1.FieldManager)); err != nil {
		return err
	}
	k.know(response)
	return nil
}
