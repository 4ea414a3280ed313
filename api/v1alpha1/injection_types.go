// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// InjectionSpec says which workloads may take this stack's settings, and how a
// changed configuration reaches those that run.
type InjectionSpec struct {
	// namespaces says whose workloads may name this stack in the annotation
	// obstack.dev/stack. Absent: those of the stack's own namespace.
	// +optional
	Namespaces *InjectionNamespaces `json:"namespaces,omitempty"`

	// env are more variables for the workloads: feature flags, OTEL_* and the like. In other
	// namespaces only those get them whose Namespace has the annotation obstack.dev/accept: env.
	// Absent: environment, sentry and logging alone.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Env []EnvVar `json:"env,omitempty"`

	// revocationGrace is for how long Pods keep the settings in a namespace that
	// namespaces no longer chooses, and those with env in one that no longer accepts it:
	// its copies are deleted when its last Pod with them ends or after this time,
	// whichever is first. New Pods get none. What a process has read it still knows.
	// Absent: "1h".
	// +optional
	RevocationGrace Duration `json:"revocationGrace,omitempty"`

	// rollout says when obstack restarts a workload whose Pods run another
	// configuration than the stack's. Absent: automatically, 5 at a time.
	// +optional
	Rollout *RolloutSpec `json:"rollout,omitempty"`

	// requireAll makes the conditions InjectionReady, PythonReady and Ready False also for
	// workloads of other namespaces. Absent or false: they speak for the stack's own namespace,
	// and status.workloads lists the others.
	// +optional
	RequireAll bool `json:"requireAll,omitempty"`
}

// NamespacesFrom says which namespaces are meant.
//
// +kubebuilder:validation:Enum=Same;All;Selector
type NamespacesFrom string

// The values of NamespacesFrom.
const (
	// NamespacesFromSame: the stack's own namespace.
	NamespacesFromSame NamespacesFrom = "Same"
	// NamespacesFromAll: every namespace.
	NamespacesFromAll NamespacesFrom = "All"
	// NamespacesFromSelector: the stack's own namespace and those that the selector matches.
	NamespacesFromSelector NamespacesFrom = "Selector"
)

// InjectionNamespaces chooses namespaces. The stack's own is always among them.
// Whoever may create workloads in a namespace that is chosen can read the DSN.
//
// +kubebuilder:validation:XValidation:rule="(self.from == 'Selector') == has(self.selector)",message="selector goes with from: Selector: add namespaces.selector, such as {matchLabels: {team: shop}}, or write from: Same or from: All without one"
type InjectionNamespaces struct {
	// from is Same (the stack's own namespace), All, or Selector (by the labels of the Namespace).
	// +required
	From NamespacesFrom `json:"from,omitempty"`

	// selector of the Namespaces' labels, with from: Selector.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// RolloutPolicy says who restarts workloads.
//
// +kubebuilder:validation:Enum=Automatic;Manual
type RolloutPolicy string

// The values of RolloutPolicy.
const (
	// RolloutAutomatic: obstack does.
	RolloutAutomatic RolloutPolicy = "Automatic"
	// RolloutManual: their owners do, and the status counts those that wait for it.
	RolloutManual RolloutPolicy = "Manual"
)

// RolloutSpec bounds what a changed configuration sets in motion.
type RolloutSpec struct {
	// policy is Automatic, or Manual: then a new configuration reaches a workload
	// when its owner changes or restarts it, and the status counts those that run
	// an old one. Absent: Automatic.
	// +optional
	Policy RolloutPolicy `json:"policy,omitempty"`

	// maxConcurrent is how many workloads of the stack obstack lets roll out at the
	// same time, from 1 to 100. Absent: 5.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	MaxConcurrent int32 `json:"maxConcurrent,omitempty"`
}

// WorkloadCounts counts workloads by how far they are.
type WorkloadCounts struct {
	// annotated is how many name the stack and may have its settings: those that are
	// injected and those that are pending.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Annotated int32 `json:"annotated,omitempty"`

	// injected is how many have the current configuration in every Pod.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Injected int32 `json:"injected,omitempty"`

	// pending is how many do not have it yet: they roll out, wait for their turn or
	// for somebody to restart them, or have Pods that started without their settings.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Pending int32 `json:"pending,omitempty"`

	// refused is how many name the stack and get nothing: it does not admit their
	// namespace, or their annotations are wrong. An event on each says why.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Refused int32 `json:"refused,omitempty"`
}

// WorkloadsStatus counts the workloads that name the stack in the annotation
// obstack.dev/stack, themselves or through their Pod template, or through the labels
// of their Namespace.
type WorkloadsStatus struct {
	WorkloadCounts `json:",inline"`

	// summary is injected/annotated, such as "3/4".
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Summary string `json:"summary,omitempty"`

	// namespaces lists other namespaces than the stack's with workloads that name it, at
	// most 50: those in which something is pending before all others.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=50
	Namespaces []NamespaceWorkloads `json:"namespaces,omitempty"`
}

// MaxNamespaces is how many namespaces the status lists.
const MaxNamespaces = 50

// NamespaceWorkloads counts the workloads of one namespace.
type NamespaceWorkloads struct {
	// name of the Namespace.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`

	WorkloadCounts `json:",inline"`

	// reason says why some are pending or refused, in the words of the condition
	// InjectionReady. Absent: all are injected.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
}
