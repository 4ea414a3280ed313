// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/metadata"
)

// Patch is a stamp to write.
type Patch struct {
	*Candidate
	// Stamp is nil if it is to be removed.
	Stamp *Stamp
	// Record is that of the workload after the patch.
	Record Record
	// RollsPods reports whether the patch replaces Pods.
	RollsPods bool
}

// Plan is what to do about the workloads of one stack.
type Plan struct {
	// Patches are in the order of writing. Those that replace Pods are as many as the stack's
	// own places allow.
	Patches []Patch
	// Rolling is how many workloads take a place already, of those that the stack may have.
	Rolling int
	// Waiting is how many could be patched if there were places.
	Waiting int
	// Proven are those that were seen to run with the bundle for Python, which they are to keep.
	Proven []*Candidate
	// Left are candidates that are left alone: their owners are to know.
	Left []Left
	// Status counts the workloads.
	Status obsv1.WorkloadsStatus
	// Counted counts those that the stack's condition is about, and By lists them, as
	// "Kind namespace/name" and sorted, by progress.
	Counted obsv1.WorkloadCounts
	By      map[Progress][]string
	// Withdrawn are those from which the bundle for Python was taken, likewise, and why, and
	// WithdrawnElsewhere those that the condition is not about.
	Withdrawn, WithdrawnElsewhere []string
	// Failures are those of patches that are not tried again yet.
	Failures []Failure
	// RetryAfter is how long it is until something is to be done that no event asks for; 0 if
	// nothing is.
	RetryAfter time.Duration

	stack *obsv1.ObservabilityStack
	now   time.Time
	tally *tally
	// without are candidates whose settings are not there.
	without []*Candidate
}

// Left is a candidate that is left alone: it is contested or blocked, or its settings are not in
// its namespace.
type Left struct {
	*Candidate
	Progress Progress
	// Cause is that of settings that are not there, which is said once; empty if they are. Message is
	// for the owner.
	Cause, Message string
}

// NewPlan patches what is outdated and what has Pods that missed the webhook, so that no more
// than the allowed number roll out at a time. The version is the hash of the configuration
// that a candidate should have; while it is empty, there is nothing to patch.
func NewPlan(stack *obsv1.ObservabilityStack, state State, version func(*Candidate) string) Plan {
	plan := Plan{By: map[Progress][]string{}, stack: stack, now: state.Now, tally: newTally(stack.Namespace)}
	plan.Retry(state.RetryAfter)
	for _, refusal := range state.Refused {
		plan.tally.refuse(refusal)
	}
	candidates := slices.Clone(state.Candidates)
	slices.SortFunc(candidates, func(a, b Candidate) int { return strings.Compare(a.String(), b.String()) })
	queue := newQueue(stack.Namespace)
	for i := range candidates {
		c := &candidates[i]
		if !c.Release {
			if c.Want.ConfigHash = version(c); c.Want.ConfigHash == "" {
				plan.count(c, Outdated)
				plan.without = append(plan.without, c)
				continue
			}
			c.Want = c.Want.withBundle(state.Bundles.Of(c))
		}
		progress := c.Progress(state.Now)
		plan.count(c, progress)
		plan.add(c, progress, queue)
	}
	most := MaxConcurrent(stack)
	for _, c := range queue.next(most - plan.Rolling) {
		plan.Patches = append(plan.Patches, c.patch(state.Now, true))
	}
	plan.Rolling = min(plan.Rolling, most)
	plan.Waiting = queue.len()
	plan.Status = plan.tally.status()
	return plan
}

// defaultMaxConcurrent is spec.injection.rollout.maxConcurrent where it is absent.
const defaultMaxConcurrent = 5

// MaxConcurrent is how many rollouts a stack may have at a time.
func MaxConcurrent(stack *obsv1.ObservabilityStack) int {
	return int(cmp.Or(RolloutSpec(stack).MaxConcurrent, defaultMaxConcurrent))
}

// RolloutSpec of a stack; empty if it has none.
func RolloutSpec(stack *obsv1.ObservabilityStack) obsv1.RolloutSpec {
	if stack.Spec.Injection == nil || stack.Spec.Injection.Rollout == nil {
		return obsv1.RolloutSpec{}
	}
	return *stack.Spec.Injection.Rollout
}

// add puts a candidate into the queue if its turn may come, or patches it at once if that
// replaces no Pod.
func (p *Plan) add(c *Candidate, progress Progress, queue *queue) {
	if c.Proven {
		p.Proven = append(p.Proven, c)
	}
	place := c.TakesPlace(p.now)
	if queue.saw(c, place); place {
		p.Rolling++
		p.Retry(c.StartedAt.Add(maxPlace).Sub(p.now))
	}
	if (place || progress == Rolling) && !c.ProgressedAt.IsZero() {
		p.Retry(c.ProgressedAt.Add(c.deadline()).Sub(p.now))
	}
	if progress == Contested {
		p.Retry(c.Record.contestedFor(p.now))
	}
	switch {
	case progress == Contested || progress == Blocked:
		p.Left = append(p.Left, Left{Candidate: c, Progress: progress})
	case !p.due(c, progress):
	case c.rollsPods():
		queue.add(c)
	default:
		p.Patches = append(p.Patches, c.patch(p.now, false))
	}
}

// due reports whether a candidate is to be patched now, or as soon as there is a place.
func (p *Plan) due(c *Candidate, progress Progress) bool {
	manual := RolloutSpec(p.stack).Policy == obsv1.RolloutManual
	switch {
	case progress != Outdated && progress != Missed, manual && c.rollsPods() && c.Breaks == nil,
		c.Kind == KindJob: // Its template cannot be changed.
		return false
	case c.Failure != nil && c.Failure.After.After(p.now):
		p.AddFailure(*c.Failure)
		return false
	case c.Release && p.now.Sub(c.ReleasedAt) < releaseAfter:
		p.Retry(c.ReleasedAt.Add(releaseAfter).Sub(p.now))
		return false
	case progress == Missed:
		wait, _ := c.Record.retryAfter(c.Want, p.now)
		p.Retry(wait)
		return wait == 0
	default:
		return true
	}
}

// releaseAfter is how long a workload has to ask for nothing until its stamp is removed: the caches
// of webhooks, which stamp by a label of its Namespace, may be before those of the operator.
const releaseAfter = 10 * time.Second

// Retry has the plan made again after that time at the latest.
func (p *Plan) Retry(after time.Duration) { p.RetryAfter = sooner(p.RetryAfter, after) }

// count a candidate, and name it if the stack's condition is about it.
func (p *Plan) count(c *Candidate, progress Progress) {
	if c.Release {
		if progress != Contested || !p.Counts(c.Namespace) {
			return
		}
		p.By[progress] = append(p.By[progress], c.String())
		return
	}
	p.tally.count(c.Namespace, progress, RolloutSpec(p.stack).Policy == obsv1.RolloutManual)
	withdrawn := &p.WithdrawnElsewhere
	if p.Counts(c.Namespace) {
		withdrawn = &p.Withdrawn
	}
	if c.Python && c.Withdrew.Bundle != "" && c.Want.Python == "" && c.Breaks == nil {
		*withdrawn = append(*withdrawn, fmt.Sprintf("%s (%s)", c, c.Withdrew))
	}
	if !p.Counts(c.Namespace) {
		return
	}
	p.By[progress] = append(p.By[progress], c.String())
	p.Counted.Annotated++
	if progress == Injected {
		p.Counted.Injected++
	} else {
		p.Counted.Pending++
	}
}

// Counts reports whether the stack's condition is about the workloads of a namespace.
func (p *Plan) Counts(namespace string) bool { return p.stack.SpeaksFor(namespace) }

// AddFailure names a workload that was not patched.
func (p *Plan) AddFailure(f Failure) {
	p.Failures = append(p.Failures, f)
	p.Retry(f.After.Sub(p.now))
	p.Because(f.Namespace, f.Reason)
}

// Because gives the workloads of a namespace in the status a reason for not being injected,
// unless they have one that is more.
func (p *Plan) Because(namespace, reason string) {
	p.tally.because(namespace, reason)
	p.Status = p.tally.status()
}

// Unwritten has the owners of workloads in another namespace know why it takes no copy of their
// settings. What obstack does not know but by its Pods has nothing to record that on.
func (p *Plan) Unwritten(namespace string, variant Variant, version, reason, message string) {
	message = metadata.Note(message) // For each of them there is one.
	for _, c := range p.without {
		if c.Namespace != namespace || c.Variant != variant {
			continue
		}
		p.Failures = append(p.Failures, Failure{
			Workload: c.String(), Namespace: namespace, Reason: reason, Message: "its settings: " + message,
		})
		if c.UID != "" {
			p.Left = append(p.Left, Left{c, Outdated, reason + " " + version, message})
		}
	}
}

// Hold drops what would change something, and returns it.
func (p *Plan) Hold() (patches []Patch) {
	patches, p.Patches, p.Proven, p.Left, p.Waiting = p.Patches, nil, nil, nil, 0
	return patches
}

func (c *Candidate) patch(now time.Time, rollsPods bool) Patch {
	stamp, _ := c.Stamp()
	retry := !c.outdated()
	record := c.Record.stamped(c.Want, now, retry)
	patch := Patch{Candidate: c, Record: record, RollsPods: rollsPods}
	if !c.Release {
		want := c.Want
		want.Attempt = stamp.Attempt
		if retry {
			want.Attempt++
		}
		patch.Stamp = &want
	}
	return patch
}
