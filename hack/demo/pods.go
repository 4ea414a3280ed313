// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// showPods prints which containers take the stack's settings, and of which
// configuration. It fails if a Pod has not got what the stack's status says.
func (d *demo) showPods(ctx context.Context, stack *obsv1.ObservabilityStack) error {
	pods, err := d.stampedPods(ctx, stack)
	if err != nil {
		return err
	}
	say(d.out, "\nThe annotated workloads get its settings; injected are:\n")
	rows := [][]string{{"POD", "CONTAINERS", "STACK", "CONFIGURATION"}}
	var failures []error
	for i := range pods {
		pod := &pods[i]
		containers, hash := injected(pod, stack), pod.Annotations[obsv1.MarkInjected]
		rows = append(rows, []string{
			pod.Name, cmp.Or(strings.Join(containers, ", "), "none"),
			pod.Labels[obsv1.StampNamespace] + "/" + pod.Labels[obsv1.StampStack], cmp.Or(hash, "none"),
		})
		if len(containers) != len(pod.Spec.Containers) || hash != stack.Status.ConfigHash {
			failures = append(failures,
				fmt.Errorf("pod %s is not injected with the configuration %s", pod.Name, stack.Status.ConfigHash))
		}
	}
	table(d.out, rows)
	if len(pods) == 0 {
		return errors.New("no Pod was injected")
	}
	return errors.Join(failures...)
}

// stampedPods are the Pods that take a stack's settings and are to stay, by name.
func (d *demo) stampedPods(ctx context.Context, stack *obsv1.ObservabilityStack) ([]corev1.Pod, error) {
	list := &corev1.PodList{}
	err := d.api.List(ctx, list,
		client.MatchingLabels{obsv1.StampStack: stack.Name, obsv1.StampNamespace: stack.Namespace})
	if err != nil {
		return nil, fmt.Errorf("list injected Pods: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(pod corev1.Pod) bool { return !pod.DeletionTimestamp.IsZero() }), nil
}

// injected are the names of the containers that read the stack's settings.
func injected(pod *corev1.Pod, stack *obsv1.ObservabilityStack) []string {
	want := obsv1.SettingsName(stack.Namespace, stack.Name, pod.Annotations[obsv1.MarkInjected])
	var names []string
	for _, container := range pod.Spec.Containers {
		reads := func(source corev1.EnvFromSource) bool {
			return source.SecretRef != nil && source.SecretRef.Name == want
		}
		if slices.ContainsFunc(container.EnvFrom, reads) {
			names = append(names, container.Name)
		}
	}
	return names
}
