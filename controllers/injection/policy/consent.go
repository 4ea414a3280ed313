// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Decision is whether a claim is granted.
type Decision struct {
	// Granted reports whether the settings may be injected.
	Granted bool
	// Hold is set where nobody can say, because the stack's selector is not valid: what is
	// injected stays, and nothing else is.
	Hold bool
	// Reason and Message say why not. Both are empty for what asks for nothing. A
	// granted claim may have a message too: something that its owner should correct.
	Reason, Message string
}

// Decide whether the claim of something in a namespace is granted by the stack
// that it names, nil if there is none. Consent is two-sided: the workload names
// the stack, and the stack admits the workload's namespace.
func Decide(claim Claim, namespace string, labels map[string]string, stack *obsv1.ObservabilityStack) Decision {
	switch {
	case claim.Problem != "":
		return Decision{Reason: obsv1.ReasonInvalidAnnotation, Message: claim.Problem}
	case !claim.Made():
		return Decision{}
	case stack == nil || !stack.DeletionTimestamp.IsZero():
		return Decision{Reason: obsv1.ReasonStackNotFound, Message: fmt.Sprintf(
			"ObservabilityStack %s does not exist: create it, or change the annotation %s", claim.Stack, obsv1.AnnotationStack)}
	case holds(stack, namespace):
		return Decision{Hold: true, Reason: obsv1.ReasonInvalidSelector, Message: fmt.Sprintf(
			"spec.injection.namespaces.selector of ObservabilityStack %s is not valid: its owner must correct it", claim.Stack)}
	case !Admits(stack, namespace, labels):
		return Decision{Reason: obsv1.ReasonNamespaceNotAdmitted, Message: fmt.Sprintf(
			"ObservabilityStack %s does not admit workloads of namespace %s: its owner must list it in "+
				"spec.injection.namespaces", claim.Stack, namespace)}
	default:
		return decideVariant(claim, stack)
	}
}

// decideVariant decides about a claim that is granted as such, by what of the settings it is for.
func decideVariant(claim Claim, stack *obsv1.ObservabilityStack) Decision {
	project := claim.Variant.Project
	switch {
	case project != "" && stack.Spec.Sentry.Project(project) == nil:
		return Decision{Reason: obsv1.ReasonUnknownSentryProject,
			Message: problem("annotation "+obsv1.AnnotationSentryProject, project, projectsToWrite(stack))}
	case !stack.Spec.HasSettings(true):
		return Decision{Reason: obsv1.ReasonNothingToInject, Message: fmt.Sprintf(
			"ObservabilityStack %s has no settings for workloads: add spec.environment, spec.sentry, spec.logging, "+
				"spec.python or spec.injection.env to it", claim.Stack)}
	case !stack.Spec.HasSettings(claim.Variant.Env):
		return Decision{Reason: obsv1.ReasonNothingToInject, Message: fmt.Sprintf(
			"ObservabilityStack %s has variables alone, which this namespace does not accept: annotate the Namespace with "+
				"%s: %s", claim.Stack, obsv1.AnnotationAccept, obsv1.AcceptEnv)}
	case claim.Warning != "":
		return Decision{Granted: true, Reason: obsv1.ReasonInvalidAnnotation, Message: claim.Warning}
	default:
		return Decision{Granted: true}
	}
}

// EnvNotAccepted is about a Pod whose stamp names settings with variables that its namespace does
// not accept any more.
func EnvNotAccepted(stamp Stamp) Decision {
	return Decision{Reason: obsv1.ReasonNothingToInject, Message: fmt.Sprintf(
		"the settings of ObservabilityStack %s that the Pod's template names hold variables, which this namespace does "+
			"not accept: annotate the Namespace with %s: %s", stamp.Stack, obsv1.AnnotationAccept, obsv1.AcceptEnv)}
}

// projectsToWrite lists the projects of a stack, as far as a message has room.
func projectsToWrite(stack *obsv1.ObservabilityStack) string {
	var names []string
	if stack.Spec.Sentry != nil {
		for _, project := range stack.Spec.Sentry.Projects {
			names = append(names, project.Name)
		}
	}
	list := strings.Join(slices.Sorted(slices.Values(names)), ", ")
	if len(list) > maxProblem {
		list = list[:maxProblem] + "..."
	}
	hint := fmt.Sprintf("spec.sentry.projects of ObservabilityStack %s/%s", stack.Namespace, stack.Name)
	if list == "" {
		return hint + " is empty: remove the annotation"
	}
	return hint + " has " + list + ": write one of them, or remove the annotation"
}

// holds reports whether it cannot be said if a stack admits another namespace.
func holds(stack *obsv1.ObservabilityStack, namespace string) bool {
	if namespace == stack.Namespace || stack.Spec.Injection == nil || stack.Spec.Injection.Namespaces == nil {
		return false
	}
	from := stack.Spec.Injection.Namespaces
	_, err := metav1.LabelSelectorAsSelector(from.Selector)
	return from.From == obsv1.NamespacesFromSelector && err != nil
}

// DecideWorkload decides about the claim of a workload that exists.
func DecideWorkload(w *Workload, claim Claim, namespace *metav1.PartialObjectMetadata,
	stack *obsv1.ObservabilityStack) Decision {
	decision := Decide(claim, w.Namespace, namespace.Labels, stack).Check(claim, w.PodTemplate().ContainerNames())
	if stamp, _ := w.Stamp(); decision.Granted && w.Kind == KindJob && stamp.Stack != claim.Stack {
		if claim.Inherited {
			return Decision{} // It was there before its Namespace asked.
		}
		return Decision{Reason: obsv1.ReasonJobNotInjected,
			Message: "the Job started without the settings of ObservabilityStack " +
				claim.Stack.String() + ", and its template cannot be changed any more: delete the Job and create it anew"}
	}
	return decision
}

// Check decides about a granted claim by the names of the containers: those that
// the claim lists and that do not exist are named, and if none exists nothing is injected.
func (d Decision) Check(claim Claim, containers []string) Decision {
	if !d.Granted || len(claim.Containers) == 0 || claim.Containers[0] == allContainers {
		return d
	}
	missing := slices.DeleteFunc(slices.Clone(claim.Containers), func(name string) bool {
		return slices.Contains(containers, name)
	})
	if len(missing) == 0 {
		return d
	}
	slices.Sort(containers)
	message := fmt.Sprintf("annotation %s: there is no container %s; the containers are %s",
		obsv1.AnnotationContainers, strings.Join(missing, ", "), strings.Join(containers, ", "))
	if len(message) > maxProblem {
		message = message[:maxProblem] + "..."
	}
	return Decision{Granted: len(missing) < len(claim.Containers), Reason: obsv1.ReasonUnknownContainers, Message: message}
}

// maxProblem bounds a message about containers, of which there may be a hundred, in bytes.
const maxProblem = 512

// ContainerNames are the names of a template's containers.
func (t *Template) ContainerNames() []string {
	names := make([]string, 0, len(t.Spec.Containers))
	for _, c := range t.Spec.Containers {
		names = append(names, c.Name)
	}
	return names
}

// matches reports whether a selector chooses labels; a selector that is not valid chooses none.
func matches(selector *metav1.LabelSelector, set map[string]string) bool {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && parsed.Matches(labels.Set(set))
}
