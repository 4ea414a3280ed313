// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"slices"
	"time"
)

// queue lets candidates wait for places, so that these go round over namespaces: the next one
// is for that which has the fewest, and among those for the stack's own, so that no tenant keeps
// it waiting, and then for that whose last is longest ago.
type queue struct {
	own        string
	namespaces map[string]*turn
}

// turn is what a namespace has and waits for.
type turn struct {
	name    string
	places  int
	last    time.Time
	waiting []*Candidate
}

func newQueue(own string) *queue { return &queue{own: own, namespaces: map[string]*turn{}} }

func (q *queue) of(namespace string) *turn {
	if q.namespaces[namespace] == nil {
		q.namespaces[namespace] = &turn{name: namespace}
	}
	return q.namespaces[namespace]
}

// saw a candidate, which may have a place.
func (q *queue) saw(c *Candidate, place bool) {
	t := q.of(c.Namespace)
	if place {
		t.places++
	}
	if c.Record.At.After(t.last) {
		t.last = c.Record.At
	}
}

func (q *queue) add(c *Candidate) { q.of(c.Namespace).waiting = append(q.of(c.Namespace).waiting, c) }

// len is how many wait.
func (q *queue) len() (n int) {
	for _, t := range q.namespaces {
		n += len(t.waiting)
	}
	return n
}

// next takes those that get the next places. What failed before comes last in its namespace.
func (q *queue) next(places int) (chosen []*Candidate) {
	var turns []*turn
	for _, t := range q.namespaces {
		if len(t.waiting) > 0 {
			slices.SortStableFunc(t.waiting, func(a, b *Candidate) int { return cmp.Compare(a.failures(), b.failures()) })
			turns = append(turns, t)
		}
	}
	for ; places > 0 && len(turns) > 0; places-- {
		t := slices.MinFunc(turns, q.compare)
		chosen = append(chosen, t.waiting[0])
		t.places++
		if t.waiting = t.waiting[1:]; len(t.waiting) == 0 {
			turns = slices.DeleteFunc(turns, func(other *turn) bool { return other == t })
		}
	}
	return chosen
}

func (q *queue) compare(a, b *turn) int {
	return cmp.Or(cmp.Compare(a.places, b.places), cmp.Compare(q.others(a), q.others(b)),
		a.last.Compare(b.last), cmp.Compare(a.name, b.name))
}

// others is 1 for a namespace that is not the stack's own.
func (q *queue) others(t *turn) int {
	if t.name == q.own {
		return 0
	}
	return 1
}

// failures in a row.
func (c *Candidate) failures() int {
	if c.Failure == nil {
		return 0
	}
	return c.Failure.Times
}
