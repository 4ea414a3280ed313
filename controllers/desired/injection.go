// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Workloads is what was found of the workloads that name a stack.
type Workloads struct {
	// Status counts the workloads.
	Status obsv1.WorkloadsStatus
	// Counted counts those that the condition is about: of the stack's own namespace, or all.
	Counted obsv1.WorkloadCounts
	// Python are the namespaces, of workloads and Pods, that may have the bundle for Python, sorted.
	Python []string
	// Withdrawn are those from which the bundle for Python was taken, and why, and WithdrawnElsewhere
	// those that the stack's conditions are not about.
	Withdrawn, WithdrawnElsewhere []string
	// The others name those of them that are not injected, sorted.
	Rolling, Stuck, Outdated, Contested, Missed, Blocked, Stale []string
}

// injection says how many of the stack's workloads have the current settings.
func injection(stack *obsv1.ObservabilityStack, in Inputs) Output {
	if in.Workloads == nil || !stack.Spec.HasSettings(true) {
		return Output{}
	}
	if problem := invalidSelector(stack.Spec.Injection); problem != nil {
		return *problem
	}
	undecided := in.settings(stack).Undecided(Variant{Env: true})
	if undecided && stack.Status.ConfigHash != "" {
		out := injectionState(stack, in) // It is about the last good settings, which stay.
		out.Hold = true
		return out
	}
	if undecided {
		out := unavailable(nil, obsv1.ReasonWaitingForSettings,
			"there are no settings yet: see the messages of SettingsReady and SentryReady")
		out.Hold = true
		return out
	}
	return injectionState(stack, in)
}

// restartThem is what the owners of workloads are to do.
const restartThem = "restart them, for example with kubectl rollout restart"

func injectionState(stack *obsv1.ObservabilityStack, in Inputs) Output {
	found := in.Workloads
	for _, state := range waiting(stack.Spec.Injection, found) {
		if n := len(state.which); n > 0 {
			return unavailable(nil, state.reason, fmt.Sprintf("%d of %s %s: %s", n,
				count(int(found.Counted.Annotated), "workload"), state.doing, some(state.which)))
		}
	}
	return available(nil, injectedMessage(stack, found))
}

// state is why some workloads are not injected.
type state struct {
	reason string
	which  []string
	// doing says what they do or lack, and what their owners are to do.
	doing string
}

// waiting are the states of workloads that are not injected, from those that wait for somebody
// to those that pass by themselves.
func waiting(spec *obsv1.InjectionSpec, found *Workloads) []state {
	missed := "have Pods that started without the settings; "
	states := []state{
		{obsv1.ReasonStampContested, found.Contested, "have a Pod template of which somebody else changes the labels and " +
			"annotations inject.obstack.dev/*; see who and what to do in the events on them"},
		{obsv1.ReasonInjectionBlocked, found.Blocked, "have Pods that started without the settings, as did those of each " +
			"retry; see what to do in the events on them"},
	}
	if spec != nil && spec.Rollout != nil && spec.Rollout.Policy == obsv1.RolloutManual {
		states = append(states,
			state{obsv1.ReasonRolloutRequired, found.Missed, missed + restartThem},
			state{obsv1.ReasonRolloutRequired, slices.Concat(found.Outdated, found.Stale),
				"run another configuration; " + restartThem})
	}
	return append(states,
		state{obsv1.ReasonRolloutStuck, found.Stuck, "make no progress within their progress deadline, so that others got " +
			"their places; see them with kubectl rollout status"},
		state{obsv1.ReasonRollingOut, slices.Concat(found.Rolling, found.Outdated),
			"are rolling out or wait for their turn; see them with kubectl rollout status"},
		state{obsv1.ReasonRollingOut, found.Missed, missed + "obstack retries the injection, or restart them"},
		state{obsv1.ReasonRolloutRequired, found.Stale,
			"have Pods with an old configuration that Kubernetes keeps; delete these Pods"})
}

func injectedMessage(stack *obsv1.ObservabilityStack, found *Workloads) string {
	if found.Status.Annotated+found.Status.Refused == 0 {
		return fmt.Sprintf("no workload takes its settings from this stack: annotate one with %s: %s",
			obsv1.AnnotationStack, stack.Name)
	}
	message := fmt.Sprintf("%s injected", count(int(found.Counted.Injected), "workload"))
	if others := found.Status.Annotated - found.Counted.Annotated; others > 0 {
		message += fmt.Sprintf(", and %d of %d in other namespaces (see status.workloads)",
			found.Status.Injected-found.Counted.Injected, others)
	}
	if found.Status.Refused > 0 {
		message += fmt.Sprintf(", %d refused: the events on them say why", found.Status.Refused)
	}
	return message
}

// InjectionFailed is the condition of a stack of whose workloads some could not be patched, named
// by reason; nil if that needs nobody to do something.
func InjectionFailed(which map[string][]string) *Output {
	switch {
	case len(which[obsv1.ReasonNameConflict]) > 0:
		return new(unavailable(nil, obsv1.ReasonNameConflict, some(which[obsv1.ReasonNameConflict])))
	case len(which[obsv1.ReasonRejected]) > 0:
		return new(unavailable(nil, obsv1.ReasonRejected,
			"the API server refuses to change workloads: "+some(which[obsv1.ReasonRejected])))
	case len(which[obsv1.ReasonWebhookUnavailable]) > 0:
		return new(unavailable(nil, obsv1.ReasonWebhookUnavailable, fmt.Sprintf(
			"nothing would inject %s, so obstack starts no rollout and tries again: where policies inject, see whether "+
				"kubectl get mutatingadmissionpolicy shows obstack-pods; where webhooks do, whether obstack's Pods are ready, "+
				"its Service has endpoints and its MutatingWebhookConfiguration has a caBundle",
			some(which[obsv1.ReasonWebhookUnavailable]))))
	default:
		return nil
	}
}

// invalidSelector says what is wrong with the selector of namespaces, if anything is.
func invalidSelector(spec *obsv1.InjectionSpec) *Output {
	if spec == nil || spec.Namespaces == nil || spec.Namespaces.Selector == nil {
		return nil
	}
	_, err := metav1.LabelSelectorAsSelector(spec.Namespaces.Selector)
	if err == nil {
		return nil
	}
	out := unavailable(nil, obsv1.ReasonInvalidSelector, "spec.injection.namespaces.selector is not valid "+
		"and what is injected stays as it is; write it as {matchLabels: {team: shop}}: "+err.Error())
	out.Hold = true
	return &out
}

// maxNamed bounds how many workloads a message names.
const maxNamed = 5

// some names the first of a sorted list, and how many more there are.
func some(names []string) string {
	if len(names) <= maxNamed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
}
