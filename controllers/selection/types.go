// SPDX-License-Identifier: Apache-2.0

package selection

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Service is what is read of a Service. The API server sends the whole object, and the decoder
// drops the rest: a cluster may have many that do not concern us.
//
// +kubebuilder:object:root=true
type Service struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ServiceSpec `json:"spec,omitempty"`
}

// ServiceSpec has the ports.
//
// +kubebuilder:object:generate=true
type ServiceSpec struct {
	Ports []Port `json:"ports,omitempty"`
	// Large is set, by the cache, instead of labels and ports that are too large to keep.
	Large bool `json:"-"`
}

// Port has the name of a port, which may be empty.
type Port struct {
	Name string `json:"name,omitempty"`
}

// ServiceList is a list of Services.
//
// +kubebuilder:object:root=true
type ServiceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Service `json:"items"`
}
