// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// settings reports on what the stack's workloads get: the DSN, the environment and release, and
// how to log. Their Secrets are no children of the stack, because workloads name them after it is
// gone as well: see Settings.Secrets.
func settings(stack *obsv1.ObservabilityStack, in Inputs) Output {
	if !stack.Spec.HasSettings() {
		return Output{}
	}
	made := in.settings(stack)
	if made.problem != nil {
		out := unavailable(nil, obsv1.ReasonWaitingForSentry,
			"the settings wait for SentryReady: see its message; their Secret stays as it is")
		out.Hold = true
		return out
	}
	out := available(nil, fmt.Sprintf("Secret %s holds %s", made.name(), count(len(made.data), "variable")))
	if n := made.kept(in.Versions); n > maxVersions {
		why := "which are kept while Pod templates or Pods name them: restart workloads that run an old one, and see " +
			"which do with kubectl get pods -L " + obsv1.StampVersion
		if in.Workloads == nil {
			why = "and with injection off obstack deletes none: delete those that nothing of yours names"
		}
		out = unavailable(nil, obsv1.ReasonTooManyVersions,
			fmt.Sprintf("namespace %s has %d versions of the settings, %s", stack.Namespace, n, why))
	}
	if stack.Spec.Logging != nil {
		out.Covered = "logging"
	}
	return out
}

// maxVersions of a stack's settings in a namespace are nothing to report.
const maxVersions = 20

// Settings are what the workloads of a stack get. They are made once a pass.
type Settings struct {
	stack   *obsv1.ObservabilityStack
	secrets map[obsv1.SecretKeySelector]SecretValue
	// problem is what is wrong with the DSN. What was written before stays: a DSN that is
	// mistyped for a minute must not cost reports.
	problem *Output
	// dsn is valid, and empty if Sentry is off.
	dsn  string
	data map[string][]byte
	// content is a hash of the data.
	content string
	// hash names the version.
	hash string
}

// NewSettings makes the settings of a stack from the Secrets that it refers to. Of the versions
// that exist, the first one with the same content keeps its hash, whatever became of the
// revision of the DSN: a hash that changes restarts workloads.
func NewSettings(stack *obsv1.ObservabilityStack, secrets map[obsv1.SecretKeySelector]SecretValue,
	versions []SettingsVersion) *Settings {
	s := &Settings{stack: stack, secrets: secrets}
	if s.dsn, s.problem = sentryDSN(stack.Spec.Sentry, secrets); s.problem != nil {
		s.problem.Hold = true
		s.hash = stack.Status.ConfigHash // The last good settings stay.
		return s
	}
	if !stack.Spec.HasSettings() {
		return s
	}
	var revision string
	if ref := dsnRef(stack.Spec.Sentry); ref != nil {
		revision = secrets[*ref].Revision
	}
	s.data = settingsData(&stack.Spec, s.dsn)
	s.hash, s.content = hashOf(&stack.Spec, revision), hashOf(&stack.Spec, s.dsn)
	for _, version := range versions {
		if version.Content == s.content {
			s.hash = version.Hash
			break
		}
	}
	return s
}

// settings of a stack, which are made only once where Inputs has them.
func (in Inputs) settings(stack *obsv1.ObservabilityStack) *Settings {
	if in.Settings != nil {
		return in.Settings
	}
	return NewSettings(stack, in.Secrets, in.Versions)
}

// Hash names the version that workloads should have. It changes with the settings and, because
// it is made of the revision of the DSN instead of the DSN, does not reveal it. It is empty if
// there is nothing to give.
func (s *Settings) Hash() string { return s.hash }

// Undecided reports whether bad input leaves open what the settings are.
func (s *Settings) Undecided() bool { return s.problem != nil }

// Held reports whether every version stays, because bad input leaves open what the settings are,
// or who may have them.
func (s *Settings) Held() bool {
	return s.problem != nil || invalidSelector(s.stack.Spec.Injection) != nil
}

// Secrets are the version in the stack's own namespace, and its copies in others. While bad
// input leaves the settings open, there are none to write.
func (s *Settings) Secrets(namespaces []string) []*corev1.Secret {
	if s.data == nil {
		return nil
	}
	own := s.secret(s.stack.Namespace)
	if ref := dsnRef(s.stack.Spec.Sentry); ref != nil {
		addSources(own, s.secrets, *ref)
	}
	all := []*corev1.Secret{own}
	for _, namespace := range namespaces {
		if namespace != s.stack.Namespace {
			all = append(all, s.secret(namespace))
		}
	}
	return all
}

func (s *Settings) name() string { return obsv1.SettingsName(s.stack.Namespace, s.stack.Name, s.hash) }

// secret is the version in a namespace. It has no owner, and no label by which a GitOps tool
// takes it for its own; the annotations ask Argo CD and Flux to leave it alone in any case.
func (s *Settings) secret(namespace string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: s.name(),
			Labels: map[string]string{
				obsv1.LabelManagedBy: obsv1.ManagedBy, obsv1.LabelComponent: componentSettings,
				obsv1.LabelStack: s.stack.Name, obsv1.LabelStackNamespace: s.stack.Namespace, obsv1.StampVersion: s.hash,
			},
			Annotations: map[string]string{
				obsv1.AnnotationContent:              s.content,
				"argocd.argoproj.io/compare-options": "IgnoreExtraneous",
				"argocd.argoproj.io/sync-options":    "Prune=false",
				"kustomize.toolkit.fluxcd.io/prune":  "disabled",
			},
		},
		Immutable: new(true), Type: corev1.SecretTypeOpaque, Data: s.data,
	}
}

// kept counts the versions in the stack's own namespace, for which its owner can do something.
func (s *Settings) kept(versions []SettingsVersion) (n int) {
	for _, version := range versions {
		if version.Namespace == s.stack.Namespace {
			n++
		}
	}
	return n
}

// SettingsVersion is a version of the settings that exists in a namespace.
type SettingsVersion struct {
	Namespace string
	// Hash is what Pod templates are stamped with.
	Hash string
	// Content is a hash of the settings themselves. It is for those who may read the
	// Secret, and says of two versions whether they hold the same.
	Content string
}

// hashOf the settings, with the DSN or what stands for it.
func hashOf(spec *obsv1.ObservabilityStackSpec, dsn string) string {
	data := settingsData(spec, dsn)
	if spec.Sentry.ReleasesFromImage() {
		data[obsv1.VariableRelease] = []byte(obsv1.ReleaseFromImage)
	}
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(data)) {
		fmt.Fprintf(sum, "%s=%q\n", name, data[name])
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
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
	return data
}
