// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/metadata"
)

// Claim is what a workload or Pod asks for.
type Claim struct {
	// Stack is whose settings; the zero value means that nothing is asked for.
	Stack types.NamespacedName
	// Containers are the names of those to inject, sorted; none means all.
	Containers []string
	// Problem is a wrong annotation, and what to write instead. With one, Stack is zero.
	Problem string
}

// Made reports whether anything is asked for.
func (c Claim) Made() bool { return c.Stack != types.NamespacedName{} }

// ClaimOf reads the annotations of a workload, of its Pod template and of its
// Namespace, which may be nil. The Pod's win over the workload's, those over the
// Namespace's, and an opt-out over all.
func ClaimOf(w *Workload, namespace *metav1.PartialObjectMetadata) Claim {
	// What belongs to another workload is that one's business, and ours is our own.
	if w.Labels[obsv1.LabelManagedBy] == obsv1.ManagedBy || w.OfCronJob() || w.Finished() {
		return Claim{}
	}
	template := w.PodTemplate().Metadata.Annotations
	sources := []map[string]string{template, w.Annotations}
	// A Job's template cannot be changed once it is there, so only its own word counts.
	if namespace != nil && w.Kind != KindJob {
		sources = append(sources, only(namespace.Annotations, obsv1.AnnotationStack))
	}
	return claim(w.Namespace, sources)
}

// NamespaceClaim reads the annotation of a Namespace.
func NamespaceClaim(namespace metav1.Object) Claim {
	return claim(namespace.GetName(), []map[string]string{only(namespace.GetAnnotations(), obsv1.AnnotationStack)})
}

// PodClaim reads a Pod's annotations, and else the stamp that its template gave it.
func PodClaim(pod *corev1.Pod, namespace string) Claim {
	stamped := map[string]string{}
	if name := pod.Labels[obsv1.StampStack]; name != "" {
		// Written by hand, the label may stand alone, and names a stack beside the Pod.
		stamped[obsv1.AnnotationStack] = cmp.Or(pod.Labels[obsv1.StampNamespace], namespace) + "/" + name
	} else if hasWorkload(pod) {
		// Annotations do not show whether the workload opted out; that it has no stamp does.
		return Claim{}
	}
	if containers := pod.Annotations[obsv1.StampContainers]; containers != "" {
		stamped[obsv1.AnnotationContainers] = containers
	}
	return claim(namespace, []map[string]string{pod.Annotations, stamped})
}

// hasWorkload reports whether a Pod was made from a template that obstack stamps.
func hasWorkload(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return false
	}
	kind, err := KindOf(OwnerOf(&pod.ObjectMeta).Kind)
	// Others have a StatefulSet too, in an API group of their own.
	return err == nil && strings.HasPrefix(owner.APIVersion, kind.Group+"/")
}

// claim reads annotations from those that win to those that lose.
func claim(namespace string, sources []map[string]string) Claim {
	stack, asked := first(sources, obsv1.AnnotationStack)
	if !asked {
		return Claim{}
	}
	for _, source := range sources {
		switch value, set := source[obsv1.AnnotationInject]; {
		case !set || value == "true":
		case value == "false":
			return Claim{}
		default:
			return Claim{Problem: problem(obsv1.AnnotationInject, value, `write "false" to opt out, or remove it`)}
		}
	}
	reference, ok := metadata.ParseName(stack, namespace)
	if !ok || strings.Contains(reference.Name, ".") {
		return Claim{Problem: problem(obsv1.AnnotationStack, stack,
			"write the NAME of an ObservabilityStack in this namespace, or NAMESPACE/NAME")}
	}
	claimed := Claim{Stack: reference}
	if value, set := first(sources, obsv1.AnnotationContainers); set {
		var hint string
		if claimed.Containers, hint = parseContainers(value); hint != "" {
			return Claim{Problem: problem(obsv1.AnnotationContainers, value, hint)}
		}
	}
	return claimed
}

func first(sources []map[string]string, key string) (string, bool) {
	for _, source := range sources {
		if value, set := source[key]; set {
			return value, true
		}
	}
	return "", false
}

func parseContainers(value string) (names []string, hint string) {
	for name := range strings.SplitSeq(value, ",") {
		name = strings.TrimSpace(name)
		if len(validation.IsDNS1123Label(name)) > 0 {
			return nil, "write the names of containers, separated by commas, such as \"api,worker\", or remove it to inject all"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names), ""
}

// maxQuoted bounds what a message repeats of an annotation's value, in bytes.
const maxQuoted = 64

func problem(annotation, value, hint string) string {
	if len(value) > maxQuoted {
		value = strings.ToValidUTF8(value[:maxQuoted], "") + "..."
	}
	return fmt.Sprintf("annotation %s: %q is not accepted: %s", annotation, value, hint)
}

// Admits reports whether a stack lets workloads of a namespace take its settings.
// The labels are those of the Namespace.
func Admits(stack *obsv1.ObservabilityStack, namespace string, labels map[string]string) bool {
	if namespace == stack.Namespace {
		return true
	}
	if stack.Spec.Injection == nil || stack.Spec.Injection.Namespaces == nil {
		return false
	}
	from := stack.Spec.Injection.Namespaces
	switch cmp.Or(from.From, obsv1.NamespacesFromSame) {
	case obsv1.NamespacesFromAll:
		return true
	case obsv1.NamespacesFromSelector:
		return matches(from.Selector, labels)
	default:
		return false
	}
}
