// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Stamp is what obstack writes on the Pod template of a workload. Labels and
// annotations alone, so that whoever owns the template is never refused a change.
type Stamp struct {
	Stack      types.NamespacedName
	ConfigHash string
	// Containers is the workload's choice, comma-separated; empty means all.
	Containers string
	// Attempt counts how often the injection was retried for Pods that missed the webhook.
	Attempt int
}

// StampKeys are the labels and annotations of a stamp.
var (
	StampLabels      = []string{obsv1.StampStack, obsv1.StampNamespace}
	StampAnnotations = []string{obsv1.StampConfigHash, obsv1.StampContainers, obsv1.StampAttempt}
)

// StampFor is the stamp that grants a claim.
func StampFor(claim Claim, configHash string) Stamp {
	return Stamp{Stack: claim.Stack, ConfigHash: configHash, Containers: strings.Join(claim.Containers, ",")}
}

// StampOf reads the stamp of a template; ok reports whether there is any part of one.
func StampOf(labels, annotations map[string]string) (stamp Stamp, ok bool) {
	attempt, _ := strconv.Atoi(annotations[obsv1.StampAttempt])
	stamp = Stamp{
		Stack:      types.NamespacedName{Namespace: labels[obsv1.StampNamespace], Name: labels[obsv1.StampStack]},
		ConfigHash: annotations[obsv1.StampConfigHash],
		Containers: annotations[obsv1.StampContainers],
		Attempt:    attempt,
	}
	return stamp, slices.ContainsFunc(StampLabels, func(key string) bool { _, set := labels[key]; return set }) ||
		slices.ContainsFunc(StampAnnotations, func(key string) bool { _, set := annotations[key]; return set })
}

// Stamp of the workload's template.
func (w *Workload) Stamp() (Stamp, bool) {
	meta := w.PodTemplate().Metadata
	return StampOf(meta.Labels, meta.Annotations)
}

// Labels that make the stamp.
func (s Stamp) Labels() map[string]string {
	return map[string]string{obsv1.StampStack: s.Stack.Name, obsv1.StampNamespace: s.Stack.Namespace}
}

// Annotations that make the stamp.
func (s Stamp) Annotations() map[string]string {
	annotations := map[string]string{obsv1.StampConfigHash: s.ConfigHash}
	if s.Containers != "" {
		annotations[obsv1.StampContainers] = s.Containers
	}
	if s.Attempt > 0 {
		annotations[obsv1.StampAttempt] = strconv.Itoa(s.Attempt)
	}
	return annotations
}
