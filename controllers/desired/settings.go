// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// settings makes the Secret with what the stack's workloads get: the DSN, the environment and
// release, and how to log.
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
	secret := settingsSecret(stack, made, in)
	out := available([]client.Object{secret},
		fmt.Sprintf("Secret %s holds %s", secret.Name, count(len(secret.Data), "variable")))
	if stack.Spec.Logging != nil {
		out.Covered = "logging"
	}
	return out
}

// settingsSecret is the Secret in the stack's namespace.
func settingsSecret(stack *obsv1.ObservabilityStack, made *Settings, in Inputs) *corev1.Secret {
	secret := &corev1.Secret{
		ObjectMeta: objectMeta(stack, componentSettings, settingsName(stack), nil),
		Type:       corev1.SecretTypeOpaque,
		Data:       settingsData(&stack.Spec, made.dsn),
	}
	secret.Annotations = in.SettingsVersion.annotations()
	if ref := dsnRef(stack.Spec.Sentry); ref != nil {
		addSources(secret, in, *ref)
	}
	return secret
}

// Settings are what the workloads of a stack get. They are made once a pass.
type Settings struct {
	// dsn is valid, and empty if Sentry is off.
	dsn string
	// problem is what is wrong with the DSN. What was written before stays: a DSN that is
	// mistyped for a minute must not cost reports.
	problem *Output
	// version that they have where nothing is written yet.
	version SettingsVersion
}

// NewSettings makes the settings of a stack from the Secrets that it refers to.
func NewSettings(stack *obsv1.ObservabilityStack, secrets map[obsv1.SecretKeySelector]SecretValue) *Settings {
	s := &Settings{}
	if s.dsn, s.problem = sentryDSN(stack.Spec.Sentry, secrets); s.problem != nil {
		s.problem.Hold = true
		return s
	}
	if !stack.Spec.HasSettings() {
		return s
	}
	var revision string
	if ref := dsnRef(stack.Spec.Sentry); ref != nil {
		revision = secrets[*ref].Revision
	}
	s.version = SettingsVersion{Hash: hashOf(&stack.Spec, revision), Content: hashOf(&stack.Spec, s.dsn)}
	return s
}

// settings of a stack, which are made only once where Inputs has them.
func (in Inputs) settings(stack *obsv1.ObservabilityStack) *Settings {
	if in.Settings != nil {
		return in.Settings
	}
	return NewSettings(stack, in.Secrets)
}

// Version identifies the configuration that workloads should get. Decided is false while bad
// input leaves that open. What is written already with the same content keeps its hash,
// whatever became of the revision: a hash that changes restarts workloads.
func (s *Settings) Version(written SettingsVersion) (version SettingsVersion, decided bool) {
	if s.version.Content != "" && s.version.Content == written.Content && written.Hash != "" {
		return written, true
	}
	return s.version, s.problem == nil
}

// SettingsVersion identifies a configuration of workloads.
type SettingsVersion struct {
	// Hash is what Pod templates are stamped with. It changes with the configuration and,
	// because it is made of the revision of the DSN instead of the DSN, does not reveal it.
	// It is empty if there is nothing to give.
	Hash string
	// Content is a hash of the settings themselves. It is for those who may read the
	// Secret, and says of two versions whether they hold the same.
	Content string
}

// annotations by which the settings Secret shows its version.
func (v SettingsVersion) annotations() map[string]string {
	if v.Content == "" {
		return nil
	}
	return map[string]string{obsv1.StampConfigHash: v.Hash, obsv1.AnnotationContent: v.Content}
}

// SettingsVersionOf reads the annotations of a settings Secret.
func SettingsVersionOf(annotations map[string]string) SettingsVersion {
	return SettingsVersion{Hash: annotations[obsv1.StampConfigHash], Content: annotations[obsv1.AnnotationContent]}
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

// SettingsLabels choose the settings Secrets in the stacks' own namespaces.
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
