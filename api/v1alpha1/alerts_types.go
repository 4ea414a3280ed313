// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// AlertsSpec asks for the default alerts and tunes them. An alert that is not
// named has its defaults.
type AlertsSpec struct {
	// labels are added to every alert, for Alertmanager's routes, such as {"team": "shop"}.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^[a-zA-Z_][a-zA-Z0-9_]*$'))",message="the labels of alerts are Prometheus labels: letters, digits and '_', not starting with a digit"
	// +kubebuilder:validation:XValidation:rule="!('severity' in self) && !('alertname' in self)",message="severity is set for each alert by its severity field, and alertname by obstack; remove them from labels"
	Labels map[string]AlertLabelValue `json:"labels,omitempty"`

	// latency tunes ObstackHighLatency: the 95th percentile of the response time of a monitor.
	// +optional
	// +kubebuilder:default={}
	Latency LatencyAlert `json:"latency,omitzero"`

	// errorRatio tunes ObstackHighErrorRatio: the share of a monitor's requests answered with 5xx.
	// +optional
	// +kubebuilder:default={}
	ErrorRatio RatioAlert `json:"errorRatio,omitzero"`

	// taskFailureRatio tunes ObstackHighTaskFailureRatio: the share of a broker's finished tasks that failed.
	// +optional
	// +kubebuilder:default={}
	TaskFailureRatio RatioAlert `json:"taskFailureRatio,omitzero"`
}

// AlertLabelValue is the value of a label on an alert.
//
// +kubebuilder:validation:MaxLength=256
type AlertLabelValue string

// Severity of an alert, as Alertmanager's routes see it.
//
// +kubebuilder:validation:Enum=info;warning;critical
type Severity string

// LatencyAlert tunes an alert on a response time.
type LatencyAlert struct {
	// disabled leaves the alert out.
	// +optional
	Disabled bool `json:"disabled,omitempty"`

	// threshold is the response time above which the alert fires.
	// +optional
	// +kubebuilder:default="1s"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[0hms]+$')",message="threshold must be longer than 0; to leave the alert out set disabled: true"
	Threshold Duration `json:"threshold,omitempty"`

	// for is how long the threshold must be exceeded before the alert fires.
	// +optional
	// +kubebuilder:default="10m"
	For Duration `json:"for,omitempty"`

	// severity is the alert's label of that name.
	// +optional
	// +kubebuilder:default=warning
	Severity Severity `json:"severity,omitempty"`
}

// RatioAlert tunes an alert on the share of something that went wrong.
type RatioAlert struct {
	// disabled leaves the alert out.
	// +optional
	Disabled bool `json:"disabled,omitempty"`

	// threshold is the share above which the alert fires, between 0 and 1, as a
	// string: "0.05" is 5 %.
	// +optional
	// +kubebuilder:default="0.05"
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^0?[.][0-9]*[1-9][0-9]*$')",message="threshold must be a share between 0 and 1, written as a string, such as \"0.05\" for 5 %"
	Threshold string `json:"threshold,omitempty"`

	// for is how long the threshold must be exceeded before the alert fires.
	// +optional
	// +kubebuilder:default="10m"
	For Duration `json:"for,omitempty"`

	// severity is the alert's label of that name.
	// +optional
	// +kubebuilder:default=warning
	Severity Severity `json:"severity,omitempty"`
}
