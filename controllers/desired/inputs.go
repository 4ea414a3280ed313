// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
	// Settings are those that NewSettings makes of these Secrets; nil if nobody needed them before.
	Settings *Settings
	// SettingsVersion is what their Secret shows; zero if injection is off.
	SettingsVersion SettingsVersion
	// Workloads are those that take their settings from the stack; nil if injection is off.
	Workloads *Workloads
	// MissingAPIs are the kinds that the cluster does not serve.
	MissingAPIs map[schema.GroupKind]bool
}

// SecretValue is what one key of a Secret holds.
type SecretValue struct {
	// SecretExists and KeyExists report what was found.
	SecretExists, KeyExists bool
	// Value of the key, without white space around it. It reaches the Secrets that obstack
	// makes and nothing else. It is empty for UseExporter, and where it is Accepted.
	Value string
	// Accepted is set if the exporter that runs was given this value, so that it need not be
	// looked at again.
	Accepted bool
	Source
}

// Source is the version of a Secret key from which an object was made.
type Source struct {
	// ResourceVersion of the Secret.
	ResourceVersion string `json:"resourceVersion"`
	// Revision changes with the value and does not reveal it.
	Revision string `json:"revision"`
	// Digest is a hash of the value, which may be seen by those only who may see the value.
	Digest string `json:"digest,omitempty"`
}

// Sources of an object, by NAME/KEY of the Secret. It shows them in an annotation, so that
// after a restart a Secret which has not changed need not be read.
type Sources map[string]Source

// SourcesOf reads the annotation.
func SourcesOf(annotations map[string]string) (sources Sources) {
	if json.Unmarshal([]byte(annotations[obsv1.AnnotationSources]), &sources) != nil {
		return nil // What is not known is read.
	}
	return sources
}

// Of returns the source that is a Secret key.
func (s Sources) Of(ref SecretRef) Source { return s[ref.Name+"/"+ref.Key] }

// addSources annotates an object with the versions of the keys that it was made from. Only
// a Secret may show digests.
func addSources(obj client.Object, in Inputs, refs ...obsv1.SecretKeySelector) {
	sources := Sources{}
	for _, ref := range refs {
		source := in.Secrets[ref].Source
		if _, isSecret := obj.(*corev1.Secret); !isSecret {
			source.Digest = ""
		}
		if source.ResourceVersion != "" {
			sources[ref.Name+"/"+ref.Key] = source
		}
	}
	encoded, err := json.Marshal(sources)
	if err != nil || len(sources) == 0 {
		return // Strings can be encoded.
	}
	annotations := maps.Clone(obj.GetAnnotations())
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[obsv1.AnnotationSources] = string(encoded)
	obj.SetAnnotations(annotations)
}

// Rollout is how far a Deployment is.
type Rollout struct {
	// Available reports whether the newest Pod template is rolled out and available.
	Available bool
}

// SecretRef is a Secret key that a stack refers to.
type SecretRef struct {
	obsv1.SecretKeySelector
	Use SecretUse
}

// SecretUse is what becomes of a value.
type SecretUse int

// The values of SecretUse.
const (
	UseDSN       SecretUse = iota // it is part of the settings
	UseBrokerURL                  // it is checked, and the exporter reads it
	UseExporter                   // nobody but the exporter looks at it
)

// SecretRefs are the Secret keys that a stack refers to, all in its own namespace.
func SecretRefs(stack *obsv1.ObservabilityStack) []SecretRef {
	var refs []SecretRef
	if ref := dsnRef(stack.Spec.Sentry); ref != nil {
		refs = append(refs, SecretRef{*ref, UseDSN})
	}
	if stack.Spec.Tasks == nil {
		return refs
	}
	for _, broker := range stack.Spec.Tasks.Brokers {
		if broker.URLFrom != nil {
			refs = append(refs, SecretRef{broker.URLFrom.SecretKeyRef, UseBrokerURL})
		}
		if broker.SentinelPasswordFrom != nil {
			refs = append(refs, SecretRef{broker.SentinelPasswordFrom.SecretKeyRef, UseExporter})
		}
		if broker.TLS != nil {
			for _, key := range broker.TLS.Keys() {
				refs = append(refs, SecretRef{key, UseExporter})
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

// secretValue returns what a key holds, or the condition that says what is missing.
func secretValue(
	ref obsv1.SecretKeySelector, secrets map[obsv1.SecretKeySelector]SecretValue, field string,
) (SecretValue, *Output) {
	value := secrets[ref]
	var problem Output
	switch {
	case !value.SecretExists:
		problem = unavailable(nil, obsv1.ReasonSecretNotFound, fmt.Sprintf(
			"Secret %s does not exist: create it with the key %s, or change %s", ref.Name, ref.Key, field))
	case !value.KeyExists:
		problem = unavailable(nil, obsv1.ReasonKeyNotFound, fmt.Sprintf(
			"Secret %s has no key %s: add it, or change %s", ref.Name, ref.Key, field))
	default:
		return value, nil
	}
	return SecretValue{}, &problem
}
