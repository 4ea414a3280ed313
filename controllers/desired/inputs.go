// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/internal/brokerurl"
)

// Inputs is what observe found in the cluster for one stack.
type Inputs struct {
	// ExporterImage is the task exporter's image where a broker names none.
	ExporterImage string
	// Secrets holds every Secret key that SecretRefs names.
	Secrets map[obsv1.SecretKeySelector]SecretValue
	// Rollouts are those Deployments of ExporterNames that exist.
	Rollouts map[string]Rollout
	// Settings are those that NewSettings makes of these; nil if nobody needed them before.
	Settings *Settings
	// Versions are those of the settings that exist, in any namespace.
	Versions []SettingsVersion
	// Workloads are those that take their settings from the stack; nil if injection is off.
	Workloads *Workloads
	// MissingAPIs are the kinds that the cluster does not serve.
	MissingAPIs map[schema.GroupKind]bool
}

// SecretValue is what is known of one key of a Secret.
type SecretValue struct {
	// SecretExists and KeyExists report what was found.
	SecretExists, KeyExists bool
	// Unread is set if the API server did not say.
	Unread bool
	// Value of a DSN, without white space around it. It reaches the Secrets that obstack makes and
	// nothing else. Other values are not kept.
	Value string
	// Problem is why the task exporter cannot read a broker's URL; nil if it can.
	Problem error
	Source
}

// Source is the version of a Secret key from which an object was made.
type Source struct {
	// ResourceVersion of the Secret; empty if it must be read again after a restart.
	ResourceVersion string `json:"resourceVersion,omitempty"`
	// Revision changes with the value and does not reveal it.
	Revision string `json:"revision"`
	// Digest is a hash of the value, which may be seen by those only who may see the value.
	Digest string `json:"digest"`
}

// NewSecretValue is what a Secret says of a key, whose source was another before, or none. White
// space around a value is none of it: a line feed at the end comes and goes with the tool that made
// the Secret.
//
// The revision is keyed with the Secret's UID, which few know who may not read the Secret, but it
// stands in Events about it as well: whoever reads those can test guesses. A value that is the one
// of before keeps its revision, also in a Secret that was made anew or was empty meanwhile.
func NewSecretValue(ref SecretRef, secret *corev1.Secret, before Source) SecretValue {
	data, found := secret.Data[ref.Key]
	value := SecretValue{SecretExists: true, KeyExists: found, Source: before}
	value.ResourceVersion = secret.ResourceVersion
	if !found {
		return value
	}
	text := strings.TrimSpace(string(data))
	switch ref.Use {
	case UseDSN:
		value.Value = text
	case UseBrokerURL:
		_, value.Problem = brokerurl.Parse(text)
	}
	if digest := DigestOf(text); digest != before.Digest {
		mac := hmac.New(sha256.New, []byte(secret.UID))
		mac.Write([]byte(text))
		value.Digest, value.Revision = digest, hex.EncodeToString(mac.Sum(nil)[:16])
	}
	return value
}

// DigestOf a value of a Secret.
func DigestOf(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}

// Sources of an object, by NAME/KEY of the Secret. A Secret of ours shows them in an annotation, so
// that after a restart a Secret which has not changed need not be read, and one that was made anew
// with the same value changes nothing.
type Sources map[string]Source

// SourcesOf reads the annotation.
func SourcesOf(annotations map[string]string) (sources Sources) {
	if json.Unmarshal([]byte(annotations[obsv1.AnnotationSources]), &sources) != nil {
		return nil // What is not known is read.
	}
	return sources
}

// Add takes over the sources of another object, and of two of the same key the newer one.
func (s Sources) Add(others Sources) {
	for name, source := range others {
		order, err := resourceversion.CompareResourceVersion(source.ResourceVersion, s[name].ResourceVersion)
		if s[name].ResourceVersion == "" || err == nil && order > 0 {
			s[name] = source
		}
	}
}

// Of returns the source that is a Secret key.
func (s Sources) Of(ref SecretRef) Source { return s[ref.Name+"/"+ref.Key] }

// addSources annotates a Secret with the versions of the keys that it was made from.
func addSources(secret *corev1.Secret, secrets map[obsv1.SecretKeySelector]SecretValue,
	refs ...obsv1.SecretKeySelector) {
	sources := Sources{}
	for _, ref := range refs {
		source := secrets[ref].Source
		if secrets[ref].Problem != nil { // It must be known to the exporter that is chosen next.
			source.ResourceVersion = ""
		}
		if source.Digest != "" {
			sources[ref.Name+"/"+ref.Key] = source
		}
	}
	encoded, err := json.Marshal(sources)
	if err != nil || len(sources) == 0 {
		return // Strings can be encoded.
	}
	if secret.Annotations == nil {
		secret.Annotations = map[string]string{}
	}
	secret.Annotations[obsv1.AnnotationSources] = string(encoded)
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
	case value.Unread:
		problem = unavailable(nil, obsv1.ReasonSecretUnreadable, fmt.Sprintf(
			"Secret %s of %s cannot be read: obstack tries again, and its log has the details", ref.Name, field))
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
