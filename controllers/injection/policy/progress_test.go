// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// now is when the tests look.
var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// recordOfWant is that of a workload that got the wanted stamp some time ago.
func recordOfWant(stamps, retries int, ago time.Duration) Record {
	return Record{stampRecord: recordedStamp(wantStamp), Stamps: stamps, Retries: retries, At: now.Add(-ago)}
}

func recorded(stamps, retries int, ago time.Duration) func(*Candidate) {
	return func(c *Candidate) { c.Record = recordOfWant(stamps, retries, ago) }
}

var wantStamp = Stamp{Stack: named("shop", "shop").Stack, ConfigHash: "new"}

// candidate is a Deployment of two Pods that is settled and has the wanted stamp.
func candidate(name string, edits ...func(*Candidate)) Candidate {
	w := workload(KindDeployment, nil, wantStamp.Annotations())
	w.Name, w.Spec.Template.Metadata.Labels = name, wantStamp.Labels()
	w.Spec.Replicas = new(int32(2))
	w.Generation, w.Status.ObservedGeneration = 3, 3
	w.Status.Replicas, w.Status.UpdatedReplicas, w.Status.AvailableReplicas = 2, 2, 2
	c := Candidate{Workload: w, Want: wantStamp, Pods: []Pod{{Mark: "new"}, {Mark: "new"}}}
	for _, edit := range edits {
		edit(&c)
	}
	return c
}

func outdatedStamp(c *Candidate) {
	c.Spec.Template.Metadata.Labels = Stamp{Stack: wantStamp.Stack, ConfigHash: "old"}.Labels()
}
func unstamped(c *Candidate)   { c.Spec.Template, c.Pods = nil, nil }
func unobserved(c *Candidate)  { c.Generation++ }
func missedOne(c *Candidate)   { c.Pods[0].Mark = "" }
func oldPod(c *Candidate)      { c.Pods[0].Mark = "old" }
func tooEarly(c *Candidate)    { c.Record = recordOfWant(0, 0, 30*time.Second) }
func justPatched(c *Candidate) { c.Patched = true }
func paused(c *Candidate)      { c.Spec.Paused = true }
func scaledToZero(c *Candidate) {
	c.Spec.Replicas, c.Status, c.Pods = new(int32(0)), WorkloadStatus{ObservedGeneration: 3}, nil
}
func onDelete(c *Candidate) {
	c.Kind, c.Spec.UpdateStrategy = KindStatefulSet, &UpdateStrategy{Type: "OnDelete"}
}
func of(kind string) func(*Candidate) { return func(c *Candidate) { c.Kind = kind } }

// nodeAway has a node that is away, and so a Pod that is not available.
func nodeAway(c *Candidate) {
	of(KindDaemonSet)(c)
	c.Status = WorkloadStatus{
		ObservedGeneration: 3, CurrentNumberScheduled: 2, DesiredNumberScheduled: 2, UpdatedNumberScheduled: 1,
		NumberAvailable: 1,
	}
}

// podNotReady has a Pod that does not become ready, for which its controller waits.
func podNotReady(c *Candidate) {
	of(KindStatefulSet)(c)
	c.Status.UpdatedReplicas, c.Status.AvailableReplicas = 1, 1
}
func deadline(c *Candidate) {
	c.Status.UpdatedReplicas = 1
	c.Status.Conditions = []Condition{{Type: "Progressing", Status: "False", Reason: deadlineExceeded}}
}

// started is a rollout that obstack started and that did nothing since.
func started(ago time.Duration) func(*Candidate) {
	return func(c *Candidate) { c.StartedAt, c.ProgressedAt = now.Add(-ago), now.Add(-ago) }
}
func progressed(ago time.Duration) func(*Candidate) {
	return func(c *Candidate) { c.ProgressedAt = now.Add(-ago) }
}
func deadlineOf(seconds int32) func(*Candidate) {
	return func(c *Candidate) { c.Spec.ProgressDeadlineSeconds = seconds }
}
func contestedLongAgo(c *Candidate) {
	c.Record = recordOfWant(2, 0, 100*time.Hour)
	c.Record.By, c.Record.Generation = "rabbitmq", c.Generation
}
func recordedAgo(ago time.Duration) func(*Candidate) {
	return func(c *Candidate) { c.Record.At = now.Add(-ago) }
}
func cloneSet(c *Candidate) {
	of("CloneSet")(c)
	scaledToZero(c)
}
func released(c *Candidate) { c.Release, c.Want = true, Stamp{} }
func withPods(marks ...string) func(*Candidate) {
	return func(c *Candidate) {
		for _, mark := range marks {
			c.Pods = append(c.Pods, Pod{Mark: mark})
		}
	}
}
func in(namespace string) func(*Candidate) { return func(c *Candidate) { c.Namespace = namespace } }
func failedAgo(ago time.Duration) func(*Candidate) {
	return func(c *Candidate) {
		c.Failure = c.NewFailure(obsv1.ReasonRejected, "no", time.Minute, now.Add(-ago))
	}
}

func TestProgress(t *testing.T) {
	for name, tc := range map[string]struct {
		edits []func(*Candidate)
		want  Progress
	}{
		"settled":                           {nil, Injected},
		"the application is being deployed": {[]func(*Candidate){unobserved}, Injected},
		"no Pod is made yet": {
			[]func(*Candidate){unobserved, func(c *Candidate) { c.Pods, c.Status = nil, WorkloadStatus{} }}, Rolling,
		},
		"stamped a moment ago": {[]func(*Candidate){justPatched}, Rolling},
		"an old stamp":         {[]func(*Candidate){outdatedStamp}, Outdated},
		"no stamp":             {[]func(*Candidate){unstamped}, Outdated},
		"a Pod from before the stamp": {
			[]func(*Candidate){unobserved, func(c *Candidate) { c.Pods = c.Pods[:1] }}, Rolling,
		},
		"scaled down, a Pod is being deleted": {
			[]func(*Candidate){func(c *Candidate) { c.Pods[0].Deleting = true }}, Injected,
		},
		"scaled up, the status is behind": {
			[]func(*Candidate){func(c *Candidate) { c.Pods = append(c.Pods, Pod{Mark: "new"}) }}, Injected,
		},
		"an old Pod while rolling": {[]func(*Candidate){oldPod, unobserved}, Rolling},
		"an old Pod that is being deleted": {
			[]func(*Candidate){oldPod, func(c *Candidate) { c.Pods[0].Deleting = true }}, Injected,
		},
		"a Pod missed the webhook":          {[]func(*Candidate){missedOne}, Missed},
		"a Pod missed the webhook, rolling": {[]func(*Candidate){missedOne, unobserved}, Rolling},
		"an old Pod that nobody replaces":   {[]func(*Candidate){oldPod, onDelete}, Stale},
		"paused with an old Pod":            {[]func(*Candidate){oldPod, paused}, Stale},
		"past its progress deadline":        {[]func(*Candidate){oldPod, deadline}, Stuck},
		"past it, and a Pod missed":         {[]func(*Candidate){missedOne, deadline}, Missed},
		"no progress for as long as it may take": {
			[]func(*Candidate){oldPod, unobserved, progressed(defaultDeadline)}, Stuck,
		},
		"progress a little less ago": {
			[]func(*Candidate){oldPod, unobserved, progressed(defaultDeadline - time.Second)}, Rolling,
		},
		"a node is away": {
			[]func(*Candidate){oldPod, nodeAway, progressed(defaultDeadline - time.Second)}, Rolling,
		},
		"a node is away for long": {[]func(*Candidate){oldPod, nodeAway, progressed(defaultDeadline)}, Stuck},
		"a StatefulSet waits for a Pod": {
			[]func(*Candidate){oldPod, podNotReady, progressed(defaultDeadline - time.Second)}, Rolling,
		},
		"it waits for long": {[]func(*Candidate){oldPod, podNotReady, progressed(defaultDeadline)}, Stuck},
		"within a deadline of its own": {
			[]func(*Candidate){oldPod, unobserved, progressed(defaultDeadline), deadlineOf(1200)}, Rolling,
		},
		"a deadline that would keep others waiting for ever": {
			[]func(*Candidate){oldPod, unobserved, progressed(maxDeadline), deadlineOf(1 << 30)}, Stuck,
		},
		"a Pod missed every retry":        {[]func(*Candidate){missedOne, recorded(1, 3, time.Hour)}, Blocked},
		"a Pod missed, one retry is left": {[]func(*Candidate){missedOne, recorded(1, 2, time.Second)}, Missed},
		"the retries were for another configuration": {[]func(*Candidate){missedOne, func(c *Candidate) {
			c.Record = Record{stampRecord: stampRecord{Version: "old"}, Retries: 3, At: now}
		}}, Missed},
		"the stamp was dropped once":            {[]func(*Candidate){unstamped, recorded(1, 0, time.Minute)}, Outdated},
		"the stamp was dropped twice":           {[]func(*Candidate){unstamped, recorded(2, 0, time.Minute)}, Contested},
		"the stamp was changed twice":           {[]func(*Candidate){outdatedStamp, recorded(2, 0, time.Minute)}, Contested},
		"dropped long after it was written":     {[]func(*Candidate){unstamped, recorded(2, 0, time.Hour)}, Outdated},
		"contested for long by a known manager": {[]func(*Candidate){unstamped, contestedLongAgo}, Contested},
		"contested for long, and changed since": {
			[]func(*Candidate){unstamped, contestedLongAgo, unobserved}, Outdated,
		},
		"contested a moment ago, and changed since": {
			[]func(*Candidate){unstamped, contestedLongAgo, recordedAgo(59 * time.Minute), unobserved}, Contested,
		},
		"contested for a third time, and changed since": {
			[]func(*Candidate){unstamped, contestedLongAgo, func(c *Candidate) { c.Record.Stamps = 3 }, unobserved},
			Contested,
		},
		"another configuration than the contested one": {[]func(*Candidate){unstamped, func(c *Candidate) {
			c.Record = Record{stampRecord: stampRecord{Stack: c.Want.Stack.String(), Version: "old"}, Stamps: 2, At: now}
		}}, Outdated},
		"to release": {[]func(*Candidate){released}, Outdated},
		"released":   {[]func(*Candidate){released, unstamped, unobserved}, Injected},
		"released again and again": {[]func(*Candidate){released, func(c *Candidate) {
			c.Record = Record{Stamps: 2, At: now}
		}}, Contested},
		"Pods of another kind":                    {[]func(*Candidate){cloneSet, withPods("new")}, Injected},
		"Pods of another controller that are old": {[]func(*Candidate){cloneSet, withPods("old")}, Stale},
		"scaled to nothing":                       {[]func(*Candidate){scaledToZero}, Injected},
		"a CronJob":                               {[]func(*Candidate){of(KindCronJob)}, Injected},
		"a Job with the configuration of then":    {[]func(*Candidate){of(KindJob), outdatedStamp, oldPod}, Injected},
		"a lone Pod": {
			[]func(*Candidate){of(KindPod), scaledToZero, func(c *Candidate) { c.Pods = []Pod{{Mark: "new"}} }}, Injected,
		},
		"a lone Pod with an old configuration": {
			[]func(*Candidate){of(KindPod), scaledToZero, func(c *Candidate) { c.Pods = []Pod{{Mark: "old"}} }}, Stale,
		},
		"a lone Pod that missed the webhook": {
			[]func(*Candidate){of(KindPod), scaledToZero, func(c *Candidate) { c.Pods = []Pod{{}} }}, Stale,
		},
		"the stamp counts another attempt only": {
			[]func(*Candidate){func(c *Candidate) { c.Spec.Template.Metadata.Annotations[obsv1.StampAttempt] = "3" }}, Injected,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := candidate("api", tc.edits...)
			if got := c.Progress(now); got != tc.want {
				t.Errorf("progress = %s, want %s", got, tc.want)
			}
		})
	}
}

func TestOwnerOf(t *testing.T) {
	owner := func(kind, name string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, Controller: new(true)}}
	}
	others := owner(KindStatefulSet, "db")
	others[0].APIVersion = "apps.kruise.io/v1beta1"
	for name, tc := range map[string]struct {
		pod        metav1.ObjectMeta
		kind, want string
	}{
		"alone": {metav1.ObjectMeta{Name: "p"}, KindPod, "p"},
		"a Deployment": {
			metav1.ObjectMeta{
				Labels: map[string]string{"pod-template-hash": "5f7c"}, OwnerReferences: owner("ReplicaSet", "api-5f7c"),
			}, KindDeployment, "api",
		},
		"a ReplicaSet":  {metav1.ObjectMeta{OwnerReferences: owner("ReplicaSet", "api")}, "ReplicaSet", "api"},
		"a StatefulSet": {metav1.ObjectMeta{OwnerReferences: owner(KindStatefulSet, "db")}, KindStatefulSet, "db"},
		"another group's StatefulSet": {
			metav1.ObjectMeta{OwnerReferences: others}, "StatefulSet.apps.kruise.io", "db",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := OwnerOf(&tc.pod); got.Kind != tc.kind || got.Name != tc.want {
				t.Errorf("owner = %v, want %s %s", got, tc.kind, tc.want)
			}
		})
	}
}
