// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/metadata"
)

func newRelease(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	a := actor{streams: streams}
	command := &cobra.Command{
		Use:   "release KIND/NAME",
		Short: "Have a workload take its settings from no stack",
		Long: `Take the annotation ` + obsv1.AnnotationStack + ` off a workload and its Pod template, and
say what that means for its Pods. Where its Namespace names the stack, the workload gets
` + obsv1.AnnotationInject + `: "false" instead.
The kinds are deployment, statefulset, daemonset, job and cronjob.`,
		Example: `  kubectl obstack release deployment/shop-api -n shop
  kubectl obstack release cronjob/report --dry-run`,
		Args: exactlyOne("KIND/NAME", "deployment/shop-api"),
		RunE: func(command *cobra.Command, args []string) error {
			kindName, name, _ := strings.Cut(args[0], "/")
			kind, ok := workloadKind(kindName)
			if !ok || name == "" {
				return usageError{fmt.Errorf("%q names no workload: write KIND/NAME, such as deployment/shop-api; the kinds are "+
					"deployment, statefulset, daemonset, job and cronjob", args[0])}
			}
			namespace, err := a.prepare(flags)
			if err != nil {
				return err
			}
			key := client.ObjectKey{Namespace: namespace, Name: name}
			if err := a.release(command.Context(), kind, key); err != nil {
				return err
			}
			return a.finish()
		},
		ValidArgsFunction: completeWorkloads(flags, false),
	}
	a.addFlags(command)
	return command
}

// release a workload from the stack that it or its Namespace names.
func (a *actor) release(ctx context.Context, kind policy.Kind, name client.ObjectKey) error {
	w, err := readWorkload(ctx, a.api, kind, name)
	if err != nil {
		return err
	}
	namespace := metadata.Of(metadata.Namespace)
	if err := a.api.Get(ctx, client.ObjectKey{Name: name.Namespace}, namespace); err != nil {
		return readError("Namespace "+name.Namespace, metav1.NamespaceAll, err)
	}
	claim := policy.ClaimOf(w, namespace)
	if !claim.Made() && claim.Problem == "" {
		a.did(kind.GroupVersionKind, name, doneUnchanged, "it takes its settings from no stack, or its owner does")
		return nil
	}
	annotation, value, spec := obsv1.AnnotationStack, any(nil), map[string]any(nil)
	if _, inherited := namespace.Labels[obsv1.LabelUseStack]; inherited {
		annotation, value = obsv1.AnnotationInject, "false"
	} else if _, templated := w.PodTemplate().Metadata.Annotations[annotation]; templated && kind.Kind != policy.KindJob {
		spec = withoutAnnotation(kind, annotation)
	}
	body, err := w.MergePatch(map[string]any{annotation: value}, spec)
	if err != nil {
		return err
	}
	if _, err := a.patch(ctx, kind.GroupVersionKind, name, body); err != nil {
		return err
	}
	a.did(kind.GroupVersionKind, name, doneReleased, a.afterRelease(ctx, w, spec != nil))
	return nil
}

// withoutAnnotation is a workload's spec of which the template loses an annotation.
func withoutAnnotation(kind policy.Kind, annotation string) map[string]any {
	spec := map[string]any{"template": map[string]any{"metadata": map[string]any{
		"annotations": map[string]any{annotation: nil},
	}}}
	if kind.Kind == policy.KindCronJob {
		return map[string]any{"jobTemplate": map[string]any{"spec": spec}}
	}
	return spec
}

// afterRelease says what becomes of the Pods of a workload that is released.
func (a *actor) afterRelease(ctx context.Context, w *policy.Workload, templateChanged bool) string {
	stamp, stamped := w.Stamp()
	restart := fmt.Sprintf("restart it with kubectl rollout restart %s/%s -n %s",
		strings.ToLower(w.Kind), w.Name, w.Namespace)
	switch stack := a.stackOf(ctx, stamp); {
	case w.Kind == policy.KindJob:
		return "a Job keeps what it started with"
	case !stamped:
		return "its template has no settings, so nothing else changes"
	case w.Kind == policy.KindCronJob:
		return "obstack takes the settings off its template within ten seconds, and its next Jobs have none"
	case templateChanged:
		return "the annotation was in its Pod template, so Kubernetes replaces its Pods now"
	case stack == nil:
		return "its Pods keep their settings until its template changes: " + restart
	case stack.Spec.Suspend:
		return "the stack is paused, so its Pods keep their settings until it is resumed, or " + restart
	case policy.RolloutSpec(stack).Policy == obsv1.RolloutManual:
		return "the stack's rollout policy is Manual, so its Pods keep their settings until its template changes: " + restart
	default:
		return "obstack takes the settings off its template within ten seconds, as soon as its turn comes, and Kubernetes " +
			"replaces its Pods"
	}
}

// stackOf a stamp; nil if there is none, or if it may not be read.
func (a *actor) stackOf(ctx context.Context, stamp policy.Stamp) *obsv1.ObservabilityStack {
	stack := &obsv1.ObservabilityStack{}
	if err := a.api.Get(ctx, stamp.Stack, stack); err != nil {
		return nil
	}
	return stack
}
