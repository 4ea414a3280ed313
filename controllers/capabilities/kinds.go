// SPDX-License-Identifier: Apache-2.0

// Package capabilities knows which kinds of objects the cluster serves, and notices
// when that changes.
package capabilities

import (
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Kinds knows which kinds of children the cluster serves at the moment.
type Kinds struct {
	// Builtin are served by every cluster.
	Builtin []schema.GroupVersionKind
	// Optional come with other operators; by the names of their CustomResourceDefinitions.
	Optional map[string]schema.GroupVersionKind
	// Read are optional kinds, likewise, whose objects are no children and are read alone.
	Read map[string]schema.GroupVersionKind

	mu     sync.RWMutex
	served map[schema.GroupVersionKind]bool
}

// all are the optional kinds, by the names of their CustomResourceDefinitions.
func (k *Kinds) all() map[string]schema.GroupVersionKind {
	all := maps.Clone(k.Optional)
	maps.Copy(all, k.Read)
	return all
}

// IsRead reports whether a kind is one of Read.
func (k *Kinds) IsRead(kind schema.GroupVersionKind) bool {
	return slices.Contains(slices.Collect(maps.Values(k.Read)), kind)
}

// Served lists the kinds of children that can be read and written.
func (k *Kinds) Served() []schema.GroupVersionKind {
	k.mu.RLock()
	defer k.mu.RUnlock()
	kinds := slices.Clone(k.Builtin)
	for _, kind := range k.Optional {
		if k.served[kind] {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// Missing is the set of the optional kinds that are not served.
func (k *Kinds) Missing() map[schema.GroupKind]bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	missing := map[schema.GroupKind]bool{}
	for _, kind := range k.Optional {
		if !k.served[kind] {
			missing[kind.GroupKind()] = true
		}
	}
	return missing
}

// Serves reports whether a kind is known to be served.
func (k *Kinds) Serves(kind schema.GroupVersionKind) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.served[kind]
}

// Set notes whether an optional kind is served.
func (k *Kinds) Set(kind schema.GroupVersionKind, served bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.served == nil {
		k.served = map[schema.GroupVersionKind]bool{}
	}
	k.served[kind] = served
}
