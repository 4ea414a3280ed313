// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// readWorkload reads of a workload what the operator does.
func readWorkload(ctx context.Context, api client.Reader, kind policy.Kind,
	name client.ObjectKey) (*policy.Workload, error) {
	whole := &unstructured.Unstructured{}
	whole.SetGroupVersionKind(kind.GroupVersionKind)
	if err := api.Get(ctx, name, whole); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, cmp.Or(noNamespace(ctx, api, name.Namespace),
				fmt.Errorf("namespace %s has no %s %s", name.Namespace, kind.Kind, name.Name))
		}
		return nil, readError(kind.Kind+"s", name.Namespace, err)
	}
	return asWorkload(whole, kind)
}

func explainWorkload(ctx context.Context, api client.Reader, kind policy.Kind,
	name client.ObjectKey) (*Explanation, error) {
	w, err := readWorkload(ctx, api, kind, name)
	if err != nil {
		return nil, err
	}
	explanation := &Explanation{Object: kind.Kind + " " + name.String()}
	s, claim, err := about(ctx, api, name.Namespace, func(namespace *metav1.PartialObjectMetadata) policy.Claim {
		return policy.ClaimOf(w, namespace)
	})
	if err != nil {
		return nil, err
	}
	explanation.Steps = append(explanation.Steps, claimStep(claim))
	if claim.Made() {
		decision := policy.DecideWorkload(w, claim, s.namespace, s.stack)
		explanation.Steps = append(explanation.Steps, consentStep(decision))
		if decision.Granted && s.stack != nil {
			want := s.stack.Status.Version(claim.Variant.Project, claim.Variant.Env)
			explanation.Steps = append(explanation.Steps, stampStep(w, claim, s.stack, want), podsStep(ctx, api, w, want))
		}
	}
	explanation.conclude()
	return explanation, nil
}

// stampStep is about the template.
func stampStep(w *policy.Workload, claim policy.Claim, stack *obsv1.ObservabilityStack, want string) Step {
	stamp, stamped := w.Stamp()
	step := Step{Name: "stamp", State: metav1.ConditionTrue, Says: "its template names version " + stamp.ConfigHash}
	switch {
	case want == "":
		step.State, step.Says = metav1.ConditionUnknown, "the stack has nothing to give yet: see its SettingsReady"
	case !stamped:
		step.State = metav1.ConditionUnknown
		step.Says = "its template has none yet: the stack's InjectionReady says what it waits for"
	case stamp.ConfigHash != want:
		step.State = metav1.ConditionUnknown
		step.Says += ", and the stack gives " + want + " now: the stack's InjectionReady says what that waits for"
	}
	if record := w.Annotations[obsv1.AnnotationRecord]; record != "" {
		step.Details = append(step.Details, Step{Name: "record", State: metav1.ConditionTrue, Says: record})
	}
	if stack.Spec.Python != nil {
		step.Details = append(step.Details, pythonStep(w, claim, stamp.Python))
	}
	return step
}

// pythonStep is about the bundle for Python, which a template names or lacks.
func pythonStep(w *policy.Workload, claim policy.Claim, bundle string) Step {
	withdrawal, withdrawn := w.Withdrawal()
	switch {
	case bundle != "":
		return Step{Name: "python", State: metav1.ConditionTrue, Says: "its template names bundle " + bundle}
	case withdrawn:
		return Step{Name: "python", State: metav1.ConditionFalse, Says: "the bundle was taken off: " + withdrawal.String()}
	case claim.Python:
		return Step{Name: "python", State: metav1.ConditionUnknown,
			Says: "its template has no bundle yet: the stack's PythonReady says what it waits for"}
	default:
		return Step{Name: "python", State: metav1.ConditionTrue, Says: "it asks for no bundle: " + obsv1.AnnotationPython +
			" opts out, Jobs and CronJobs opt in, and Namespaces of other stacks by " + obsv1.AnnotationAccept}
	}
}

// goes reports whether a Pod runs no more, or is about to: whatever it has, nobody can change it.
func goes(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded ||
		!pod.DeletionTimestamp.IsZero()
}

// podsStep is about the Pods of a workload that run or will.
func podsStep(ctx context.Context, api client.Reader, w *policy.Workload, want string) Step {
	step := Step{Name: "pods", State: metav1.ConditionTrue}
	pods := &corev1.PodList{}
	if err := api.List(ctx, pods, client.InNamespace(w.Namespace)); err != nil {
		step.State, step.Says = metav1.ConditionUnknown, readError("Pods", w.Namespace, err).Error()
		return step
	}
	total, injected, ended := 0, 0, 0
	for i := range pods.Items {
		pod := &pods.Items[i]
		if owner := policy.OwnerOf(&pod.ObjectMeta); owner.Kind != w.Kind || owner.Name != w.Name {
			continue
		}
		if goes(pod) {
			ended++
			continue
		}
		total++
		mark := markStep(pod, want)
		if mark.State == metav1.ConditionTrue {
			injected++
		}
		mark.Name = pod.Name
		step.Details = append(step.Details, mark)
	}
	slices.SortFunc(step.Details, func(a, b Step) int { return strings.Compare(a.Name, b.Name) })
	step.Says = fmt.Sprintf("%d of %d Pods have these settings", injected, total)
	if ended > 0 {
		step.Says += fmt.Sprintf("; not counted: %s, ended or being deleted", plural(ended, "Pod"))
	}
	if injected < total {
		step.State = metav1.ConditionFalse
	}
	return step
}
