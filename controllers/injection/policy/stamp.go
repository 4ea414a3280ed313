// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Stamp is what obstack writes on the Pod template of a workload. Labels and
// annotations alone, so that whoever owns the template is never refused a change.
type Stamp struct {
	Stack types.NamespacedName
	// ConfigHash is the version of the settings.
	ConfigHash string
	// Containers is the workload's choice, comma-separated; empty means the default.
	Containers string
	// Workload begins SENTRY_RELEASE; empty if that is not made from the image.
	Workload string
	// Python is the hash of the bundle for Python; empty if it is not mounted.
	Python string
	// PythonPath is that of the image, and MetricsPort the first one for metrics; 0 if there are
	// none.
	PythonPath  string
	MetricsPort int32
	// Attempt counts how often the injection was retried for Pods that missed the webhook.
	Attempt int
}

// StampKeys are the labels and annotations of a stamp.
var (
	StampLabels      = []string{obsv1.StampStack, obsv1.StampNamespace, obsv1.StampVersion, obsv1.StampPython}
	StampAnnotations = []string{
		obsv1.StampConfigHash, obsv1.StampContainers, obsv1.StampWorkload, obsv1.StampPythonPath, obsv1.StampMetricsPort,
		obsv1.StampAttempt,
	}
)

// StampFor is the stamp that grants a workload's claim on a stack.
func StampFor(claim Claim, stack *obsv1.ObservabilityStack, workload, configHash string) Stamp {
	stamp := Stamp{Stack: claim.Stack, ConfigHash: configHash, Containers: strings.Join(claim.Containers, ",")}
	if stack.Spec.Sentry.ReleasesFromImage() && !claim.OwnRelease {
		stamp.Workload = workload
	}
	if claim.WantsPython(stack) {
		stamp.PythonPath, stamp.MetricsPort = claim.PythonPath, stack.Spec.Python.MetricsPort()
	}
	return stamp
}

// withBundle is the stamp with that bundle for Python, or without any.
func (s Stamp) withBundle(hash string) Stamp {
	if s.Python = hash; hash == "" {
		s.PythonPath, s.MetricsPort = "", 0
	}
	return s
}

// WantsPython reports whether a stack has a bundle for Python mounted where it is claimed.
func (c Claim) WantsPython(stack *obsv1.ObservabilityStack) bool {
	return c.Python && stack.Spec.Python != nil
}

// bundle is the one that new workloads of a stack get; empty if there is none yet.
func (c Claim) bundle(stack *obsv1.ObservabilityStack) string {
	if !c.WantsPython(stack) || stack.Status.Python == nil {
		return ""
	}
	if stack.Status.Python.Bundle == c.Withdrawn {
		return ""
	}
	return stack.Status.Python.Bundle
}

// version is that of the settings that a claim is for; empty if there is none yet.
func (c Claim) version(stack *obsv1.ObservabilityStack) string {
	if stack == nil {
		return ""
	}
	return stack.Status.Version(c.Variant.Project, c.Variant.Env)
}

// StampOf reads the stamp of a template or Pod; ok reports whether there is any part of one. The
// hash is that of the label: its annotation is for whoever reads it.
func StampOf(labels, annotations map[string]string) (stamp Stamp, ok bool) {
	attempt, _ := strconv.Atoi(annotations[obsv1.StampAttempt])
	stamp = Stamp{
		Stack:      types.NamespacedName{Namespace: labels[obsv1.StampNamespace], Name: labels[obsv1.StampStack]},
		ConfigHash: labels[obsv1.StampVersion],
		Containers: annotations[obsv1.StampContainers],
		Workload:   annotations[obsv1.StampWorkload],
		Attempt:    attempt,
	}
	if hash := labels[obsv1.StampPython]; bundles.MatchString(hash) {
		stamp.Python, stamp.PythonPath = hash, annotations[obsv1.StampPythonPath]
		stamp.MetricsPort = portOf(annotations[obsv1.StampMetricsPort])
	}
	return stamp, len(stampOnly(labels, StampLabels))+len(stampOnly(annotations, StampAnnotations)) > 0
}

// bundles is the form of a bundle's hash, and ports that of a port: what is another cannot be part
// of a Pod that the API server takes.
var (
	bundles = regexp.MustCompile(`^[0-9a-f]+$`)
	ports   = regexp.MustCompile(`^[1-9][0-9]{3,4}$`)
)

// portOf reads a port; 0 if it is none.
func portOf(text string) int32 {
	port, err := strconv.ParseInt(text, 10, 32)
	if err != nil || port > maxPort || !ports.MatchString(text) {
		return 0
	}
	return int32(port)
}

// stampOnly returns what of labels or annotations belongs to a stamp.
func stampOnly(all map[string]string, keys []string) map[string]string {
	stamp := map[string]string{}
	for _, key := range keys {
		if value, set := all[key]; set {
			stamp[key] = value
		}
	}
	return stamp
}

const (
	// maxAnnotations is how much the API server takes of an object's annotations, in bytes.
	maxAnnotations = 256 << 10
	// podRoom is more than those of obstack need on a Pod.
	podRoom = 1 << 10
)

// size of annotations as the API server counts it.
func size(annotations map[string]string) (bytes int) {
	for key, value := range annotations {
		bytes += len(key) + len(value)
	}
	return bytes
}

// Complete reports whether the stamp names a version, which is all that an injection needs. What
// cannot be part of a Secret's name would have the API server refuse the Pod.
func (s Stamp) Complete() bool {
	return !slices.ContainsFunc([]string{s.Stack.Name, s.Stack.Namespace, s.ConfigHash}, func(part string) bool {
		return len(validation.IsDNS1123Label(part)) > 0
	})
}

// grants reports whether two stamps give the same, whatever the attempt.
func (s Stamp) grants(other Stamp) bool {
	s.Attempt, other.Attempt = 0, 0
	return s == other
}

// Stamp of the workload's template.
func (w *Workload) Stamp() (Stamp, bool) {
	meta := w.PodTemplate().Metadata
	return StampOf(meta.Labels, meta.Annotations)
}

// Labels that make the stamp.
func (s Stamp) Labels() map[string]string {
	labels := map[string]string{
		obsv1.StampStack: s.Stack.Name, obsv1.StampNamespace: s.Stack.Namespace, obsv1.StampVersion: s.ConfigHash,
	}
	if s.Python != "" {
		labels[obsv1.StampPython] = s.Python
	}
	return labels
}

// Annotations that make the stamp.
func (s Stamp) Annotations() map[string]string {
	annotations := map[string]string{obsv1.StampConfigHash: s.ConfigHash}
	if s.Containers != "" {
		annotations[obsv1.StampContainers] = s.Containers
	}
	if s.Workload != "" {
		annotations[obsv1.StampWorkload] = s.Workload
	}
	if s.PythonPath != "" {
		annotations[obsv1.StampPythonPath] = s.PythonPath
	}
	if s.MetricsPort > 0 {
		annotations[obsv1.StampMetricsPort] = strconv.Itoa(int(s.MetricsPort))
	}
	if s.Attempt > 0 {
		annotations[obsv1.StampAttempt] = strconv.Itoa(s.Attempt)
	}
	return annotations
}
