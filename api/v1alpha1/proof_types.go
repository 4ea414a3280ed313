// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// PartKind is what a part of a stack is.
//
// +kubebuilder:validation:Enum=Monitor;Broker;Dashboard;Alerts;SLO;DSN;Python
type PartKind string

// The kinds of parts.
const (
	// PartMonitor is one of spec.metrics.monitors.
	PartMonitor PartKind = "Monitor"
	// PartBroker is one of spec.tasks.brokers.
	PartBroker PartKind = "Broker"
	// PartDashboard is one of the stack's dashboards.
	PartDashboard PartKind = "Dashboard"
	// PartAlerts are the alerts of spec.alerts.
	PartAlerts PartKind = "Alerts"
	// PartSLO is one of spec.slos.
	PartSLO PartKind = "SLO"
	// PartDSN is where a Sentry project takes events.
	PartDSN PartKind = "DSN"
	// PartPython are the processes of spec.python.
	PartPython PartKind = "Python"
)

// ProofLevel is how much is known of a part.
//
// +kubebuilder:validation:Enum=Written;Selected;Seen
type ProofLevel string

// The levels, each of which includes those before.
const (
	// LevelWritten means that the part's objects are there.
	LevelWritten ProofLevel = "Written"
	// LevelSelected means that objects of the cluster say that they take the part: a Prometheus
	// selects its monitor, a Service has its port.
	LevelSelected ProofLevel = "Selected"
	// LevelSeen means that somebody was asked, and has what the part is for: Prometheus the
	// series, Grafana the dashboard, Sentry the key.
	LevelSeen ProofLevel = "Seen"
)

// PartStatus says how much is known of one part of a stack.
type PartStatus struct {
	// kind of the part.
	// +required
	Kind PartKind `json:"kind,omitempty"`

	// name of the part: that in the spec of a monitor, broker, SLO or Sentry project; "default" is
	// the DSN of spec.sentry.dsnFrom, "python" are the processes of spec.python.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`

	// state is True if the part was seen to work, False if something is wrong with it at this
	// level, and Unknown if it works as far as the level says and nobody could be asked for more.
	// +required
	// +kubebuilder:validation:Enum=True;False;Unknown
	State metav1.ConditionStatus `json:"state,omitempty"`

	// level is Seen if the state is True, what is wrong if it is False, and else how far the part
	// works.
	// +required
	Level ProofLevel `json:"level,omitempty"`

	// reason is one word for the state; docs/reference/conditions.md lists them.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`

	// message says what is wrong, or what is missing, and what to do.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`

	// targetsUp is how many of the part's targets Prometheus scrapes. Absent: it has none, or was
	// not asked.
	// +optional
	// +kubebuilder:validation:Minimum=0
	TargetsUp *int32 `json:"targetsUp,omitempty"`

	// targets is how many targets Prometheus found for the part.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Targets *int32 `json:"targets,omitempty"`
}

// VerifiedStatus is what was seen to work.
type VerifiedStatus struct {
	// at is when it was seen. It is written once a day while nothing changes.
	// +required
	At metav1.Time `json:"at,omitzero"`

	// parts is how many parts were seen to work.
	// +required
	// +kubebuilder:validation:Minimum=0
	Parts *int32 `json:"parts,omitempty"`
}
