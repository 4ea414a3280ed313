// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/controllers/proof/judge"
)

// maxMessage bounds a condition's message, in bytes.
const maxMessage = 2048

// report writes the status once, if it differs, and then records events for the
// conditions that changed.
func (r *Reconciler) report(ctx context.Context, stack *obsv1.ObservabilityStack, plan plan, done outcome) error {
	before := stack.DeepCopy()
	setStatus(stack, plan, done, r.Now())
	if equality.Semantic.DeepEqual(before.Status, stack.Status) {
		if over, ok := r.written.Load(stack.UID); ok && over == before.ResourceVersion {
			// The cache does not show the status written last, which may differ. The API server
			// would say the same.
			return apierrors.NewConflict(obsv1.GroupVersion.WithResource("observabilitystacks").GroupResource(), stack.Name,
				errCacheBehind)
		}
		return nil
	}
	// An update of a stale stack fails, instead of reporting a change twice. A patch with
	// a lock does so too, and costs the API server more.
	if err := r.Status().Update(ctx, stack); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil // Deleted meanwhile.
		}
		return fmt.Errorf("write status: %w", err)
	}
	if stack.ResourceVersion != before.ResourceVersion {
		r.written.Store(stack.UID, before.ResourceVersion)
	}
	r.recordEvents(stack, before.Status.Conditions)
	return nil
}

var errCacheBehind = errors.New("the cache is behind the status")

// setStatus writes what the pass found into the stack in memory.
func setStatus(stack *obsv1.ObservabilityStack, plan plan, done outcome, now time.Time) {
	status := &stack.Status
	setParts(status, plan, done)
	results := slices.Clone(done.results)
	var covered []string
	for i := range results {
		result := &results[i]
		if result.requested {
			result.Output = judge.Condition(result.Output, partsOf(status, result.component.Condition))
			setCondition(stack, result.component.Condition, result.Output)
		} else {
			meta.RemoveStatusCondition(&status.Conditions, result.component.Condition)
		}
		if result.Covered != "" {
			covered = append(covered, result.Covered)
		}
	}
	ready := summary(stack, results)
	setCondition(stack, obsv1.Ready, ready)
	setVerified(stack, plan.evidence, ready.Status == metav1.ConditionTrue, now)
	status.ObservedGeneration = stack.Generation
	status.Covered = strings.Join(covered, ", ")
	if !stack.Spec.Suspend {
		status.ConfigHash = plan.settings.Hash(desired.Variant{Env: true})
		status.ConfigHashWithoutEnv = plan.settings.Hash(desired.Variant{})
		status.Projects = plan.settings.Projects()
		status.Discovered = plan.discovered
		status.Python = pythonStatus(stack, plan)
	}
	status.Workloads = nil
	if plan.workloads == nil {
		return
	}
	if status.ConfigHash != "" || plan.workloads.Status.Annotated+plan.workloads.Status.Refused > 0 {
		status.Workloads = &plan.workloads.Status
	}
}

// pythonStatus names the bundle for Python; nil if there is none.
func pythonStatus(stack *obsv1.ObservabilityStack, plan plan) *obsv1.PythonStatus {
	if stack.Spec.Python == nil || plan.workloads == nil || plan.settings.bundles.New == "" {
		return nil
	}
	return &obsv1.PythonStatus{Bundle: plan.settings.bundles.New}
}

// setParts says of each part how much is known.
func setParts(status *obsv1.ObservabilityStackStatus, plan plan, done outcome) {
	written := func(kind obsv1.PartKind) bool {
		return done.of(judge.ConditionOf(kind)).Status == metav1.ConditionTrue
	}
	status.Parts = judge.Judge(plan.provable, written, slices.Concat(plan.evidence.Findings, done.selected))
}

// partsOf are those that a condition speaks for.
func partsOf(status *obsv1.ObservabilityStackStatus, condition string) (parts []obsv1.PartStatus) {
	for _, part := range status.Parts {
		if judge.ConditionOf(part.Kind) == condition {
			parts = append(parts, part)
		}
	}
	return parts
}

// verifiedEvery is how often the date is written while nothing changes.
const verifiedEvery = 24 * time.Hour

// setVerified says whether all was seen to work. What was said of this spec before a restart of the
// operator holds until everybody was asked.
func setVerified(stack *obsv1.ObservabilityStack, evidence judge.Evidence, ready bool, now time.Time) {
	status := &stack.Status
	verified := judge.Verified(status.Parts, evidence.Gaps, ready)
	before := meta.FindStatusCondition(status.Conditions, obsv1.Verified)
	switch {
	case !verified.Requested():
		meta.RemoveStatusCondition(&status.Conditions, obsv1.Verified)
	case evidence.Pending && before != nil && before.ObservedGeneration == stack.Generation &&
		verified.Status != metav1.ConditionFalse:
	default:
		setCondition(stack, obsv1.Verified, verified)
	}
	setSeen(status, now)
}

// setSeen counts what was seen to work, and says when.
func setSeen(status *obsv1.ObservabilityStackStatus, now time.Time) {
	var seen int32
	for _, part := range status.Parts {
		if part.State == metav1.ConditionTrue {
			seen++
		}
	}
	last := status.Verified
	switch {
	case seen == 0:
		status.Verified = nil
	case last == nil || last.Parts == nil || *last.Parts != seen || now.Sub(last.At.Time) > verifiedEvery:
		status.Verified = &obsv1.VerifiedStatus{At: metav1.NewTime(now), Parts: &seen}
	}
}

func setCondition(stack *obsv1.ObservabilityStack, conditionType string, out desired.Output) {
	meta.SetStatusCondition(&stack.Status.Conditions, metav1.Condition{
		Type: conditionType, Status: out.Status, Reason: out.Reason,
		Message:            strings.ToValidUTF8(out.Message[:min(len(out.Message), maxMessage)], ""),
		ObservedGeneration: stack.Generation,
	})
}

// summary is the condition Ready. What somebody must change comes before what
// passes by itself.
func summary(stack *obsv1.ObservabilityStack, results []result) desired.Output {
	all := desired.Output{
		Status: metav1.ConditionTrue, Reason: obsv1.ReasonAvailable, Message: "every requested part is in place",
	}
	if stack.Spec.Suspend {
		all.Reason, all.Message = obsv1.ReasonSuspended, "suspended; nothing differs from the spec"
	}
	var messages []string
	for _, result := range results {
		if !result.Requested() || result.Status != metav1.ConditionFalse {
			continue // What nobody can say of processes, Verified says is Unknown.
		}
		if all.Status == metav1.ConditionTrue || all.Reason == obsv1.ReasonRollingOut {
			all.Reason = result.Reason
		}
		all.Status = metav1.ConditionFalse
		if result.Reason == obsv1.ReasonWaitingForSentry || result.Reason == obsv1.ReasonWaitingForSettings {
			continue // SentryReady says why.
		}
		messages = append(messages, cmp.Or(result.component.Condition, "Pruning")+": "+result.Message)
	}
	if len(messages) > 0 {
		all.Message = strings.Join(messages, "; ")
	}
	return all
}

// deeper reports whether only more or less is known of what works.
func deeper(was, now *metav1.Condition) bool {
	levels := []string{obsv1.ReasonAvailable, obsv1.ReasonSelected, obsv1.ReasonSeen}
	return slices.Contains(levels, was.Reason) && slices.Contains(levels, now.Reason)
}

// recordEvents emits an event for each condition whose status or reason changed. Of
// new conditions, only Ready and problems get one; that a part is being made does not.
func (r *Reconciler) recordEvents(stack *obsv1.ObservabilityStack, before []metav1.Condition) {
	for i := range stack.Status.Conditions {
		now := &stack.Status.Conditions[i]
		was := meta.FindStatusCondition(before, now.Type)
		switch {
		case was == nil:
			// That nobody was asked yet, or that a part is being made, is nothing to hear of.
			if normal(now) && (now.Type != obsv1.Ready || now.Reason == obsv1.ReasonRollingOut) ||
				now.Status == metav1.ConditionUnknown {
				continue
			}
		case was.Status == now.Status && (was.Reason == now.Reason || deeper(was, now)):
			continue
		}
		eventType := corev1.EventTypeWarning
		if normal(now) {
			eventType = corev1.EventTypeNormal
		}
		r.Events.Eventf(stack, nil, eventType, now.Reason, now.Type, "%s", metadata.Note(now.Type+": "+now.Message))
	}
}

// normal reports whether a condition says that all is well, or will be.
func normal(condition *metav1.Condition) bool {
	return condition.Status == metav1.ConditionTrue || condition.Reason == obsv1.ReasonRollingOut
}
