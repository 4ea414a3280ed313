// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// secret is the version in a namespace. It has no owner, and no label by which a GitOps tool
// takes it for its own; the annotations ask Argo CD and Flux to leave it alone in any case.
func (s *Settings) secret(namespace string, v *variant) *corev1.Secret {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: s.name(v),
			Labels: map[string]string{
				obsv1.LabelManagedBy: obsv1.ManagedBy, obsv1.LabelComponent: componentSettings,
				obsv1.LabelStack: s.stack.Name, obsv1.LabelStackNamespace: s.stack.Namespace, obsv1.StampVersion: v.hash,
			},
			Annotations: map[string]string{
				obsv1.AnnotationContent:              v.content,
				"argocd.argoproj.io/compare-options": "IgnoreExtraneous",
				"argocd.argoproj.io/sync-options":    "Prune=false",
				"kustomize.toolkit.fluxcd.io/prune":  "disabled",
			},
		},
		Immutable: new(true), Type: corev1.SecretTypeOpaque, Data: v.data,
	}
	if v.env {
		secret.Labels[obsv1.LabelEnv] = "true"
	}
	if namespace == s.stack.Namespace {
		addSources(secret, s.values, v.refs...)
	}
	return secret
}

// SettingsVersion is a version of the settings that exists in the namespace of their stack.
type SettingsVersion struct {
	// Hash is what Pod templates are stamped with.
	Hash string
	// Content is a hash of the settings themselves. It is for those who may read the
	// Secret, and says of two versions whether they hold the same.
	Content string
}

// hashOf variables, or of what stands for them.
func hashOf(spec *obsv1.ObservabilityStackSpec, variables map[string][]byte) string {
	sum := sha256.New()
	hashed := maps.Clone(variables)
	if spec.Sentry.ReleasesFromImage() {
		hashed[obsv1.VariableRelease] = []byte(obsv1.ReleaseFromImage)
	}
	for _, name := range slices.Sorted(maps.Keys(hashed)) {
		fmt.Fprintf(sum, "%s=%q\n", name, hashed[name])
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

func addVariables(data map[string][]byte, variables map[string]string) {
	for name, value := range variables {
		data[name] = []byte(value)
	}
}

// VariableDSN is what Sentry's SDKs read the DSN from.
const VariableDSN = "SENTRY_DSN"

// SettingsLabels choose the versions of settings.
var SettingsLabels = client.MatchingLabels{
	obsv1.LabelManagedBy: obsv1.ManagedBy, obsv1.LabelComponent: componentSettings,
}

// settingsData are the variables that workloads get.
func settingsData(spec *obsv1.ObservabilityStackSpec, dsn string) map[string][]byte {
	data := map[string][]byte{}
	set := func(name, value string) {
		if value != "" {
			data[name] = []byte(value)
		}
	}
	set("ENVIRONMENT", spec.Environment)
	set("SENTRY_ENVIRONMENT", spec.Environment)
	set(VariableDSN, dsn)
	if spec.Sentry != nil {
		set("SENTRY_TRACES_SAMPLE_RATE", spec.Sentry.TracesSampleRate)
		if !spec.Sentry.ReleasesFromImage() { // else the webhook sets it for each container
			set(obsv1.VariableRelease, spec.Sentry.Release)
		}
	}
	if spec.Logging != nil {
		set("LOG_LEVEL", spec.Logging.Level)
		set("LOG_FORMAT", spec.Logging.Format)
	}
	for name, value := range pythonData(spec.Python) {
		set(name, value)
	}
	return data
}

// pythonData are the switches of the bundle for Python, and what it is to filter.
func pythonData(spec *obsv1.PythonSpec) map[string]string {
	if spec == nil {
		return nil
	}
	names := func(all []obsv1.ScrubName) string {
		var words []string
		for _, name := range all {
			words = append(words, string(name))
		}
		return strings.Join(words, ",")
	}
	return map[string]string{
		"OBSTACK_SENTRY":  onOff(spec.Sentry != obsv1.PythonDisabled),
		"OBSTACK_LOGGING": onOff(spec.Logging != obsv1.PythonDisabled),
		"OBSTACK_METRICS": onOff(spec.MetricsPort() > 0), "OBSTACK_CELERY": onOff(spec.SendsEvents()),
		"OBSTACK_SCRUB_HEADERS": names(spec.Scrub.Headers), "OBSTACK_SCRUB_FIELDS": names(spec.Scrub.Fields),
	}
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
