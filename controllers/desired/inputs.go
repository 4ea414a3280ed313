// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/internal/brokerurl"
)

// Inputs is what observe found in the cluster for one stack.
type Inputs struct {
	// ExporterImage is the task exporter's image where a broker names none.
	ExporterImage string
	// Platform is what stands behind the stack, which has its defaults already.
	Platform Platform
	// Operator is whom the NetworkPolicies of task exporters let in beside scrapers; nil if unknown.
	Operator *networkingv1.NetworkPolicyPeer
	// Values holds every key that Refs names.
	Values map[KeyRef]Value
	// Available are those Deployments of ExporterNames of which the newest Pod template is rolled out
	// and available.
	Available map[string]bool
	// Settings are those that NewSettings makes of these; nil if nobody needed them before.
	Settings *Settings
	// Versions are those of the settings that exist in the stack's namespace. In others, somebody
	// else may have made them.
	Versions []SettingsVersion
	// Workloads are those that take their settings from the stack; nil if injection is off.
	Workloads *Workloads
	// Discovered are the labels by which the cluster's only Prometheus selects, where the spec names
	// none; nil if none were discovered.
	Discovered *obsv1.DiscoveredStatus
	// MissingAPIs are the kinds that the cluster does not serve.
	MissingAPIs map[schema.GroupKind]bool
}

// Value is what is known of one key of a Secret or ConfigMap.
type Value struct {
	// Exists and KeyExists report what was found: the object, and the key in it.
	Exists, KeyExists bool
	// Unread is set if the API server did not say.
	Unread bool
	// Value of what is part of the settings, without white space around it. It reaches the Secrets
	// that obstack makes and nothing else. Other values are not kept.
	Value string
	// Unusable is why the value cannot be that of a variable; empty if it can.
	Unusable string
	// Problem is why the task exporter cannot read a broker's URL; nil if it can.
	Problem error
	Source
}

// Source is the version of a key from which an object was made.
type Source struct {
	// ResourceVersion of the Secret or ConfigMap; empty if it must be read again after a restart.
	ResourceVersion string `json:"resourceVersion,omitempty"`
	// Revision changes with the value and does not reveal it.
	Revision string `json:"revision"`
	// Digest is a hash of the value, which may be seen by those only who may see the value.
	Digest string `json:"digest"`
}

// NewValue is what the data of a Secret or ConfigMap say of a key, whose source was another before,
// or none. White space around a value is none of it: a line feed at the end comes and goes with the
// tool that made the Secret.
//
// The revision is keyed with the object's UID, which few know who may not read a Secret, but it
// stands in Events about it as well: whoever reads those can test guesses. A value that is the one
// of before keeps its revision, also in a Secret that was made anew or was empty meanwhile.
func NewValue(ref Ref, object metav1.Object, data map[string][]byte, before Source) Value {
	held, found := data[ref.Key]
	value := Value{Exists: true, KeyExists: found, Source: before}
	value.ResourceVersion = object.GetResourceVersion()
	if !found {
		return value
	}
	text := strings.TrimSpace(string(held))
	if ref.Use&UseSetting != 0 {
		if value.Unusable = unusable(text); value.Unusable == "" {
			value.Value = text
		}
	}
	if ref.Use&UseBrokerURL != 0 {
		_, value.Problem = brokerurl.Parse(text)
	}
	if digest := DigestOf(text); digest != before.Digest {
		mac := hmac.New(sha256.New, []byte(object.GetUID()))
		mac.Write([]byte(text))
		value.Digest, value.Revision = digest, hex.EncodeToString(mac.Sum(nil)[:16])
	}
	return value
}

// DataOf a Secret or ConfigMap.
func DataOf(obj client.Object) map[string][]byte {
	switch o := obj.(type) {
	case *corev1.Secret:
		return o.Data
	case *corev1.ConfigMap:
		data := make(map[string][]byte, len(o.Data))
		for key, value := range o.Data {
			data[key] = []byte(value)
		}
		return data
	default:
		return nil
	}
}

// maxVariable bounds the value of a variable, in bytes.
const maxVariable = 8192

// unusable says why a container could not start with a value, or nobody should want it to.
func unusable(value string) string {
	switch {
	case len(value) > maxVariable:
		return fmt.Sprintf("is longer than %d bytes: write a shorter one", maxVariable)
	case !utf8.ValidString(value) || strings.Contains(value, "\x00"):
		return "is no text: write it encoded, for example in base64"
	default:
		return ""
	}
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

// Of returns the source that is a key.
func (s Sources) Of(ref Ref) Source { return s[ref.source()] }

// addSources annotates a Secret with the versions of the keys that it was made from.
func addSources(secret *corev1.Secret, values map[KeyRef]Value, refs ...KeyRef) {
	sources := Sources{}
	for _, ref := range refs {
		source := values[ref].Source
		if values[ref].Problem != nil { // It must be known to the exporter that is chosen next.
			source.ResourceVersion = ""
		}
		if source.Digest != "" {
			sources[ref.source()] = source
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

// KeyRef names one key of a Secret, or of a ConfigMap, in the stack's namespace.
type KeyRef struct {
	ConfigMap bool
	Name, Key string
}

func secretKey(ref obsv1.SecretKeySelector) KeyRef { return KeyRef{Name: ref.Name, Key: ref.Key} }

// Kind is Secret or ConfigMap.
func (r KeyRef) Kind() string {
	if r.ConfigMap {
		return metadata.ConfigMap.Kind
	}
	return metadata.Secret.Kind
}

// source names the key among the sources of an object.
func (r KeyRef) source() string {
	if r.ConfigMap {
		return "configmap/" + r.Name + "/" + r.Key
	}
	return r.Name + "/" + r.Key
}

// String names the key for people.
func (r KeyRef) String() string { return fmt.Sprintf("key %s of %s %s", r.Key, r.Kind(), r.Name) }

// Ref is a key that a stack refers to.
type Ref struct {
	KeyRef
	Use Use
}

// Use is what becomes of a value: any of these, or none where nobody but the exporter looks at it.
type Use int

// The values of Use.
const (
	UseSetting   Use = 1 << iota // it is part of the settings
	UseBrokerURL                 // it is checked, and the exporter reads it
)

// Refs are the keys that a stack refers to, each once.
func Refs(stack *obsv1.ObservabilityStack) []Ref {
	var refs []Ref
	add := func(ref KeyRef, use Use) {
		i := slices.IndexFunc(refs, func(r Ref) bool { return r.KeyRef == ref })
		if i < 0 {
			i, refs = len(refs), append(refs, Ref{KeyRef: ref})
		}
		refs[i].Use |= use
	}
	for _, project := range projects(stack.Spec.Sentry) {
		if project.ref != nil {
			add(*project.ref, UseSetting)
		}
	}
	if stack.Spec.Injection != nil {
		for _, variable := range stack.Spec.Injection.Env {
			if ref := envRef(variable); ref != nil {
				add(*ref, UseSetting)
			}
		}
	}
	for _, broker := range stack.Spec.Brokers() {
		for _, key := range brokerKeys(&broker) {
			add(key.KeyRef, 0)
		}
		if ref := urlRef(&broker); ref != nil {
			add(*ref, UseBrokerURL)
			if broker.Env != "" {
				add(*ref, UseSetting)
			}
		}
	}
	return refs
}

// keyValue returns what a key holds, or the condition that says what is missing.
func keyValue(ref KeyRef, values map[KeyRef]Value, field string) (Value, *Output) {
	value, notFound := values[ref], obsv1.ReasonSecretNotFound
	if ref.ConfigMap {
		notFound = obsv1.ReasonConfigMapNotFound
	}
	var problem Output
	switch {
	case value.Unread:
		problem = unavailable(nil, obsv1.ReasonSecretUnreadable, fmt.Sprintf(
			"%s %s of %s cannot be read: obstack tries again, and its log has the details", ref.Kind(), ref.Name, field))
	case !value.Exists:
		problem = unavailable(nil, notFound, fmt.Sprintf(
			"%s %s does not exist: create it with the key %s, or change %s", ref.Kind(), ref.Name, ref.Key, field))
	case !value.KeyExists:
		problem = unavailable(nil, obsv1.ReasonKeyNotFound, fmt.Sprintf(
			"%s %s has no key %s: add it, or change %s", ref.Kind(), ref.Name, ref.Key, field))
	default:
		return value, nil
	}
	return Value{}, &problem
}
