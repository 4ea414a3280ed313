// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Workloads is what was found of the workloads that name a stack.
type Workloads struct {
	// Status counts the workloads.
	Status obsv1.WorkloadsStatus
	// Rolling, Outdated, Missed and Stale name those that are not injected, sorted.
	Rolling, Outdated, Missed, Stale []string
}

// injection says how many of the stack's workloads have the current settings.
func injection(stack *obsv1.ObservabilityStack, in Inputs) Output {
	if in.Workloads == nil || !stack.Spec.HasSettings() {
		return Output{}
	}
	if problem := invalidSelector(stack.Spec.Injection); problem != nil {
		return *problem
	}
	made := in.settings(stack)
	if made.problem != nil && stack.Status.ConfigHash != "" {
		out := injectionState(stack, in) // It is about the last good settings, which stay.
		out.Hold = true
		return out
	}
	if made.problem != nil {
		out := unavailable(nil, obsv1.ReasonWaitingForSettings,
			"there are no settings yet, because they wait for SentryReady: see its message")
		out.Hold = true
		return out
	}
	return injectionState(stack, in)
}

// restartThem is what the owners of workloads are to do.
const restartThem = "restart them, for example with kubectl rollout restart"

func injectionState(stack *obsv1.ObservabilityStack, in Inputs) Output {
	found := in.Workloads
	all := found.Status.Annotated - found.Status.Refused
	spec := stack.Spec.Injection
	manual := spec != nil && spec.Rollout != nil && spec.Rollout.Policy == obsv1.RolloutManual
	wait := func(reason string, which []string, doing string) Output {
		return unavailable(nil, reason, fmt.Sprintf(
			"%d of %s %s: %s", len(which), count(int(all), "workload"), doing, some(which)))
	}
	switch {
	case found.Status.Annotated == 0:
		return available(nil, fmt.Sprintf(
			"no workload takes its settings from this stack: annotate one with %s: %s", obsv1.AnnotationStack, stack.Name))
	case len(found.Missed) > 0 && manual:
		return wait(obsv1.ReasonRolloutRequired, found.Missed,
			"have Pods that started while the webhook was away; "+restartThem)
	case len(found.Outdated)+len(found.Stale) > 0 && manual:
		return wait(obsv1.ReasonRolloutRequired, append(found.Outdated, found.Stale...),
			"run another configuration; "+restartThem)
	case len(found.Rolling)+len(found.Outdated) > 0:
		return wait(obsv1.ReasonRollingOut, append(found.Rolling, found.Outdated...),
			"are rolling out or wait for their turn; see them with kubectl rollout status")
	case len(found.Missed) > 0:
		return wait(obsv1.ReasonRollingOut, found.Missed,
			"have Pods that started while the webhook was away; obstack retries the injection, or restart them")
	case len(found.Stale) > 0:
		return wait(obsv1.ReasonRolloutRequired, found.Stale,
			"have Pods with an old configuration that Kubernetes keeps; delete these Pods")
	}
	message := fmt.Sprintf("%s injected", count(int(found.Status.Injected), "workload"))
	if found.Status.Refused > 0 {
		message += fmt.Sprintf(", %d refused: the events on them say why", found.Status.Refused)
	}
	return available(nil, message)
}

// WebhookUnavailable is the condition of a stack whose workloads cannot be patched
// because the webhook does not respond.
func WebhookUnavailable(which []string) Output {
	return unavailable(nil, obsv1.ReasonWebhookUnavailable, fmt.Sprintf(
		"the webhook does not respond for %s, so a rollout would inject nothing: see whether obstack's Pods are ready, "+
			"its Service has endpoints and its MutatingWebhookConfiguration has a caBundle; obstack tries again", some(which)))
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
