// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

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
	// Containers are the names of those to inject, sorted, or "*"; none means the default.
	Containers []string
	// OwnRelease reports whether SENTRY_RELEASE is not to be made from the image.
	OwnRelease bool
	// Inherited reports whether the Namespace alone asks.
	Inherited bool
	// Variant is what of the stack's settings is asked for.
	Variant Variant
	// Python reports whether the bundle for Python may be mounted, if the stack has one to give.
	Python bool
	// PythonPath is that of the image, as an annotation repeats it.
	PythonPath string
	// Withdrawn is the bundle that was taken off the workload, which it does not get again.
	Withdrawn string
	// Warning is what somebody should not have written, because it is not known.
	Warning string
	// Problem is a wrong annotation, and what to write instead. With one, Stack is zero.
	Problem string
}

// Variant is what of a stack's settings a workload gets.
type Variant struct {
	// Project is the one of spec.sentry.projects that it chooses; the default if it is empty.
	Project string
	// Env reports whether it gets spec.injection.env and the URLs of brokers.
	Env bool
}

// Made reports whether anything is asked for.
func (c Claim) Made() bool { return c.Stack != types.NamespacedName{} }

// ClaimOf reads the annotations of a workload and of its Pod template, and the labels of its
// Namespace, which may be nil. The template's win over the workload's, those over the
// Namespace's, and an opt-out over all.
func ClaimOf(w *Workload, namespace *metav1.PartialObjectMetadata) Claim {
	// What belongs to another workload is that one's business, and ours is our own.
	if w.Labels[obsv1.LabelManagedBy] == obsv1.ManagedBy || w.OfCronJob() || w.Finished() {
		return Claim{}
	}
	if namespace == nil {
		namespace = &metav1.PartialObjectMetadata{}
	}
	sources := []map[string]string{w.PodTemplate().Metadata.Annotations, w.Annotations}
	claimed := claim(w.Namespace, sources, namespace)
	claimed.choosePython(sources, w.Kind != KindJob && w.Kind != KindCronJob)
	if withdrawal, holds := w.Withdrawal(); holds {
		claimed.Withdrawn = withdrawal.Bundle
	}
	return claimed
}

// NamespaceClaim reads the labels of a Namespace.
func NamespaceClaim(namespace metav1.Object) Claim {
	return claim(namespace.GetName(), nil, namespace)
}

// PodClaim reads a Pod's stamp, and without one its annotations and the labels of its Namespace,
// of which the Pod may not know the name yet.
func PodClaim(pod *corev1.Pod, namespace string, meta metav1.Object) Claim {
	// The kubelet shows by it a Pod that it runs already, and the API server refuses one that names a
	// Secret.
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return Claim{}
	}
	stamp, _ := StampOf(pod.Labels, pod.Annotations)
	_, labelled := pod.Labels[obsv1.StampStack]
	if _, stamped := pod.Labels[obsv1.StampVersion]; stamped && !stamp.Complete() {
		return Claim{} // Half a stamp names nothing that there is.
	}
	if !labelled {
		// Annotations do not show whether the workload opted out; that it has no stamp does.
		if hasWorkload(pod) {
			return Claim{}
		}
		sources := []map[string]string{pod.Annotations}
		claimed := claim(namespace, sources, meta)
		claimed.choosePython(sources, false)
		return claimed
	}
	// Written by hand, the label may stand alone, and names a stack beside the Pod.
	stamp.Stack.Namespace = cmp.Or(stamp.Stack.Namespace, namespace)
	stamped := map[string]string{obsv1.AnnotationStack: stamp.Stack.String()}
	if stamp.Containers != "" {
		stamped[obsv1.AnnotationContainers] = stamp.Containers
	}
	if stamp.PythonPath != "" {
		stamped[obsv1.AnnotationPythonPath] = stamp.PythonPath
	}
	sources := []map[string]string{pod.Annotations, stamped}
	claimed := claim(namespace, sources, meta)
	claimed.choosePython(sources, stamp.Complete())
	// An annotation that came after the stamp, which a webhook or the operator will change too.
	if claimed.Made() && claimed.Stack != stamp.Stack {
		return Claim{}
	}
	return claimed
}

// hasWorkload reports whether a Pod was made from a template that obstack stamps.
func hasWorkload(pod *corev1.Pod) bool {
	_, err := KindOf(OwnerOf(&pod.ObjectMeta).Kind)
	return err == nil
}

// claim reads annotations from those that win to those that lose, and then the Namespace's labels.
func claim(namespace string, sources []map[string]string, meta metav1.Object) Claim {
	labels := meta.GetLabels()
	stack, asked := first(sources, obsv1.AnnotationStack)
	key := "annotation " + obsv1.AnnotationStack
	hint := "write the NAME of an ObservabilityStack in this namespace, or NAMESPACE/NAME"
	inherited := false
	if !asked {
		if stack, inherited = labels[obsv1.LabelUseStack]; !inherited {
			return Claim{}
		}
		stack = cmp.Or(labels[obsv1.LabelUseNamespace], namespace) + "/" + stack
		key, hint = "label "+obsv1.LabelUseStack+" of the Namespace", "write the NAME of an ObservabilityStack, and its "+
			"namespace, if that is another one, into the label "+obsv1.LabelUseNamespace
	}
	if out, problem := optedOut(sources); out || problem != "" {
		return Claim{Problem: problem}
	}
	reference, ok := metadata.ParseName(stack, namespace)
	if !ok || strings.Contains(reference.Name, ".") {
		return Claim{Problem: problem(key, stack, hint)}
	}
	own, _ := first(sources, obsv1.AnnotationSentryRelease)
	claimed := Claim{Stack: reference, OwnRelease: own == "false", Inherited: inherited}
	if value, set := first(sources, obsv1.AnnotationContainers); set {
		var hint string
		if claimed.Containers, hint = parseContainers(value); hint != "" {
			return Claim{Problem: problem("annotation "+obsv1.AnnotationContainers, value, hint)}
		}
	}
	claimed.Variant.Project, _ = first(sources, obsv1.AnnotationSentryProject)
	claimed.Variant.Env, claimed.Python = true, true
	if reference.Namespace != namespace {
		var accepts Acceptance
		accepts, claimed.Warning = AcceptedBy(meta)
		claimed.Variant.Env, claimed.Python = accepts.Env, accepts.Python
	}
	return claimed
}

// choosePython adds what annotations say of the bundle for Python, and what it is if they say
// nothing.
func (c *Claim) choosePython(sources []map[string]string, otherwise bool) {
	if !c.Made() {
		return
	}
	c.PythonPath = pythonPathOf(sources)
	if path, _ := first(sources, obsv1.AnnotationPythonPath); path != c.PythonPath {
		c.Warning = cmp.Or(c.Warning, problem("annotation "+obsv1.AnnotationPythonPath, path,
			fmt.Sprintf("write %d letters at most", maxPythonPath)))
	}
	value, set := first(sources, obsv1.AnnotationPython)
	c.Python = c.Python && (otherwise && !set || value == "true")
	if set && value != "true" && value != "false" {
		c.Warning = cmp.Or(c.Warning, problem("annotation "+obsv1.AnnotationPython, value,
			`write "true" or "false", or remove it`))
	}
}

// maxPythonPath bounds what is copied into a template, which has no room for all that its owner may
// write there. In letters of four bytes it is less than what is kept of a value.
const maxPythonPath = 4000

// pythonPathOf is the image's PYTHONPATH as an annotation repeats it, unless that is too long.
func pythonPathOf(sources []map[string]string) string {
	path, _ := first(sources, obsv1.AnnotationPythonPath)
	if utf8.RuneCountInString(path) > maxPythonPath {
		return ""
	}
	return path
}

// Acceptance is what a Namespace has its workloads take of other namespaces' stacks beside plain
// settings. Its consent to a DSN is none to variables, and none to code.
type Acceptance struct {
	// Env reports whether they take spec.injection.env and the URLs of brokers.
	Env bool
	// Python reports whether they take the bundle for Python.
	Python bool
}

// AcceptedBy reads what a Namespace accepts, and what is wrong with that.
func AcceptedBy(namespace metav1.Object) (accepts Acceptance, wrong string) {
	value, set := namespace.GetAnnotations()[obsv1.AnnotationAccept]
	for word := range strings.SplitSeq(value, ",") {
		switch word = strings.TrimSpace(word); {
		case word == obsv1.AcceptEnv:
			accepts.Env = true
		case word == obsv1.AcceptPython:
			accepts.Python = true
		case set && wrong == "":
			wrong = problem("annotation "+obsv1.AnnotationAccept+" of the Namespace", word,
				fmt.Sprintf("write %q, %q or both with a comma between them, or remove it", obsv1.AcceptEnv, obsv1.AcceptPython))
		}
	}
	return accepts, wrong
}

// optedOut reports whether any source opts out, or what is wrong with how it tries to.
func optedOut(sources []map[string]string) (out bool, wrong string) {
	for _, source := range sources {
		switch value, set := source[obsv1.AnnotationInject]; {
		case !set || value == "true":
		case value == "false":
			return true, ""
		default:
			return false, problem("annotation "+obsv1.AnnotationInject, value, `write "false" to opt out, or remove it`)
		}
	}
	return false, ""
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
	if value == allContainers {
		return []string{allContainers}, ""
	}
	if len(value) >= maxValue { // What is kept of it is another choice.
		return nil, fmt.Sprintf("write less than %d bytes, or \"*\" for all", maxValue)
	}
	for name := range strings.SplitSeq(value, ",") {
		name = strings.TrimSpace(name)
		if len(validation.IsDNS1123Label(name)) > 0 {
			return nil, "write the names of containers, separated by commas, such as \"api,worker\", or \"*\" for all"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names), ""
}

// maxQuoted bounds what a message repeats of an annotation's value, in bytes.
const maxQuoted = 64

func problem(key, value, hint string) string {
	if len(value) > maxQuoted {
		value = strings.ToValidUTF8(value[:maxQuoted], "") + "..."
	}
	return fmt.Sprintf("%s: %q is not accepted: %s", key, value, hint)
}

// Revokes reports whether a stack says validly that it does not admit a namespace.
func Revokes(stack *obsv1.ObservabilityStack, namespace string, labels map[string]string) bool {
	return !holds(stack, namespace) && !Admits(stack, namespace, labels)
}

// Admits reports whether a stack lets workloads of a namespace take its settings.
// The labels are those of the Namespace: of one that is not known there are none, and it is not
// admitted, whatever a selector says of what is not there.
func Admits(stack *obsv1.ObservabilityStack, namespace string, labels map[string]string) bool {
	if namespace == stack.Namespace {
		return true
	}
	if stack.Spec.Injection == nil || stack.Spec.Injection.Namespaces == nil ||
		labels[corev1.LabelMetadataName] != namespace {
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
