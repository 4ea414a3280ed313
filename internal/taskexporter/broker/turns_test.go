// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestTurnsBeginAtOnceWithoutAnother(t *testing.T) {
	g := newGroup(t)
	g.join("a")
	g.pass(time.Second)
	g.want("alone in its group", "a")
}

func TestTurnsAreNotTakenFromOneThatLives(t *testing.T) {
	g := newGroup(t)
	g.join("a")
	g.pass(time.Second)
	for range 5 { // a new one that crashes again and again
		g.join("b")
		g.pass(time.Minute)
		g.want("beside one that counts", "a")
		g.kill("b")
		g.pass(10 * time.Second)
	}
	g.want("at last", "a")
}

func TestTurnsAreGivenToAStandbyAtOnce(t *testing.T) {
	g := newGroup(t)
	a := g.join("a")
	g.pass(time.Second)
	g.join("b")
	g.pass(5 * time.Second)
	released, err := a.end()
	if err != nil || isClosed(released) {
		t.Fatalf("released before another counts, error %v", err)
	}
	g.pass(time.Second)
	g.want("after one left", "b")
	if !isClosed(released) {
		t.Error("it may not end")
	}
	g.pass(time.Minute)
	g.want("later", "b")
}

// TestTurnsDependOnNoMessage: each kind is lost for as long as somebody else lives.
func TestTurnsDependOnNoMessage(t *testing.T) {
	for _, lost := range []kind{take, leave, ask, keep} {
		g := newGroup(t)
		a := g.join("a")
		g.pass(time.Second)
		g.join("b")
		g.pass(5 * time.Second)
		misses := 0
		g.lost = func(c claim) bool {
			if c.kind == lost && misses < 3 {
				misses++
				return true
			}
			return false
		}
		_, _ = a.end()
		g.pass(8 * time.Second)
		g.want("although "+string(lost)+" was lost", "b")
	}
}

func TestTurnsOfOneThatDiesAreTaken(t *testing.T) {
	g := newGroup(t)
	g.join("a")
	g.pass(time.Second)
	g.join("b")
	g.join("c")
	g.pass(5 * time.Second)
	g.kill("a")
	g.pass(silentFor - keepEvery - time.Second)
	g.want("before it is missed")
	g.pass(keepEvery + 3*time.Second)
	if len(g.counts) == 0 || g.counts["b"] == g.counts["c"] {
		t.Fatalf("one of two counts: %v", g.counts)
	}
}

// TestTurnsOfTwoEnd: after a connection was lost, or if both began at the same time.
func TestTurnsOfTwoEnd(t *testing.T) {
	g := newGroup(t)
	g.join("a")
	g.pass(time.Second)
	g.join("b")
	g.pass(5 * time.Second)
	g.disconnect("a")
	g.pass(time.Minute)
	g.want("while one is cut off, and does not know", "a", "b")
	g.join("a")
	g.pass(time.Second)
	if g.counts["a"] == g.counts["b"] {
		t.Fatalf("one of two counts: %v, said: %v", g.counts, g.log)
	}
}

func TestTurnsOfALeavingOneAreTakenByALateStandby(t *testing.T) {
	g := newGroup(t)
	a := g.join("a")
	g.pass(time.Second)
	released, _ := a.end()
	g.pass(time.Second)
	if !isClosed(released) {
		t.Error("it waits for another, which is not there")
	}
	g.want("until it has ended", "a")
	g.join("b")
	g.pass(time.Second)
	g.want("as soon as another is there", "b")
}

func TestTurnsOfAStandbyThatEnds(t *testing.T) {
	g := newGroup(t)
	a := g.join("a")
	g.pass(time.Second)
	b := g.join("b")
	g.pass(5 * time.Second)
	if released, _ := b.end(); !isClosed(released) {
		t.Error("it waits, although it does not count")
	}
	_, _ = a.end()
	g.pass(time.Minute)
	g.want("when all are to end", "a")
}

func TestTurnsWithoutThePermissionAreNone(t *testing.T) {
	g := newGroup(t)
	g.join("a")
	g.pass(time.Second)
	b := g.join("b")
	refused := errors.New("NOPERM")
	b.refused(refused)
	g.want("where it may not publish", "a", "b")
	released, err := b.end()
	if !isClosed(released) || !errors.Is(err, refused) {
		t.Errorf("it waits, or does not say why there are no turns: %v", err)
	}
	late := newTurns()
	late.refused(refused)
	counts := false
	late.join(func(ours bool) { counts = ours }, g.now)
	if !counts {
		t.Error("refused before it has subscribed, it does not count")
	}
}

func TestTurnsBeginWithThePermission(t *testing.T) {
	g := newGroup(t)
	g.join("a")
	g.pass(time.Second)
	b := g.join("b")
	b.refused(errors.New("NOPERM"))
	g.pass(10 * time.Second)
	if g.counts["a"] == g.counts["b"] {
		t.Errorf("one of two counts: %v, said: %v", g.counts, g.log)
	}
	if _, err := b.end(); err != nil {
		t.Errorf("it still takes no turns: %v", err)
	}
}

func TestTurnsThatAreRefusedAtTheEnd(t *testing.T) {
	g := newGroup(t)
	a := g.join("a")
	g.pass(time.Second)
	g.join("b")
	g.pass(5 * time.Second)
	released, _ := a.end()
	a.refused(errors.New("NOPERM"))
	if !isClosed(released) {
		t.Error("it waits for another that it cannot speak to")
	}
}

// TestTurnsThatBeginAtTheEnd: a take that is heard after the exporter was to end still counts, so
// another must be asked to take over.
func TestTurnsThatBeginAtTheEnd(t *testing.T) {
	g := newGroup(t)
	a := g.join("a")
	var last claim
	g.lost = func(c claim) bool { // it is on its way
		last = c
		return true
	}
	g.pass(askFor + time.Second)
	if want := (claim{take, "a"}); last != want {
		t.Fatalf("it says %v last, want %v", last, want)
	}
	released, _ := a.end()
	if isClosed(released) {
		t.Fatal("it may end, although others may have stopped for it")
	}
	a.read(last.bytes(), g.now)
	g.want("when its take was heard", "a")
	g.lost = func(claim) bool { return false }
	g.join("b")
	g.pass(time.Second)
	g.want("afterwards", "b")
	if !isClosed(released) {
		t.Error("it may not end")
	}
}

func TestTurnsOfOneThatIsBack(t *testing.T) {
	g := newGroup(t)
	g.join("a")
	g.pass(time.Second)
	b := g.join("b")
	g.pass(5 * time.Second)
	g.disconnect("b")
	g.kill("a")
	g.join("b")
	g.pass(time.Second)
	g.want("when the other has died meanwhile", "b")
	// To be ended while cut off, and another counts.
	g.disconnect("b")
	g.join("c")
	g.pass(5 * time.Second)
	_, _ = b.end()
	g.join("b")
	g.pass(keepEvery + time.Second)
	g.want("when another counts meanwhile", "c")
}

func TestTurnsAreSilentWithoutASubscription(t *testing.T) {
	member := newTurns()
	if c, due := member.due(time.Now()); due {
		t.Errorf("it says %q", c.bytes())
	}
}

// TestTurnsHoldWhateverHappens: exporters come, go, are cut off and lose messages; a minute after
// the last of it one counts.
func TestTurnsHoldWhateverHappens(t *testing.T) {
	for seed := range uint64(200) {
		g, random := newGroup(t), rand.New(rand.NewPCG(seed, 0))
		g.lost = func(claim) bool { return random.IntN(3) == 0 }
		for range 30 {
			id := string(rune('a' + random.IntN(3)))
			member := g.members[id]
			switch what := random.IntN(5); {
			case member == nil || what == 0:
				g.join(id)
			case what == 1:
				g.disconnect(id)
			case what == 2:
				g.kill(id)
			}
			g.pass(time.Duration(random.IntN(20)) * time.Second)
		}
		g.lost = func(claim) bool { return false }
		for _, id := range []string{"a", "b", "c"} {
			if g.members[id] == nil || g.cut[id] {
				g.join(id)
			}
		}
		g.pass(time.Minute)
		if counting := fmt.Sprint(g.counts["a"], g.counts["b"], g.counts["c"]); strings.Count(counting, "true") != 1 {
			t.Fatalf("seed %d: %s count\nsaid: %s", seed, counting, strings.Join(g.log, ", "))
		}
	}
}
