// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

func stackNamed(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: name, Name: name}
}

func TestPlacesAreTakenInTurns(t *testing.T) {
	p := NewPlaces(4)
	a, b, c := stackNamed("a"), stackNamed("b"), stackNamed("c")
	take := func(stack types.NamespacedName, rolling, more, want int) {
		t.Helper()
		if got := p.Take(stack, rolling, more); got != want {
			t.Errorf("Take(%s, %d, %d) = %d, want %d", stack, rolling, more, got, want)
		}
	}
	next := func(want ...types.NamespacedName) {
		t.Helper()
		if got := p.Next(); !slices.Equal(got, want) {
			t.Errorf("Next() = %v, want %v", got, want)
		}
	}
	take(a, 0, 5, 2) // Half of them, though nobody else waits.
	take(a, 2, 3, 0)
	take(b, 0, 5, 2)
	take(c, 0, 1, 0)
	next()
	take(a, 1, 4, 0) // One is done, and namespaces that have none come first.
	next(c)
	take(c, 0, 1, 1)
	take(b, 0, 5, 1) // It has none any more, and leaves one to the other that waits.
	next(a)
	take(c, 0, 0, 0)
	next(b)
	take(b, 0, 0, 0) // It wants none any more, and keeps none waiting.
	take(a, 1, 4, 1)
	next()
	p.Return(a, 1)
	next(a)
	p.Forget(a)
	take(c, 0, 2, 2)
}

// Many stacks are no way to get more turns: these go round over namespaces.
func TestPlacesGoRoundOverNamespaces(t *testing.T) {
	p := NewPlaces(8)
	of := func(namespace string, i int) types.NamespacedName {
		return types.NamespacedName{Namespace: namespace, Name: fmt.Sprint(i)}
	}
	p.Take(of("greedy", 0), 0, 4)
	p.Take(of("busy", 0), 0, 4)
	for i := 1; i < 10; i++ {
		p.Take(of("greedy", i), 0, 4)
	}
	for i := range 2 {
		p.Take(of("late", i), 0, 1)
	}
	p.Take(of("greedy", 0), 1, 0) // Three of four are done.
	want := []types.NamespacedName{of("late", 0), of("greedy", 1), of("late", 1)}
	if got := p.Next(); !slices.Equal(got, want) {
		t.Errorf("Next() = %v, want %v", got, want)
	}
}

// A stack holds no more of the operator's places than it may have itself, also after its
// maxConcurrent became less.
func TestNewPlanTakesNoMorePlacesThanTheStackMayHave(t *testing.T) {
	var rolling []Candidate
	for i := range 20 {
		rolling = append(rolling, candidate(fmt.Sprint(i), unobserved, started(time.Minute)))
	}
	if got := planned(two, rolling...).Rolling; got != 2 {
		t.Errorf("20 rollouts take %d places, want 2", got)
	}
}

// simulation is a cluster of stacks whose settings change at once, in simulated time.
type simulation struct {
	t       *testing.T
	clock   time.Time
	places  *Places
	stacks  map[types.NamespacedName]*simulated
	passes  int
	patched int
	// finished is when the last rollout ended that does.
	finished time.Time
	rolling  map[types.UID]*rollout
}

// rollout of a candidate of a stack, which ends some time.
type rollout struct {
	of  types.NamespacedName
	c   *Candidate
	end time.Time
}

type simulated struct {
	stack      *obsv1.ObservabilityStack
	candidates []Candidate
	due        time.Time // of the next pass; zero if there is none
	started    time.Duration
}

const newVersion = "new"

// pass is what the stack's pass does, as Injector.Rollout would.
func (s *simulation) pass(key types.NamespacedName) {
	s.passes++
	sim := s.stacks[key]
	sim.due = time.Time{}
	for i := range sim.candidates {
		c := &sim.candidates[i]
		c.History = c.Seen(c, s.clock, s.clock)
	}
	plan := NewPlan(sim.stack, State{Now: s.clock, Candidates: sim.candidates},
		func(*Candidate) string { return newVersion })
	granted := s.places.Take(key, plan.Rolling, len(plan.Patches))
	for _, patch := range plan.Patches[:granted] {
		i := slices.IndexFunc(sim.candidates, func(c Candidate) bool { return c.UID == patch.UID })
		c := &sim.candidates[i]
		c.Generation++
		c.History = c.Wrote(patch, c.Generation)
		c.Spec.Template.Metadata = TemplateMeta{Labels: patch.Stamp.Labels(), Annotations: patch.Stamp.Annotations()}
		c.Pods[0].Mark = newVersion
		// Some take longer than others, and some never end.
		end := s.clock.Add(time.Duration(10+s.patched%7*20) * time.Second)
		if s.patched++; s.patched%100 == 0 {
			end = s.clock.Add(1000 * time.Hour)
		}
		s.rolling[c.UID] = &rollout{key, c, end}
		if sim.started == 0 {
			sim.started = s.clock.Sub(now) + 1
		}
	}
	if granted < len(plan.Patches) {
		plan.Retry(10 * time.Minute)
	}
	if plan.RetryAfter > 0 {
		sim.due = s.clock.Add(plan.RetryAfter)
	}
	for _, next := range s.places.Next() {
		s.stacks[next].due = s.clock.Add(time.Millisecond)
	}
}

// step goes to the next event, ends the rollouts that are done by then, and makes the passes that
// are due.
func (s *simulation) step() bool {
	next := now.Add(100 * time.Hour)
	for _, sim := range s.stacks {
		if !sim.due.IsZero() && sim.due.Before(next) {
			next = sim.due
		}
	}
	for _, r := range s.rolling {
		if r.end.Before(next) {
			next = r.end
		}
	}
	if s.clock = next; !next.Before(now.Add(100 * time.Hour)) {
		return false
	}
	for uid, r := range s.rolling {
		if !r.end.After(s.clock) {
			r.c.Status.ObservedGeneration = r.c.Generation
			s.stacks[r.of].due = s.clock
			delete(s.rolling, uid)
			s.finished = s.clock
		}
	}
	for key, sim := range s.stacks {
		if !sim.due.IsZero() && !sim.due.After(s.clock) {
			s.pass(key)
		}
	}
	s.check()
	return true
}

// check that no more roll out than may.
func (s *simulation) check() {
	own, total := map[types.NamespacedName]int{}, 0
	for _, r := range s.rolling {
		if r.c.History = r.c.Seen(r.c, s.clock, s.clock); !r.c.TakesPlace(s.clock) {
			continue
		}
		total++
		if own[r.of]++; own[r.of] > defaultMaxConcurrent {
			s.t.Fatalf("more than %d rollouts of %s at a time", defaultMaxConcurrent, r.of)
		}
	}
	if total > s.places.max {
		s.t.Fatalf("%d rollouts at a time, want at most %d", total, s.places.max)
	}
}

// 5,000 workloads of 200 stacks, whose settings change at once. Every hundredth or so never
// finishes. All get their turns, no stack is left to the end, and none asks without need.
func TestPlacesOf200StacksWith5000Workloads(t *testing.T) {
	const stacks, each, most = 200, 25, 20
	s := &simulation{
		t: t, clock: now, places: NewPlaces(most), stacks: map[types.NamespacedName]*simulated{},
		rolling: map[types.UID]*rollout{},
	}
	for i := range stacks {
		stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprintf("ns-%03d", i), Name: "shop"}}
		key := client.ObjectKeyFromObject(stack)
		sim := &simulated{stack: stack, due: now.Add(time.Millisecond)}
		for n := range each {
			stamp := Stamp{Stack: key, ConfigHash: "old"}
			c := candidate(fmt.Sprintf("api-%02d", n), in(stack.Namespace), withPods("old"))
			c.Pods, c.Want = c.Pods[2:], Stamp{Stack: key}
			c.Spec.Replicas, c.Status.Replicas, c.Status.UpdatedReplicas, c.Status.AvailableReplicas = new(int32(1)), 1, 1, 1
			c.Spec.Template.Metadata = TemplateMeta{Labels: stamp.Labels(), Annotations: stamp.Annotations()}
			c.UID = types.UID(c.String())
			sim.candidates = append(sim.candidates, c)
		}
		s.stacks[key] = sim
	}
	for s.step() {
	}
	var last time.Duration
	for _, sim := range s.stacks {
		for i := range sim.candidates {
			if stamp, _ := sim.candidates[i].Stamp(); stamp.ConfigHash != newVersion {
				t.Fatalf("%s has %q", &sim.candidates[i], stamp.ConfigHash)
			}
		}
		last = max(last, sim.started)
	}
	took := s.finished.Sub(now)
	t.Logf("%s simulated, the last stack began after %s, %d passes", took, last, s.passes)
	if last > took/4 {
		t.Errorf("the last stack began after %s of %s", last, took)
	}
	if most := 4 * stacks * each; s.passes > most {
		t.Errorf("%d passes, want at most %d", s.passes, most)
	}
}
