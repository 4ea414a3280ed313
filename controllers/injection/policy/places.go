// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// Places are the rollouts that all stacks together may have at the same time. Stacks that wait
// for one get theirs in the order in which they asked.
type Places struct {
	max, taken int
	held       map[types.NamespacedName]int
	// waiting are stacks that wait for their turn, and called those whose turn it is.
	waiting []types.NamespacedName
	called  map[types.NamespacedName]bool
}

// NewPlaces makes as many places.
func NewPlaces(most int) *Places {
	return &Places{max: most, held: map[types.NamespacedName]int{}, called: map[types.NamespacedName]bool{}}
}

// Take records that a stack has that many rollouts and wants more, and returns how many more
// it may start.
func (p *Places) Take(stack types.NamespacedName, rolling, more int) (granted int) {
	p.hold(stack, rolling)
	turn := p.leave(stack)
	if more <= 0 {
		return 0
	}
	if free := p.max - p.taken; turn < free {
		granted = min(more, max(1, free/(len(p.waiting)+1)))
		p.hold(stack, rolling+granted)
		turn = len(p.waiting)
	}
	if granted < more {
		p.waiting = slices.Insert(p.waiting, turn, stack)
	}
	return granted
}

// Return gives back places that were taken and not used.
func (p *Places) Return(stack types.NamespacedName, unused int) { p.hold(stack, p.held[stack]-unused) }

// Next returns the stacks whose turn has come since the last call; each may ask again.
func (p *Places) Next() []types.NamespacedName {
	n := max(0, min(p.max-p.taken, len(p.waiting)))
	next := slices.Clone(p.waiting[:n])
	p.waiting = slices.Delete(p.waiting, 0, n)
	for _, stack := range next {
		p.called[stack] = true
	}
	return next
}

// Forget drops a stack that is gone.
func (p *Places) Forget(stack types.NamespacedName) {
	p.hold(stack, 0)
	p.leave(stack)
}

func (p *Places) hold(stack types.NamespacedName, n int) {
	p.taken += n - p.held[stack]
	if n > 0 {
		p.held[stack] = n
	} else {
		delete(p.held, stack)
	}
}

// leave takes a stack off the queue, and returns how many are before it.
func (p *Places) leave(stack types.NamespacedName) (before int) {
	if p.called[stack] {
		delete(p.called, stack)
		return 0
	}
	i := slices.Index(p.waiting, stack)
	if i < 0 {
		return len(p.waiting)
	}
	p.waiting = slices.Delete(p.waiting, i, i+1)
	return i
}
