// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Inputs is what observe found in the cluster for one stack.
type Inputs struct {
	// ExporterImage is the task exporter's image where a broker names none.
	ExporterImage string
	// Secrets holds every Secret key that SecretRefs names.
	Secrets map[obsv1.SecretKeySelector]SecretValue
	// Rollouts are those Deployments of ExporterNames that exist.
	Rollouts map[string]Rollout
	// Settings is the version of the settings that their Secret gets; zero if injection is off.
	Settings SettingsVersion
	// Workloads are those that take their settings from the stack; nil if injection is off.
	Workloads *Workloads
	// MissingAPIs are the kinds that the cluster does not serve.
	MissingAPIs map[schema.GroupKind]bool
}

// SecretValue is what one key of a Secret holds.
type SecretValue struct {
	// SecretExists and KeyExists report what was found.
	SecretExists, KeyExists bool
	// Value of the key, without white space around it; empty where SecretRef.NeedsValue is
	// not set. It reaches the Secrets that obstack makes and nothing else.
	Value string
	// Revision changes with the value and does not reveal it.
	Revision string
}

// Rollout is how far a Deployment is.
type Rollout struct {
	// Available tells that the newest Pod template is rolled out and available.
	Available bool
}

// SecretRef is a Secret key that a stack refers to.
type SecretRef struct {
	obsv1.SecretKeySelector
	// NeedsValue reports whether a builder looks at the value.
	NeedsValue bool
}

// SecretRefs are the Secret keys that a stack refers to, all in its own namespace.
func SecretRefs(stack *obsv1.ObservabilityStack) []SecretRef {
	var refs []SecretRef
	if ref := dsnRef(stack.Spec.Sentry); ref != nil {
		refs = append(refs, SecretRef{*ref, true})
	}
	if stack.Spec.Tasks == nil {
		return refs
	}
	for _, broker := range stack.Spec.Tasks.Brokers {
		if broker.URLFrom != nil {
			refs = append(refs, SecretRef{broker.URLFrom.SecretKeyRef, true})
		}
		if broker.TLS != nil {
			for _, key := range broker.TLS.Keys() {
				refs = append(refs, SecretRef{SecretKeySelector: key})
			}
		}
	}
	return refs
}

// ExporterNames are the names of the stack's task exporters.
func ExporterNames(stack *obsv1.ObservabilityStack) []string {
	if stack.Spec.Tasks == nil {
		return nil
	}
	var names []string
	for _, broker := range stack.Spec.Tasks.Brokers {
		names = append(names, exporterName(stack, broker.Name))
	}
	return names
}
