// SPDX-License-Identifier: Apache-2.0

package series

import (
	"maps"
	"slices"
	"sync"
)

// table is a map whose values can be listed while one goroutine changes it.
type table[K comparable, V any] struct {
	mu    sync.Mutex // guards list; index belongs to the changing goroutine
	index map[K]*V
	list  []*V
}

func (t *table[K, V]) get(key K) *V { return t.index[key] }

// add appends, which leaves the lists that were handed out as they are.
func (t *table[K, V]) add(key K, value *V) {
	if t.index == nil {
		t.index = make(map[K]*V)
	}
	t.index[key] = value
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = append(t.list, value)
}

// removeIf removes the values that match and returns their number.
func (t *table[K, V]) removeIf(match func(K, *V) bool) int {
	removed := make(map[*V]bool)
	for key, value := range t.index {
		if match(key, value) {
			removed[value] = true
			delete(t.index, key)
		}
	}
	if len(removed) == 0 {
		return 0
	}
	// A map keeps the room of what was deleted.
	if len(removed) > len(t.index) {
		t.index = maps.Collect(maps.All(t.index))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	// A new list, because a scrape may still be reading the old one.
	kept := make([]*V, 0, len(t.list)-len(removed))
	for _, value := range t.list {
		if !removed[value] {
			kept = append(kept, value)
		}
	}
	t.list = kept
	return len(removed)
}

// snapshot returns the values of this moment. The slice must not be changed.
func (t *table[K, V]) snapshot() []*V {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clip(t.list)
}
