// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// State is what was observed of the workloads that name a stack.
type State struct {
	// Candidates are the workloads whose claim is granted.
	Candidates []Candidate
	// Namespaces of the candidates, but for those that are being deleted; sorted.
	Namespaces []string
	// Refused is the number of workloads whose claim is not granted.
	Refused int32
}

// Patch is a stamp to write.
type Patch struct {
	*Workload
	Stamp Stamp
}

// Plan is what to do about the workloads of one stack.
type Plan struct {
	// Patches are in the order of writing.
	Patches []Patch
	// Status counts the workloads.
	Status obsv1.WorkloadsStatus
	// By lists the candidates, as "Kind namespace/name" and sorted, by progress.
	By map[Progress][]string
	// RetryAfter is how long the first injection that may not be retried yet waits; 0 if none does.
	RetryAfter time.Duration
}

// NewPlan patches what is outdated and what has Pods that missed the webhook, so that
// no more than the allowed number roll out at a time. The version is the hash of the
// configuration that a candidate should have; while it is empty, there is nothing to patch.
func NewPlan(state State, version func(*Candidate) string, rollout obsv1.RolloutSpec) Plan {
	plan := Plan{By: map[Progress][]string{}}
	granted := int32(min(len(state.Candidates), math.MaxInt32))
	plan.Status.Refused, plan.Status.Annotated = state.Refused, state.Refused+granted
	candidates := withHash(state.Candidates, version)
	plan.Status.Pending = granted - int32(min(len(candidates), math.MaxInt32))
	plan.addPatches(candidates, rollout)
	plan.Status.Summary = fmt.Sprintf("%d/%d", plan.Status.Injected, plan.Status.Annotated)
	return plan
}

// withHash returns the candidates that should have a configuration, sorted, and with it.
func withHash(candidates []Candidate, version func(*Candidate) string) []Candidate {
	candidates = slices.Clone(candidates)
	for i := range candidates {
		candidates[i].Want.ConfigHash = version(&candidates[i])
	}
	candidates = slices.DeleteFunc(candidates, func(c Candidate) bool { return c.Want.ConfigHash == "" })
	slices.SortFunc(candidates, func(a, b Candidate) int { return strings.Compare(a.String(), b.String()) })
	return candidates
}

func (p *Plan) addPatches(candidates []Candidate, rollout obsv1.RolloutSpec) {
	room := int(cmp.Or(rollout.MaxConcurrent, defaultMaxConcurrent))
	for i := range candidates {
		if c := &candidates[i]; c.Patched || !c.outdated() && c.rolling() {
			room--
		}
	}
	for i := range candidates {
		c := &candidates[i]
		progress := c.Progress()
		p.count(c, progress)
		if !c.wantsPatch(progress) {
			continue
		}
		if c.rollsPods() {
			if rollout.Policy == obsv1.RolloutManual || room <= 0 {
				continue
			}
			room--
		}
		p.Patches = append(p.Patches, c.patch(progress))
	}
}

// defaultMaxConcurrent is spec.injection.rollout.maxConcurrent where it is absent.
const defaultMaxConcurrent = 5

func (p *Plan) count(c *Candidate, progress Progress) {
	p.By[progress] = append(p.By[progress], c.String())
	if progress == Injected {
		p.Status.Injected++
	} else {
		p.Status.Pending++
	}
	if progress == Missed && c.RetryAfter > 0 && (p.RetryAfter == 0 || c.RetryAfter < p.RetryAfter) {
		p.RetryAfter = c.RetryAfter
	}
}

func (c *Candidate) wantsPatch(progress Progress) bool {
	if c.Kind == KindJob || c.Kind == KindPod {
		return false // Neither can be changed once it is there.
	}
	return progress == Outdated || progress == Missed && c.RetryAfter <= 0
}

func (c *Candidate) patch(progress Progress) Patch {
	stamp, _ := c.Stamp()
	want := c.Want
	want.Attempt = stamp.Attempt
	if progress == Missed {
		want.Attempt++
	}
	return Patch{Workload: c.Workload, Stamp: want}
}
