// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the API that users write: the ObservabilityStack, its
// conditions and the label and annotation keys around it. It imports nothing
// else of this project.
//
// +kubebuilder:object:generate=true
// +groupName=obstack.dev
package v1alpha1
