// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	sentrygo "github.com/getsentry/sentry-go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// sentry makes the Secret with the settings of the stack's workloads: the DSN,
// the environment and release, and the log settings.
func sentry(stack *obsv1.ObservabilityStack, in Inputs) Output {
	if !stack.Spec.HasSettings() {
		return Output{}
	}
	settings, problem := settingsSecret(stack, in)
	if problem != nil {
		// The last good settings stay: a DSN that is mistyped for a minute must not cost reports.
		problem.Hold = true
		return *problem
	}
	objects := []client.Object{settings}
	if len(settings.Data[VariableDSN]) == 0 {
		return Output{Objects: objects, Status: metav1.ConditionTrue, Reason: obsv1.ReasonDisabled, Message: sentryIsOff(stack.Spec.Sentry, settings)}
	}
	return available(objects, fmt.Sprintf("Secret %s holds the DSN and the other settings", settings.Name))
}

// settingsSecret is the Secret in the stack's namespace, or what keeps it from being made.
func settingsSecret(stack *obsv1.ObservabilityStack, in Inputs) (*corev1.Secret, *Output) {
	dsn, problem := sentryDSN(stack.Spec.Sentry, in)
	if problem != nil {
		return nil, problem
	}
	settings := &corev1.Secret{
		ObjectMeta: objectMeta(stack, componentSentry, settingsName(stack), nil),
		Type:       corev1.SecretTypeOpaque,
		Data:       settingsData(&stack.Spec, dsn),
	}
	settings.Annotations = in.Settings.annotations()
	if ref := dsnRef(stack.Spec.Sentry); ref != nil {
		addSources(settings, in, *ref)
	}
	return settings, nil
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

// NewSettingsVersion identifies the configuration that workloads should get. Decided is
// false while bad input leaves that open. What is written already with the same content
// keeps its hash, whatever became of the revision: a hash that changes restarts workloads.
func NewSettingsVersion(
	stack *obsv1.ObservabilityStack, in Inputs, written SettingsVersion,
) (version SettingsVersion, decided bool) {
	if !stack.Spec.HasSettings() {
		return SettingsVersion{}, true
	}
	dsn, problem := sentryDSN(stack.Spec.Sentry, in)
	if problem != nil {
		return SettingsVersion{}, false
	}
	version.Content = hashOf(&stack.Spec, dsn)
	if version.Content == written.Content && written.Hash != "" {
		return written, true
	}
	var revision string
	if ref := dsnRef(stack.Spec.Sentry); ref != nil {
		revision = in.Secrets[*ref].Revision
	}
	version.Hash = hashOf(&stack.Spec, revision)
	return version, true
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

// sentryIsOff says why, and where the other settings are, if there are any.
func sentryIsOff(spec *obsv1.SentrySpec, settings *corev1.Secret) string {
	message := "Sentry is off: no DSN is given"
	if ref := dsnRef(spec); ref != nil {
		message = fmt.Sprintf("Sentry is off: key %s of Secret %s is empty", ref.Key, ref.Name)
	}
	if len(settings.Data) > 0 {
		message += fmt.Sprintf("; Secret %s holds the other settings", settings.Name)
	}
	return message
}

func dsnRef(spec *obsv1.SentrySpec) *obsv1.SecretKeySelector {
	if spec == nil || spec.DSNFrom == nil {
		return nil
	}
	return &spec.DSNFrom.SecretKeyRef
}

// sentryDSN returns the DSN, empty if Sentry is off, or what is wrong with it.
func sentryDSN(spec *obsv1.SentrySpec, in Inputs) (string, *Output) {
	ref := dsnRef(spec)
	if ref == nil {
		return "", nil
	}
	value, problem := secretValue(*ref, in, "spec.sentry.dsnFrom")
	if problem != nil {
		return "", problem
	}
	dsn := strings.TrimSpace(value.Value)
	if dsn == "" {
		return "", nil
	}
	// The parser's error quotes the DSN, so it must not get into the message.
	parsed, err := sentrygo.NewDsn(dsn)
	if err != nil || !isNumber(parsed.GetProjectID()) {
		problem := unavailable(nil, obsv1.ReasonInvalidDSN, fmt.Sprintf(
			"key %s of Secret %s does not hold a Sentry DSN: write https://PUBLIC_KEY@HOST/PROJECT_NUMBER, as Sentry shows it under Client Keys",
			ref.Key, ref.Name))
		return "", &problem
	}
	return dsn, nil
}

// isNumber tells what sentry-python asks of a project ID and sentry-go does not.
func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// secretValue returns what a key holds, or the condition that says what is missing.
func secretValue(ref obsv1.SecretKeySelector, in Inputs, field string) (SecretValue, *Output) {
	value := in.Secrets[ref]
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

// VariableDSN is what Sentry's SDKs read the DSN from.
const VariableDSN = "SENTRY_DSN"

// SettingsLabels choose the settings Secrets in the stacks' own namespaces.
var SettingsLabels = client.MatchingLabels{obsv1.LabelManagedBy: obsv1.ManagedBy, obsv1.LabelComponent: componentSentry}

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
