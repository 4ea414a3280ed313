// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// DiscoveredStatus is what obstack found in the cluster where the spec says nothing.
type DiscoveredStatus struct {
	// serviceMonitors are the labels that ServiceMonitors get, because the one Prometheus that can
	// select them wants these. Absent: none are needed, or several Prometheuses could.
	// +optional
	ServiceMonitors *DiscoveredLabels `json:"serviceMonitors,omitempty"`

	// podMonitors are the same for PodMonitors.
	// +optional
	PodMonitors *DiscoveredLabels `json:"podMonitors,omitempty"`

	// prometheusRules are the same for PrometheusRules.
	// +optional
	PrometheusRules *DiscoveredLabels `json:"prometheusRules,omitempty"`
}

// DiscoveredLabels are labels and whose object names them.
type DiscoveredLabels struct {
	// labels that are set.
	// +required
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	Labels map[string]LabelValue `json:"labels,omitempty"`

	// from is the Prometheus that selects by them, as NAMESPACE/NAME.
	// +required
	// +kubebuilder:validation:MinLength=3
	// +kubebuilder:validation:MaxLength=317
	From string `json:"from,omitempty"`
}
