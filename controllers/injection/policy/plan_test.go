// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

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
func tooEarly(c *Candidate)    { c.RetryAfter = time.Minute }
func justPatched(c *Candidate) { c.Patched = true }
func paused(c *Candidate)      { c.Spec.Paused = true }
func scaledToZero(c *Candidate) {
	c.Spec.Replicas, c.Status, c.Pods = new(int32(0)), WorkloadStatus{ObservedGeneration: 3}, nil
}
func onDelete(c *Candidate) {
	c.Kind, c.Spec.UpdateStrategy = KindStatefulSet, &UpdateStrategy{Type: "OnDelete"}
}
func of(kind string) func(*Candidate) { return func(c *Candidate) { c.Kind = kind } }
func deadline(c *Candidate) {
	c.Status.UpdatedReplicas = 1
	c.Status.Conditions = []Condition{{Type: "Progressing", Status: "False", Reason: deadlineExceeded}}
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
		"a Pod missed the webhook":             {[]func(*Candidate){missedOne}, Missed},
		"a Pod missed the webhook, rolling":    {[]func(*Candidate){missedOne, unobserved}, Rolling},
		"an old Pod that nobody replaces":      {[]func(*Candidate){oldPod, onDelete}, Stale},
		"paused with an old Pod":               {[]func(*Candidate){oldPod, paused}, Stale},
		"stuck with an old Pod":                {[]func(*Candidate){oldPod, deadline}, Stale},
		"scaled to nothing":                    {[]func(*Candidate){scaledToZero}, Injected},
		"a CronJob":                            {[]func(*Candidate){of(KindCronJob)}, Injected},
		"a Job with the configuration of then": {[]func(*Candidate){of(KindJob), outdatedStamp, oldPod}, Injected},
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
			if got := c.Progress(); got != tc.want {
				t.Errorf("progress = %s, want %s", got, tc.want)
			}
		})
	}
}

// patches of a plan, as "Kind namespace/name attempt".
func patches(plan Plan) []string {
	var all []string
	for _, patch := range plan.Patches {
		all = append(all, fmt.Sprintf("%s %d", patch.Workload, patch.Stamp.Attempt))
	}
	return all
}

func TestNewPlan(t *testing.T) {
	two := obsv1.RolloutSpec{MaxConcurrent: 2}
	manual := obsv1.RolloutSpec{Policy: obsv1.RolloutManual}
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
			candidates: []Candidate{candidate("a", unobserved), candidate("b", outdatedStamp), candidate("c", outdatedStamp)},
			want:       []string{"Deployment shop/b 0"}},
		"those just patched take room": {rollout: two,
			candidates: []Candidate{
				candidate("a", outdatedStamp, justPatched), candidate("b", justPatched), candidate("c", outdatedStamp),
			}},
		"one that is stuck takes none": {rollout: obsv1.RolloutSpec{MaxConcurrent: 1},
			candidates: []Candidate{candidate("a", deadline, oldPod), candidate("b", outdatedStamp)},
			want:       []string{"Deployment shop/b 0"}},
		"five by default": {
			candidates: []Candidate{candidate("a", outdatedStamp), candidate("b", outdatedStamp), candidate("c", outdatedStamp),
				candidate("d", outdatedStamp), candidate("e", outdatedStamp), candidate("f", outdatedStamp)},
			want: []string{
				"Deployment shop/a 0", "Deployment shop/b 0", "Deployment shop/c 0", "Deployment shop/d 0", "Deployment shop/e 0",
			}},
		"what rolls no Pods takes no room": {rollout: obsv1.RolloutSpec{MaxConcurrent: 1},
			candidates: []Candidate{
				candidate("a", outdatedStamp), candidate("b", of(KindCronJob), outdatedStamp),
				candidate("c", scaledToZero, outdatedStamp),
			},
			want: []string{"CronJob shop/b 0", "Deployment shop/a 0", "Deployment shop/c 0"}},
		"left to their owners, but for what rolls no Pods": {rollout: manual,
			candidates: []Candidate{
				candidate("a", outdatedStamp), candidate("b", of(KindCronJob), outdatedStamp), candidate("c", missedOne),
			},
			want: []string{"CronJob shop/b 0"}},
		"an injection to retry":  {candidates: []Candidate{candidate("a", missedOne)}, want: []string{"Deployment shop/a 1"}},
		"not to be retried yet":  {candidates: []Candidate{candidate("a", missedOne, tooEarly)}},
		"a Job is never changed": {candidates: []Candidate{candidate("a", of(KindJob), missedOne)}},
	} {
		t.Run(name, func(t *testing.T) {
			version := func(*Candidate) string { return wantStamp.ConfigHash }
			plan := NewPlan(State{Candidates: tc.candidates}, version, tc.rollout)
			if diff := cmp.Diff(tc.want, patches(plan)); diff != "" {
				t.Errorf("patches (-want +got):\n%s", diff)
			}
			status := plan.Status
			if int(status.Annotated) != len(tc.candidates) || status.Injected+status.Pending != status.Annotated {
				t.Errorf("status = %+v", status)
			}
		})
	}
}

func TestOwnerOf(t *testing.T) {
	owner := func(kind, name string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{Kind: kind, Name: name, Controller: new(true)}}
	}
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
	} {
		t.Run(name, func(t *testing.T) {
			if got := OwnerOf(&tc.pod); got.Kind != tc.kind || got.Name != tc.want {
				t.Errorf("owner = %v, want %s %s", got, tc.kind, tc.want)
			}
		})
	}
}
