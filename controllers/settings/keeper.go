// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
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
	// known is the last that was seen of each version or bundle that a pass wanted. They differ in
	// their names.
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
	// Bundles are those for Python.
	Bundles []*corev1.ConfigMap
	// Held keeps all that exist.
	Held bool
	// Named are the hashes in the status before the pass: a former process may have written them.
	Named []string
}

// Kept is what became of what a pass wanted.
type Kept struct {
	// Failures are by name of the object: the trouble of one is no other's.
	Failures map[types.NamespacedName]error
	// Restored are the bundles that were deleted, or held something else.
	Restored []types.NamespacedName
}

// Keep writes what is missing or was replaced.
func (k *Keeper) Keep(ctx context.Context, want Wanted) Kept {
	k.want(want)
	exist, kept := want.exist(), Kept{Failures: map[types.NamespacedName]error{}}
	for _, secret := range want.Secrets {
		name := client.ObjectKeyFromObject(secret)
		if _, err := k.tryToKeep(ctx, secret, exist[name]); err != nil {
			kept.Failures[name] = err
		}
	}
	for _, bundle := range want.Bundles {
		name := client.ObjectKeyFromObject(bundle)
		_, known := k.knows(name)
		found, err := k.cached(ctx, name)
		wrote := false
		if err == nil {
			wrote, err = k.tryToKeep(ctx, bundle, found)
		}
		if err != nil {
			kept.Failures[name] = err
		} else if wrote && (known || found != nil) {
			kept.Restored = append(kept.Restored, name)
		}
	}
	return kept
}

// cached reads the metadata of an object from the cache; nil if it is not there.
func (k *Keeper) cached(ctx context.Context, name types.NamespacedName) (*metav1.PartialObjectMetadata, error) {
	return metadata.Find(ctx, k.Cache, kindOf(name.Name), name)
}

// tryToKeep writes a version, unless that was refused just now, and reports whether its content was
// written.
func (k *Keeper) tryToKeep(ctx context.Context, want client.Object,
	found *metav1.PartialObjectMetadata) (wrote bool, err error) {
	name := client.ObjectKeyFromObject(want)
	k.mu.Lock()
	last := k.refused[name]
	k.mu.Unlock()
	if k.Now().Before(last.until) {
		return false, last.err
	}
	wrote, err = k.keep(ctx, want, found)
	if err != nil {
		err = fmt.Errorf("write %s %s: %w", kindOf(name.Name).Kind, name, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var taken *apply.NameTakenError
	if apply.Rejected(err) || errors.As(err, &taken) {
		k.refused[name] = refusal{err, k.Now().Add(refusedFor)}
	} else {
		delete(k.refused, name)
	}
	return wrote, err
}

// Missing are the changes that Keep would make.
func (k *Keeper) Missing(ctx context.Context, want Wanted) ([]apply.Change, error) {
	k.want(want)
	exist := want.exist()
	var changes []apply.Change
	for _, object := range want.objects() {
		name := client.ObjectKeyFromObject(object)
		if _, bundle := BundleOf(name.Name); bundle {
			found, err := k.cached(ctx, name)
			if err != nil {
				return nil, err
			}
			exist[name] = found
		}
		if exist[name] == nil {
			changes = append(changes, apply.Change{
				Verb: "create", Kind: kindOf(name.Name).Kind, Name: name.String(),
			})
		}
	}
	return changes, nil
}

// objects are all that should exist.
func (w *Wanted) objects() (all []client.Object) {
	for _, secret := range w.Secrets {
		all = append(all, secret)
	}
	for _, bundle := range w.Bundles {
		all = append(all, bundle)
	}
	return all
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
//
// What a bundle holds is run, so one that this process has not seen is read whatever it says of
// itself.
func (k *Keeper) keep(ctx context.Context, want client.Object,
	found *metav1.PartialObjectMetadata) (wrote bool, err error) {
	if found == nil {
		return k.create(ctx, want)
	}
	known, ok := k.knows(client.ObjectKeyFromObject(want))
	_, bundle := want.(*corev1.ConfigMap)
	if found.Annotations[obsv1.AnnotationContent] != want.GetAnnotations()[obsv1.AnnotationContent] ||
		ok && known.uid != found.UID || !ok && bundle {
		return k.takeOver(ctx, want)
	}
	k.know(found)
	return false, k.keepMetadata(ctx, want, found)
}
