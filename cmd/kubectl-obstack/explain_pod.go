// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// markStep is about what a Pod started with.
func markStep(pod *corev1.Pod, want string) Step {
	mark := pod.Annotations[obsv1.MarkInjected]
	step := Step{Name: "mark", State: metav1.ConditionTrue, Says: "it started with version " + mark}
	switch {
	case mark == "":
		step.State, step.Says = metav1.ConditionFalse, "it started without settings: restart it, and see the operator's "+
			"metrics and the stack's InjectionReady if that does not help"
		if goes(pod) {
			step.Says = "it started without settings, and has ended or is being deleted: see what comes after it"
		}
	case want != "" && mark != want:
		step.State = metav1.ConditionFalse
		step.Says += ", which is not the stack's newest: it keeps what its template names until it is replaced"
	}
	return step
}

func explainPod(ctx context.Context, api client.Reader, name client.ObjectKey) (*Explanation, error) {
	pod := &corev1.Pod{}
	if err := api.Get(ctx, name, pod); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, cmp.Or(noNamespace(ctx, api, name.Namespace),
				fmt.Errorf("namespace %s has no Pod %s: for a workload write KIND/NAME, such as deployment/%s",
					name.Namespace, name.Name, name.Name))
		}
		return nil, readError("Pods", name.Namespace, err)
	}
	explanation := &Explanation{Object: "Pod " + name.String()}
	s, claim, err := about(ctx, api, name.Namespace, func(namespace *metav1.PartialObjectMetadata) policy.Claim {
		return policy.PodClaim(pod, name.Namespace, namespace)
	})
	if err != nil {
		return nil, err
	}
	explanation.Steps = append(explanation.Steps, claimStep(claim))
	if claim.Made() {
		decision, stamp := policy.DecidePod(pod, claim, name.Namespace, s.labels, s.stack)
		explanation.Steps = append(explanation.Steps, consentStep(decision), markStep(pod, stamp.ConfigHash))
		if secret := settingsOf(stamp); secret != "" && pod.Annotations[obsv1.MarkInjected] != "" {
			for i := range pod.Spec.Containers {
				step := s.containerStep(ctx, pod, &pod.Spec.Containers[i], secret)
				explanation.Steps = append(explanation.Steps, step)
			}
		}
	}
	explanation.conclude()
	return explanation, nil
}

func settingsOf(stamp policy.Stamp) string {
	if !stamp.Complete() {
		return ""
	}
	return obsv1.SettingsName(stamp.Stack.Namespace, stamp.Stack.Name, stamp.ConfigHash)
}

// containerStep is about where a container's variables come from.
func (s *subject) containerStep(ctx context.Context, pod *corev1.Pod, container *corev1.Container, name string) Step {
	step := Step{Name: "container " + container.Name, State: metav1.ConditionTrue}
	at := slices.IndexFunc(container.EnvFrom, func(source corev1.EnvFromSource) bool {
		return source.SecretRef != nil && source.SecretRef.Name == name
	})
	if at < 0 {
		step.Says = "it reads no settings: it is a sidecar, or " + obsv1.AnnotationContainers + " leaves it out"
		return step
	}
	step.Says = "it reads Secret " + name
	secret := &corev1.Secret{}
	err := s.api.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: name}, secret)
	if err != nil {
		step.Details = append(step.Details, Step{Name: "variables", State: metav1.ConditionUnknown,
			Says: readError("Secret "+name, pod.Namespace, err).Error()})
		return step
	}
	for _, variable := range slices.Sorted(maps.Keys(secret.Data)) {
		step.Details = append(step.Details, Step{
			Name: variable, State: metav1.ConditionTrue, Says: from(container, at, variable),
		})
	}
	return step
}

// from says who gives a variable its value. Kubernetes takes the last of several sources, and env
// before any.
func from(container *corev1.Container, at int, variable string) string {
	own := slices.ContainsFunc(container.Env, func(env corev1.EnvVar) bool { return env.Name == variable })
	if own {
		return "the container's own value wins"
	}
	var others []string
	for _, source := range container.EnvFrom[at+1:] {
		switch {
		case source.SecretRef != nil:
			others = append(others, "Secret "+source.SecretRef.Name)
		case source.ConfigMapRef != nil:
			others = append(others, "ConfigMap "+source.ConfigMapRef.Name)
		}
	}
	if len(others) > 0 {
		return "from the stack, unless " + strings.Join(others, " or ") + " has it as well, which wins"
	}
	return "from the stack"
}
