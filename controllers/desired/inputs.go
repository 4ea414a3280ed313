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
	// Workloads are those that take their settings from the stack; nil if injection is off.
	Workloads *Workloads
	// MissingAPIs are the kinds that the cluster does not serve.
	MissingAPIs map[schema.GroupKind]bool
}

// SecretValue is what one key of a Secret holds.
type SecretValue struct {
	// SecretExists and KeyExists tell what was found.
	SecretExists, KeyExists bool
	// Value of the key. It reaches the Secrets that obstack makes and nothing else.
	Value string
	// Revision changes with the value and does not reveal it.
	Revision string
}

// Rollout is how far a Deployment is.
type Rollout struct {
	// Available tells that the newest Pod template is rolled out and available.
	Available bool
}

// SecretRefs are the Secret keys that a stack refers to, all in its own namespace.
func SecretRefs(stack *obsv1.ObservabilityStack) []obsv1.SecretKeySelector {
	var refs []obsv1.SecretKeySelector
	if ref := dsnRef(stack.Spec.Sentry); ref != nil {
		refs = append(refs, *ref)
	}
	if stack.Spec.Tasks == nil {
		return refs
	}
	for _, broker := range stack.Spec.Tasks.Brokers {
		if broker.URLFrom != nil {
			refs = append(refs, broker.URLFrom.SecretKeyRef)
		}
		if broker.TLS != nil {
			refs = append(refs, broker.TLS.Keys()...)
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
