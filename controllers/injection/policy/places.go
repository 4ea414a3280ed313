// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// Places are the rollouts that all stacks together may have at the same time. Stacks that wait
// for one get theirs in turns, which go round over their namespaces. One namespace has half of
// them at most, so that its slow rollouts keep nobody else waiting.
type Places struct {
	max, taken int
	held       map[types.NamespacedName]int
	// waiting are stacks that wait for their turn, in the order in which they asked, and called
	// those whose turn it is.
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
	called := p.called[stack]
	if more <= 0 {
		p.leave(stack)
		return 0
	}
	p.enter(stack)
	turns, free := p.turns(), p.max-p.taken
	if turn := slices.Index(turns, stack); turn >= 0 && free > 0 && (called || turn < free) {
		granted = min(more, max(1, free/len(turns)), p.half()-p.has()[stack.Namespace])
		p.hold(stack, rolling+granted)
		p.leave(stack)
	}
	if 0 < granted && granted < more {
		p.waiting = append(p.waiting, stack)
	}
	return granted
}

// enter has a stack wait, in front of all if it was called before.
func (p *Places) enter(stack types.NamespacedName) {
	switch {
	case p.called[stack]:
		delete(p.called, stack)
		p.waiting = slices.Insert(p.waiting, 0, stack)
	case !slices.Contains(p.waiting, stack):
		p.waiting = append(p.waiting, stack)
	}
}

// leave takes a stack off the queue.
func (p *Places) leave(stack types.NamespacedName) {
	delete(p.called, stack)
	if i := slices.Index(p.waiting, stack); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
}

// turns are those that may have a place, the next ones first: those of a namespace whose stacks
// have the fewest places and turns before, and then those that wait for longest.
func (p *Places) turns() (turns []types.NamespacedName) {
	has, before := p.has(), map[types.NamespacedName]int{}
	for _, stack := range p.waiting {
		if before[stack] = has[stack.Namespace]; before[stack] < p.half() {
			turns = append(turns, stack)
		}
		has[stack.Namespace]++
	}
	slices.SortStableFunc(turns, func(a, b types.NamespacedName) int { return cmp.Compare(before[a], before[b]) })
	return turns
}

// has is how many places the stacks of each namespace have.
func (p *Places) has() map[string]int {
	has := map[string]int{}
	for stack, n := range p.held {
		has[stack.Namespace] += n
	}
	return has
}

func (p *Places) half() int { return (p.max + 1) / 2 }

// Return gives back places that were taken and not used.
func (p *Places) Return(stack types.NamespacedName, unused int) { p.hold(stack, p.held[stack]-unused) }

// Next returns the stacks whose turn has come since the last call; each may ask again.
func (p *Places) Next() []types.NamespacedName {
	next := p.turns()
	next = next[:max(0, min(p.max-p.taken, len(next)))]
	for _, stack := range next {
		p.leave(stack)
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
