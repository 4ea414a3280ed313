// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// patches of a plan, as "Kind namespace/name attempt", or "none" instead of the attempt.
func patches(plan Plan) []string {
	var all []string
	for _, patch := range plan.Patches {
		attempt := "none"
		if patch.Stamp != nil {
			attempt = fmt.Sprint(patch.Stamp.Attempt)
		}
		all = append(all, fmt.Sprintf("%s %s", patch, attempt))
	}
	return all
}

// planned is the plan of a stack in the namespace shop that wants one version everywhere.
func planned(rollout obsv1.RolloutSpec, candidates ...Candidate) Plan {
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}}
	stack.Spec.Injection = &obsv1.InjectionSpec{Rollout: &rollout}
	return NewPlan(stack, State{Now: now, Candidates: candidates},
		func(*Candidate) string { return wantStamp.ConfigHash })
}

var (
	one    = obsv1.RolloutSpec{MaxConcurrent: 1}
	two    = obsv1.RolloutSpec{MaxConcurrent: 2}
	manual = obsv1.RolloutSpec{Policy: obsv1.RolloutManual}
)

func TestNewPlan(t *testing.T) {
	for name, tc := range map[string]struct {
		candidates []Candidate
		rollout    obsv1.RolloutSpec
		want       []string
	}{
		"nothing to do": {candidates: []Candidate{candidate("a")}},
		"in the order of names, as many as may": {rollout: two,
			candidates: []Candidate{candidate("c", outdatedStamp), candidate("a", outdatedStamp), candidate("b", unstamped)},
			want:       []string{"Deployment shop/a 0", "Deployment shop/b 0"}},
		"those that roll out take room": {rollout: two,
			candidates: []Candidate{candidate("a", unobserved, started(time.Minute)), candidate("b", outdatedStamp),
				candidate("c", outdatedStamp)},
			want: []string{"Deployment shop/b 0"}},
		"those that their owners roll out take none": {rollout: one,
			candidates: []Candidate{candidate("a", unobserved, progressed(time.Minute)), candidate("b", outdatedStamp)},
			want:       []string{"Deployment shop/b 0"}},
		"one that progresses for an hour takes none any more": {rollout: one,
			candidates: []Candidate{
				candidate("a", unobserved, started(time.Hour), progressed(time.Second)), candidate("b", outdatedStamp),
			},
			want: []string{"Deployment shop/b 0"}},
		"those just patched take room": {rollout: two,
			candidates: []Candidate{
				candidate("a", outdatedStamp, justPatched), candidate("b", justPatched), candidate("c", outdatedStamp),
			}},
		"one that is past its deadline takes none": {rollout: one,
			candidates: []Candidate{candidate("a", deadline, oldPod, started(time.Minute)), candidate("b", outdatedStamp)},
			want:       []string{"Deployment shop/b 0"}},
		"one without progress takes none": {rollout: one,
			candidates: []Candidate{
				candidate("a", of(KindStatefulSet), unobserved, started(30*time.Minute)), candidate("b", outdatedStamp),
			},
			want: []string{"Deployment shop/b 0"}},
		"one that was refused lets others go first": {rollout: one,
			candidates: []Candidate{candidate("a", outdatedStamp, failedAgo(2*time.Minute)), candidate("b", outdatedStamp)},
			want:       []string{"Deployment shop/b 0"}},
		"one that was refused a moment ago waits": {
			candidates: []Candidate{candidate("a", outdatedStamp, failedAgo(time.Second))}},
		"one that was refused is tried again": {
			candidates: []Candidate{candidate("a", outdatedStamp, failedAgo(time.Minute))},
			want:       []string{"Deployment shop/a 0"}},
		"five by default": {
			candidates: []Candidate{candidate("a", outdatedStamp), candidate("b", outdatedStamp), candidate("c", outdatedStamp),
				candidate("d", outdatedStamp), candidate("e", outdatedStamp), candidate("f", outdatedStamp)},
			want: []string{
				"Deployment shop/a 0", "Deployment shop/b 0", "Deployment shop/c 0", "Deployment shop/d 0", "Deployment shop/e 0",
			}},
		"what rolls no Pods takes no room": {rollout: one,
			candidates: []Candidate{
				candidate("a", outdatedStamp), candidate("b", of(KindCronJob), outdatedStamp),
				candidate("c", scaledToZero, outdatedStamp),
			},
			want: []string{"CronJob shop/b 0", "Deployment shop/c 0", "Deployment shop/a 0"}},
		"left to their owners, but for what rolls no Pods": {rollout: manual,
			candidates: []Candidate{
				candidate("a", outdatedStamp), candidate("b", of(KindCronJob), outdatedStamp), candidate("c", missedOne),
				candidate("d", released),
			},
			want: []string{"CronJob shop/b 0"}},
		"one after the other is released": {rollout: one,
			candidates: []Candidate{candidate("a", released), candidate("b", released)},
			want:       []string{"Deployment shop/a none"}},
		"one that is released rolls out": {rollout: one,
			candidates: []Candidate{
				candidate("a", released, unstamped, unobserved, started(time.Second)), candidate("b", released),
			}},
		"one that is released since a moment ago waits": {
			candidates: []Candidate{candidate("a", released, func(c *Candidate) { c.ReleasedAt = now.Add(-time.Second) })}},
		"an injection to retry":  {candidates: []Candidate{candidate("a", missedOne)}, want: []string{"Deployment shop/a 1"}},
		"not to be retried yet":  {candidates: []Candidate{candidate("a", missedOne, tooEarly)}},
		"a Job is never changed": {candidates: []Candidate{candidate("a", of(KindJob), missedOne)}},
		"contested and blocked ones are left alone": {candidates: []Candidate{
			candidate("a", unstamped, recorded(2, 0, time.Minute)), candidate("b", missedOne, recorded(1, 3, time.Hour)),
		}},
		"the namespace with the fewest places is next, the stack's own first": {rollout: obsv1.RolloutSpec{MaxConcurrent: 4},
			candidates: []Candidate{
				candidate("a", in("other"), outdatedStamp), candidate("b", in("other"), outdatedStamp),
				candidate("c", in("other"), outdatedStamp), candidate("d", in("third"), outdatedStamp),
				candidate("y", outdatedStamp), candidate("z", outdatedStamp),
			},
			want: []string{
				"Deployment shop/y 0", "Deployment other/a 0", "Deployment third/d 0", "Deployment shop/z 0",
			}},
		"then that whose last is longest ago": {rollout: one,
			candidates: []Candidate{
				candidate("a", in("other"), outdatedStamp), candidate("b", in("other"), recorded(1, 0, time.Minute)),
				candidate("d", in("third"), outdatedStamp), candidate("e", in("third"), recorded(1, 0, time.Hour)),
			},
			want: []string{"Deployment third/d 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			plan := planned(tc.rollout, tc.candidates...)
			if diff := cmp.Diff(tc.want, patches(plan)); diff != "" {
				t.Errorf("patches (-want +got):\n%s", diff)
			}
			status := plan.Status
			if status.Injected+status.Pending != status.Annotated {
				t.Errorf("status = %+v", status)
			}
		})
	}
}

// An owner that drops the stamp every 61 minutes gets it ever more rarely, also if it drops the
// record with it.
func TestNewPlanStampsEverMoreRarely(t *testing.T) {
	for _, dropsRecord := range []bool{false, true} {
		c, stamps := candidate("api", unstamped), 0
		for clock := now; clock.Before(now.Add(30 * 24 * time.Hour)); clock = clock.Add(61 * time.Minute) {
			c.Generation++ // The owner writes its template, in which there is no stamp.
			c.Status.ObservedGeneration = c.Generation
			if dropsRecord {
				c.Annotations = nil
			}
			had := c.History
			if c.History = c.Seen(&c, clock, now); had.Empty(c.Workload, clock) {
				c.History = History{}.Seen(&c, clock, now)
			}
			plan := NewPlan(&obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}},
				State{Now: clock, Candidates: []Candidate{c}}, func(*Candidate) string { return wantStamp.ConfigHash })
			for _, patch := range plan.Patches {
				stamps++
				c.Generation++
				c.History = c.Wrote(patch, c.Generation)
				c.Annotations = map[string]string{obsv1.AnnotationRecord: patch.Record.Annotation()}
			}
			if len(plan.Left) == 1 && plan.RetryAfter == 0 {
				t.Error("a contested stamp waits and is not looked at again")
			}
		}
		if stamps < 3 || stamps > 12 {
			t.Errorf("%d stamps in 30 days, want some, and ever fewer", stamps)
		}
	}
}

// An owner that drops the stamp at once, and one that drops the record with it, get no more
// than three, whatever the owner does in a hundred rounds.
func TestNewPlanLeavesAContestedStamp(t *testing.T) {
	for name, round := range map[string]time.Duration{
		"at once": time.Second, "after a minute": time.Minute, "after half an hour": 30 * time.Minute,
	} {
		for _, dropsRecord := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, the record too: %t", name, dropsRecord), func(t *testing.T) {
				c := candidate("api", unstamped)
				clock, stamps := now, 0
				for range 100 {
					c.History = c.Seen(&c, clock, clock)
					plan := NewPlan(&obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}},
						State{Now: clock, Candidates: []Candidate{c}}, func(*Candidate) string { return wantStamp.ConfigHash })
					for _, patch := range plan.Patches {
						stamps++
						c.Generation++
						c.History = c.Wrote(patch, c.Generation)
						c.Annotations = map[string]string{obsv1.AnnotationRecord: patch.Record.Annotation()}
					}
					for _, left := range plan.Left { // as Rollout does
						if c.Record.By == "" {
							c.Record.By, c.Record.Generation = "an-operator", c.Generation
						}
						c.Annotations = map[string]string{obsv1.AnnotationRecord: left.Record.Annotation()}
					}
					c.Generation++ // The owner writes its template, in which there is no stamp.
					if dropsRecord {
						c.Annotations = nil
					}
					clock = clock.Add(round)
				}
				if stamps < maxStamps || stamps > maxStamps+1 {
					t.Errorf("%d stamps in 100 rounds, want %d, or one more", stamps, maxStamps)
				}
			})
		}
	}
}

// The retries of a missed injection end, wait for longer each time, and outlive the process.
func TestNewPlanRetriesThreeTimes(t *testing.T) {
	c := candidate("api", missedOne)
	var at []time.Duration
	for clock := now; clock.Before(now.Add(5 * time.Hour)); clock = clock.Add(time.Minute) {
		c.History = History{}.Seen(&c, clock, clock) // A process that knows nothing.
		plan := NewPlan(&obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}},
			State{Now: clock, Candidates: []Candidate{c}}, func(*Candidate) string { return wantStamp.ConfigHash })
		for _, patch := range plan.Patches {
			at = append(at, clock.Sub(now))
			c.Annotations = map[string]string{obsv1.AnnotationRecord: patch.Record.Annotation()}
		}
		if plan.RetryAfter < 0 || len(plan.Patches) == 0 && len(plan.Left) == 0 && plan.RetryAfter == 0 {
			t.Errorf("after %s the next look is after %s", clock.Sub(now), plan.RetryAfter)
		}
	}
	want := []time.Duration{0, 10 * time.Minute, 70 * time.Minute}
	if diff := cmp.Diff(want, at); diff != "" {
		t.Errorf("retries (-want +got):\n%s", diff)
	}
	if got := c.Progress(now.Add(5 * time.Hour)); got != Blocked {
		t.Errorf("progress = %s, want %s", got, Blocked)
	}
}

// What is the matter in other namespaces is counted and named there, and is about them alone.
func TestNewPlanCountsByNamespace(t *testing.T) {
	state := State{Now: now,
		Candidates: []Candidate{
			candidate("api"), candidate("a", in("other"), outdatedStamp), candidate("b", in("other")),
			candidate("c", in("paused"), paused, oldPod), candidate("d", in("blocked"), missedOne, recorded(1, 3, time.Hour)),
			candidate("e", in("blocked"), outdatedStamp),
		},
		Refused: []Refusal{
			{"refused", obsv1.ReasonNamespaceNotAdmitted}, {"refused", obsv1.ReasonNamespaceNotAdmitted},
			{"other", obsv1.ReasonInvalidAnnotation},
		},
	}
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}}
	version := func(*Candidate) string { return wantStamp.ConfigHash }
	counts := func(annotated, injected, pending, refused int32) obsv1.WorkloadCounts {
		return obsv1.WorkloadCounts{Annotated: annotated, Injected: injected, Pending: pending, Refused: refused}
	}
	plan := NewPlan(stack, state, version)
	want := obsv1.WorkloadsStatus{WorkloadCounts: counts(6, 2, 4, 3), Summary: "2/6"}
	want.Namespaces = []obsv1.NamespaceWorkloads{
		{Name: "blocked", WorkloadCounts: counts(2, 0, 2, 0), Reason: obsv1.ReasonInjectionBlocked},
		{Name: "other", WorkloadCounts: counts(2, 1, 1, 1), Reason: obsv1.ReasonRollingOut},
		{Name: "paused", WorkloadCounts: counts(1, 0, 1, 0), Reason: obsv1.ReasonRolloutRequired},
		{Name: "refused", WorkloadCounts: counts(0, 0, 0, 2), Reason: obsv1.ReasonNamespaceNotAdmitted},
	}
	if diff := cmp.Diff(want, plan.Status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(counts(1, 1, 0, 0), plan.Counted); diff != "" || len(plan.By) != 1 {
		t.Errorf("the condition is about %v (-want +got):\n%s", plan.By, diff)
	}
	stack.Spec.Injection = &obsv1.InjectionSpec{RequireAll: true}
	if plan = NewPlan(stack, state, version); plan.Counted != counts(6, 2, 4, 0) {
		t.Errorf("with requireAll the condition is about %+v", plan.Counted)
	}
}

func TestNewPlanListsFiftyNamespaces(t *testing.T) {
	state := State{Now: now, Candidates: []Candidate{candidate("api", in("z"), outdatedStamp)}}
	for i := range 100 {
		state.Candidates = append(state.Candidates, candidate("api", in(fmt.Sprintf("a%02d", i))))
	}
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}}
	status := NewPlan(stack, state, func(*Candidate) string { return wantStamp.ConfigHash }).Status
	if len(status.Namespaces) != obsv1.MaxNamespaces || status.Namespaces[0].Name != "z" || status.Annotated != 101 {
		t.Errorf("status lists %d of 101 namespaces, first %s", len(status.Namespaces), status.Namespaces[0].Name)
	}
}

// TestPlanExplainsToOwnersOfWorkloads why a copy of their settings is not there, and not to what is
// known by its Pods alone: there is no object that an event could be about.
func TestPlanExplainsToOwnersOfWorkloads(t *testing.T) {
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "home", Name: "shop"}}
	for uid, want := range map[types.UID]int{"1": 1, "": 0} {
		w := workload(KindDeployment, annotations{obsv1.AnnotationStack: "home/shop"}, nil)
		w.UID = uid
		state := State{Now: now, Candidates: []Candidate{NewCandidate(w, ClaimOf(w, namespaceMeta(nil)), stack, nil)}}
		plan := NewPlan(stack, state, func(*Candidate) string { return "" })
		plan.Unwritten(w.Namespace, state.Candidates[0].Variant, wantStamp.ConfigHash, obsv1.ReasonRejected, "exceeded quota")
		if len(plan.Left) != want || len(plan.Failures) != 1 {
			t.Errorf("UID %q: left %v, failures %v; want %d and one", uid, plan.Left, plan.Failures, want)
		}
	}
}

// TestFailuresAreShort: what an API server or a webhook refuses may be a MiB, and is kept for every
// workload.
func TestFailuresAreShort(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "home", Name: "shop"}}
	w := workload(KindDeployment, annotations{obsv1.AnnotationStack: "home/shop"}, nil)
	w.UID = "1"
	state := State{Now: now, Candidates: []Candidate{NewCandidate(w, ClaimOf(w, namespaceMeta(nil)), stack, nil)}}
	c := &state.Candidates[0]
	plan := NewPlan(stack, state, func(*Candidate) string { return "" })
	plan.Unwritten(w.Namespace, c.Variant, wantStamp.ConfigHash, obsv1.ReasonRejected, long)
	for what, message := range map[string]string{
		"a patch": c.NewFailure(obsv1.ReasonRejected, long, time.Minute, now).Message,
		"a copy":  plan.Failures[0].Message, "an event": plan.Left[0].Message,
	} {
		if len(message) == 0 || len(message) > 2<<10 {
			t.Errorf("%s that is refused keeps %d bytes, want at most 2 KiB", what, len(message))
		}
	}
}
