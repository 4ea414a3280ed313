// SPDX-License-Identifier: Apache-2.0

// Package policy decides what becomes of annotated workloads: what they ask for,
// whether they may have it, when they are patched, and what is added to their Pods.
// It is pure: no client, context, clock or metric.
package policy

import (
	"slices"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Workload is what obstack needs to know of a Deployment, StatefulSet, DaemonSet,
// Job or CronJob. The API server sends the whole object and the decoder drops the
// rest, because a cluster may have many that do not concern us.
//
// +kubebuilder:object:generate=true
type Workload struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   WorkloadSpec   `json:"spec,omitempty"`
	Status WorkloadStatus `json:"status,omitempty"`
}

// WorkloadSpec is the union of what the kinds have in spec.
//
// +kubebuilder:object:generate=true
type WorkloadSpec struct {
	Replicas *int32 `json:"replicas,omitempty"`
	Paused   bool   `json:"paused,omitempty"`
	// ProgressDeadlineSeconds of a Deployment.
	ProgressDeadlineSeconds int32 `json:"progressDeadlineSeconds,omitempty"`

	UpdateStrategy *UpdateStrategy `json:"updateStrategy,omitempty"`
	Template       *Template       `json:"template,omitempty"`
	JobTemplate    *JobTemplate    `json:"jobTemplate,omitempty"`
}

// UpdateStrategy of a StatefulSet or DaemonSet.
//
// +kubebuilder:object:generate=true
type UpdateStrategy struct {
	Type          string         `json:"type,omitempty"`
	RollingUpdate *RollingUpdate `json:"rollingUpdate,omitempty"`
}

// RollingUpdate of a StatefulSet.
//
// +kubebuilder:object:generate=true
type RollingUpdate struct {
	Partition *int32 `json:"partition,omitempty"`
}

// JobTemplate of a CronJob.
//
// +kubebuilder:object:generate=true
type JobTemplate struct {
	Spec JobSpec `json:"spec,omitempty"`
}

// JobSpec of a CronJob's Jobs.
//
// +kubebuilder:object:generate=true
type JobSpec struct {
	Template *Template `json:"template,omitempty"`
}

// Template of the Pods.
//
// +kubebuilder:object:generate=true
type Template struct {
	Metadata TemplateMeta `json:"metadata,omitempty"`
	Spec     PodSpec      `json:"spec,omitempty"`
}

// TemplateMeta is what a Pod template has of metadata that matters here.
//
// +kubebuilder:object:generate=true
type TemplateMeta struct {
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// PodSpec names the containers.
//
// +kubebuilder:object:generate=true
type PodSpec struct {
	Containers []Container `json:"containers,omitempty"`
}

// Container is a container's name and image.
type Container struct {
	Name  string `json:"name,omitempty"`
	Image string `json:"image,omitempty"`
}

// WorkloadStatus is the union of what the kinds have in status.
//
// +kubebuilder:object:generate=true
type WorkloadStatus struct {
	ObservedGeneration int64       `json:"observedGeneration,omitempty"`
	Conditions         []Condition `json:"conditions,omitempty"`

	// Deployments and StatefulSets.
	Replicas          int32 `json:"replicas,omitempty"`
	UpdatedReplicas   int32 `json:"updatedReplicas,omitempty"`
	AvailableReplicas int32 `json:"availableReplicas,omitempty"`

	// DaemonSets.
	DesiredNumberScheduled int32 `json:"desiredNumberScheduled,omitempty"`
	CurrentNumberScheduled int32 `json:"currentNumberScheduled,omitempty"`
	UpdatedNumberScheduled int32 `json:"updatedNumberScheduled,omitempty"`
	NumberAvailable        int32 `json:"numberAvailable,omitempty"`
}

// Condition of a Deployment or Job.
type Condition struct {
	Type   string                 `json:"type,omitempty"`
	Status corev1.ConditionStatus `json:"status,omitempty"`
	Reason string                 `json:"reason,omitempty"`
}

// PodTemplate is the template from which the workload's Pods are made.
func (w *Workload) PodTemplate() *Template {
	switch {
	case w.Spec.JobTemplate != nil && w.Spec.JobTemplate.Spec.Template != nil:
		return w.Spec.JobTemplate.Spec.Template
	case w.Spec.Template != nil:
		return w.Spec.Template
	default:
		return &Template{}
	}
}

// is reports whether a condition with that reason, or any if it is empty, has the status.
func (w *Workload) is(condition string, status corev1.ConditionStatus, reason string) bool {
	for _, c := range w.Status.Conditions {
		if c.Type == condition && c.Status == status && (reason == "" || c.Reason == reason) {
			return true
		}
	}
	return false
}

// Finished reports whether a Job has ended.
func (w *Workload) Finished() bool {
	return w.Kind == KindJob && (w.is("Complete", corev1.ConditionTrue, "") || w.is("Failed", corev1.ConditionTrue, ""))
}

// OfCronJob reports whether a CronJob made this Job.
func (w *Workload) OfCronJob() bool {
	owner := metav1.GetControllerOf(w)
	return owner != nil && owner.Kind == KindCronJob
}

// Keep drops, in place, what decisions do not need: most of a workload that
// does not concern us, and of one that does, others' labels and annotations.
//
// Small values are copied, because the decoder's share their memory with what is dropped, and
// workloads of a namespace share its name.
func (w *Workload) Keep() {
	w.ObjectMeta = metav1.ObjectMeta{
		Namespace: unique.Make(w.Namespace).Value(), Name: strings.Clone(w.Name), UID: w.UID,
		ResourceVersion: strings.Clone(w.ResourceVersion), Generation: w.Generation, DeletionTimestamp: w.DeletionTimestamp,
		Labels: ifOurs(w.Labels), Annotations: OnlyOurs(w.Annotations),
		OwnerReferences: controllerOf(w.OwnerReferences),
	}
	if w.Spec.Replicas != nil {
		w.Spec.Replicas = new(*w.Spec.Replicas)
	}
	template := w.PodTemplate()
	template.Metadata.Labels = OnlyOurs(template.Metadata.Labels)
	template.Metadata.Annotations = OnlyOurs(template.Metadata.Annotations)
	template.Spec.Containers = w.keptContainers(template)
	if len(template.Metadata.Labels)+len(template.Metadata.Annotations) == 0 && template.Spec.Containers == nil {
		w.Spec.Template, w.Spec.JobTemplate = nil, nil
	}
	var conditions []Condition
	for _, c := range w.Status.Conditions {
		if c.Reason == deadlineExceeded || c.Type == "Complete" || c.Type == "Failed" {
			conditions = append(conditions, c)
		}
	}
	w.Status.Conditions = conditions
}

// keptContainers are those that decisions need: their names where the owner chooses some, and their
// images where the bundle for Python is mounted, or was taken off.
func (w *Workload) keptContainers(template *Template) (kept []Container) {
	chosen := w.Annotations[obsv1.AnnotationContainers]+template.Metadata.Annotations[obsv1.AnnotationContainers] != ""
	python := w.Annotations[obsv1.AnnotationPythonWithdrawn]+template.Metadata.Labels[obsv1.StampPython] != ""
	if !chosen && !python {
		return nil
	}
	for _, container := range template.Spec.Containers {
		k := Container{Name: strings.Clone(container.Name)}
		if python {
			k.Image = strings.Clone(container.Image)
		}
		kept = append(kept, k)
	}
	return kept
}

// deadlineExceeded is the reason of a Deployment whose rollout is stuck.
const deadlineExceeded = "ProgressDeadlineExceeded"

// read are the labels and annotations that obstack reads of workloads, Pods and Namespaces. Of all
// that anybody may write in its domain, no more is kept in memory.
var read = sets.New(slices.Concat(StampLabels, StampAnnotations, []string{
	obsv1.AnnotationStack, obsv1.AnnotationInject, obsv1.AnnotationContainers, obsv1.AnnotationSentryProject,
	obsv1.AnnotationSentryRelease, obsv1.AnnotationPython, obsv1.AnnotationPythonPath,
	obsv1.AnnotationPythonWithdrawn, obsv1.AnnotationPythonWorks, obsv1.AnnotationAccept, obsv1.AnnotationRecord,
	obsv1.MarkInjected,
})...)

// maxValue is how much is kept of a value, in bytes. The names of 250 containers are less.
const maxValue = 16 << 10

// ifOurs keeps the label that marks an object as ours, which hardly any workload
// has. Helm sets it too, and a map for each of its workloads would be a third of what they cost.
func ifOurs(labels map[string]string) map[string]string {
	if labels[obsv1.LabelManagedBy] != obsv1.ManagedBy {
		return nil
	}
	return only(labels, obsv1.LabelManagedBy)
}

// OnlyOurs returns the labels or annotations that obstack reads.
func OnlyOurs(all map[string]string) map[string]string {
	var kept map[string]string
	for key, value := range all {
		if read.Has(key) {
			if kept == nil {
				kept = map[string]string{}
			}
			if len(value) > maxValue {
				value = strings.Clone(value[:maxValue])
			}
			kept[key] = value
		}
	}
	return kept
}

func only(all map[string]string, key string) map[string]string {
	if value, ok := all[key]; ok {
		return map[string]string{key: value}
	}
	return nil
}

func controllerOf(references []metav1.OwnerReference) []metav1.OwnerReference {
	for _, ref := range references {
		if ref.Controller != nil && *ref.Controller {
			return []metav1.OwnerReference{{Kind: ref.Kind, Name: ref.Name, Controller: ref.Controller}}
		}
	}
	return nil
}
