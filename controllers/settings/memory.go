// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// wanted is what a pass wants of the versions of a stack.
type wanted struct {
	objects map[types.NamespacedName]bool
	// all reports whether bad input left it open, so that every version stays.
	all bool
}

// identity is by whom and as what a version was written.
type identity struct {
	uid             types.UID
	resourceVersion string
}

// refusal is why a version could not be written, and until when that is not tried again: passes
// come with each change of a workload, and there may be many namespaces with a quota.
type refusal struct {
	err   error
	until time.Time
}

// refusedFor is how long a refusal is believed.
const refusedFor = 30 * time.Second

// want notes what a pass wants before it relies on it, and has the collector look at what that
// changes.
func (k *Keeper) want(want Wanted) {
	now := wanted{objects: map[types.NamespacedName]bool{}, all: want.Held}
	for _, object := range want.objects() {
		now.objects[client.ObjectKeyFromObject(object)] = true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.wanted == nil {
		k.wanted, k.refused = map[types.NamespacedName]wanted{}, map[types.NamespacedName]refusal{}
		k.fresh = map[types.NamespacedName]bool{}
	}
	before, passed := k.wanted[want.Stack]
	k.wanted[want.Stack] = now
	k.findFresh(&want, before, passed)
	for name := range before.objects {
		if !now.objects[name] { // Such as that of a namespace that is gone.
			delete(k.refused, name)
		}
	}
	if passed && before.all == now.all && maps.Equal(before.objects, now.objects) {
		return
	}
	for i := range want.Exist {
		k.enqueue(client.ObjectKeyFromObject(&want.Exist[i]))
	}
	k.enqueueBundles(before)
}

// findFresh notes which of the versions that are not there never were: no pass wanted them, of this
// process or a former one. Of all others, Pods may run that had them.
func (k *Keeper) findFresh(want *Wanted, before wanted, passed bool) {
	exist := want.exist()
	for _, secret := range want.Secrets {
		name := client.ObjectKeyFromObject(secret)
		_, known := k.known[name]
		isNew := passed && !before.all && !before.objects[name] ||
			!before.objects[name] && !slices.Contains(want.Named, secret.Labels[obsv1.StampVersion])
		if isNew && !known && exist[name] == nil {
			k.fresh[name] = true
		}
	}
}

func (k *Keeper) isFresh(secret types.NamespacedName) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fresh[secret]
}

// enqueueBundles has the collector look at the bundles that a pass wanted.
func (k *Keeper) enqueueBundles(before wanted) {
	for name := range before.objects {
		if _, ok := BundleOf(name.Name); ok {
			k.enqueue(name)
		}
	}
}

func (k *Keeper) enqueue(secret types.NamespacedName) {
	if k.queue != nil {
		k.queue.Add(reconcile.Request{NamespacedName: secret})
	}
}

// isWanted reports whether the last pass over a stack wanted a version, and whether there was one.
func (k *Keeper) isWanted(version Version) (wanted, passed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	last, passed := k.wanted[version.Stack]
	return last.all || last.objects[version.Secret()], passed
}

// Forget drops what is stored of a stack that is gone.
func (k *Keeper) Forget(stack types.NamespacedName) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.wanted[stack]
	delete(k.wanted, stack)
	k.enqueueBundles(before)
	gone := func(secret types.NamespacedName) bool {
		of, _ := StackOf(&metav1.ObjectMeta{Name: secret.Name})
		return of == stack
	}
	maps.DeleteFunc(k.known, func(secret types.NamespacedName, _ identity) bool { return gone(secret) })
	maps.DeleteFunc(k.refused, func(secret types.NamespacedName, _ refusal) bool { return gone(secret) })
	maps.DeleteFunc(k.fresh, func(secret types.NamespacedName, _ bool) bool { return gone(secret) })
}

// Expected reports whether an event shows no more than what this process wrote.
func (k *Keeper) Expected(secret client.Object) bool {
	known, ok := k.knows(client.ObjectKeyFromObject(secret))
	return ok && known == identity{secret.GetUID(), secret.GetResourceVersion()}
}

func (k *Keeper) knows(secret types.NamespacedName) (identity, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known, ok := k.known[secret]
	return known, ok
}

func (k *Keeper) forget(secret types.NamespacedName) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.known, secret)
}

func (k *Keeper) know(secret metav1.Object) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.known == nil {
		k.known = map[types.NamespacedName]identity{}
	}
	name := types.NamespacedName{Namespace: secret.GetNamespace(), Name: secret.GetName()}
	k.known[name] = identity{secret.GetUID(), secret.GetResourceVersion()}
	delete(k.fresh, name)
}
