// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// group is a channel with its exporters, whose clock the test moves.
type group struct {
	t       *testing.T
	now     time.Time
	members map[string]*turns
	cut     map[string]bool // who is not subscribed
	counts  map[string]bool
	lost    func(claim) bool // what nobody hears
	log     []string
}

func newGroup(t *testing.T) *group {
	return &group{
		t: t, now: time.Unix(1_700_000_000, 0), members: map[string]*turns{}, cut: map[string]bool{},
		counts: map[string]bool{}, lost: func(claim) bool { return false },
	}
}

// join starts an exporter, or connects it again.
func (g *group) join(id string) *turns {
	member := g.members[id]
	if member == nil {
		member = newTurns()
		member.id = id
		g.members[id] = member
	}
	delete(g.cut, id)
	member.join(func(ours bool) { g.counts[id] = ours }, g.now)
	return member
}

// disconnect cuts an exporter off.
func (g *group) disconnect(id string) {
	g.cut[id] = true
	g.members[id].part()
}

// kill ends an exporter without a word.
func (g *group) kill(id string) {
	delete(g.members, id)
	delete(g.counts, id)
}

// pass lets time pass.
func (g *group) pass(span time.Duration) {
	const step = repeatEvery / 2
	for end := g.now.Add(span); g.now.Before(end); g.now = g.now.Add(step) {
		for id, member := range g.members {
			if c, due := member.due(g.now); due && !g.cut[id] {
				g.publish(member, c)
			}
		}
	}
}

func (g *group) publish(from *turns, c claim) {
	if g.log = append(g.log, string(c.bytes())); g.lost(c) {
		return
	}
	reached := int64(0)
	for id, member := range g.members {
		if !g.cut[id] {
			reached++
			member.read(c.bytes(), g.now)
		}
	}
	from.said(c, reached)
}

// want checks who counts.
func (g *group) want(when string, want ...string) {
	g.t.Helper()
	var got []string
	for _, id := range []string{"a", "b", "c"} {
		if g.counts[id] {
			got = append(got, id)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		g.t.Fatalf("%s (-want +got):\n%s\nsaid: %s", when, diff, strings.Join(g.log, ", "))
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
