// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"
	"time"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// A rollout keeps its place while what obstack started progresses, and no longer, whatever the
// workload's owner does meanwhile. The times are minutes after the patch.
func TestHistoryKeepsAPlaceWhileTheRolloutProgresses(t *testing.T) {
	noProgress := func(*Candidate, int) {}
	for name, tc := range map[string]struct {
		edits  []func(*Candidate)
		minute func(c *Candidate, minute int)
		want   int // the minute in which the place is free
	}{
		"it does nothing": {minute: noProgress, want: 10},
		"its Pods come one by one": {minute: func(c *Candidate, minute int) {
			c.Status.UpdatedReplicas = int32(min(minute/5, 4))
		}, want: 30},
		"it progresses for hours": {minute: func(c *Candidate, minute int) {
			c.Status.UpdatedReplicas = int32(minute)
		}, want: 60},
		"it has a deadline of an hour, and more": {
			edits: []func(*Candidate){deadlineOf(36000)}, minute: noProgress, want: 60,
		},
		"its Pods crash and are available in between": {minute: func(c *Candidate, minute int) {
			c.Status.UpdatedReplicas, c.Status.AvailableReplicas = 100, 0
			if minute >= 3 {
				c.Status.AvailableReplicas = int32(minute % 2)
			}
		}, want: 13},
		"all are available for a moment": {minute: func(c *Candidate, minute int) {
			c.Status.UpdatedReplicas, c.Status.AvailableReplicas = 100, 0
			if minute == 3 {
				c.Status.Replicas, c.Status.AvailableReplicas = 100, 100
			}
		}, want: 3},
		"its owner changes it all the time": {minute: func(c *Candidate, minute int) {
			c.Generation++
			c.Status.UpdatedReplicas = int32(minute % 3)
		}, want: 10},
		"an autoscaler changes it while its Pods come": {minute: func(c *Candidate, minute int) {
			if minute%4 == 3 {
				c.Generation++
			}
			c.Status.UpdatedReplicas = int32(minute)
		}, want: 60},
		"an autoscaler changes it and its Pods do not come": {minute: func(c *Candidate, minute int) {
			if minute%4 == 3 {
				c.Generation++
			}
		}, want: 10},
		"its owner pauses it": {minute: func(c *Candidate, minute int) { c.Spec.Paused = minute == 2 }, want: 2},
		"its owner writes that obstack did it now": {minute: func(c *Candidate, minute int) {
			if minute < 2 {
				return
			}
			record := Record{stampRecord: recordedStamp(wantStamp), At: now.Add(time.Duration(minute) * time.Minute)}
			c.Annotations = map[string]string{obsv1.AnnotationRecord: record.Annotation()}
		}, want: 10},
	} {
		t.Run(name, func(t *testing.T) {
			for _, restart := range []bool{false, true} {
				c := candidate("api", tc.edits...)
				c.Spec.Replicas, c.Status = new(int32(100)), WorkloadStatus{Replicas: 100, ObservedGeneration: 3}
				record := Record{stampRecord: recordedStamp(wantStamp), At: now, Stamps: 1}
				c.History = c.Wrote(Patch{Candidate: &c, Record: record, RollsPods: true}, c.Generation)
				c.Annotations = map[string]string{obsv1.AnnotationRecord: record.Annotation()}
				began := now
				for minute := range 100 {
					clock := now.Add(time.Duration(minute) * time.Minute)
					if restart && minute == 1 {
						c.History, began = History{}, clock
					}
					tc.minute(&c, minute)
					c.Status.ObservedGeneration = c.Generation
					c.History = c.Seen(&c, clock, began)
					if free := !c.TakesPlace(clock); free != (minute >= tc.want) {
						t.Fatalf("restart %t: the place is free: %t in minute %d, want it from %d on", restart, free, minute, tc.want)
					}
				}
			}
		})
	}
}

// Nobody takes places by what obstack did not do: neither with rollouts of their own, nor with
// workloads that are made with a record, nor with the record of another version.
func TestHistoryGivesNoPlaceForRolloutsOfOthers(t *testing.T) {
	at := func(at time.Time, stamp Stamp) func(*Candidate) {
		return func(c *Candidate) {
			record := Record{stampRecord: recordedStamp(stamp), At: at, Stamps: 1}
			c.Annotations = map[string]string{obsv1.AnnotationRecord: record.Annotation()}
		}
	}
	began := now.Add(-time.Minute)
	for name, edit := range map[string]func(*Candidate){
		"no record":                     func(*Candidate) {},
		"written since obstack started": at(began.Add(time.Second), wantStamp),
		"in the future":                 at(now.Add(30*time.Minute), wantStamp),
		"about another version":         at(began, Stamp{Stack: wantStamp.Stack, ConfigHash: "old"}),
		"of long ago":                   at(now.Add(-time.Hour), wantStamp),
	} {
		t.Run(name, func(t *testing.T) {
			c := candidate("db", of(KindStatefulSet), edit, unobserved)
			if c.History = c.Seen(&c, now, began); c.TakesPlace(now) {
				t.Error("it takes a place")
			}
			if got := c.Progress(now); got == Stuck {
				t.Errorf("progress = %s of a rollout that is seen to begin", got)
			}
		})
	}
	c := candidate("db", at(began, wantStamp), unobserved)
	if c.History = c.Seen(&c, now, began); !c.TakesPlace(now) {
		t.Error("one that obstack started before it restarted takes none")
	}
}

// What was released is forgotten when there is nothing more to it.
func TestHistoryForgetsWhatIsReleased(t *testing.T) {
	c := candidate("api", released)
	c.Works = "5ee4" // The annotation goes with the stamp.
	c.History = c.Seen(&c, now, now)
	c.History = c.Wrote(Patch{Candidate: &c, Record: c.Record.stamped(c.Want, now, false), RollsPods: true}, c.Generation)
	unstamped(&c)
	for _, clock := range []time.Time{now, now.Add(2 * time.Hour)} {
		if c.History = c.Seen(&c, clock, now); c.Empty(c.Workload, clock) != clock.After(now) {
			t.Errorf("after %s nothing is stored of it: %t", clock.Sub(now), c.Empty(c.Workload, clock))
		}
	}
}
