// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
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
	spec := &stack.Spec
	if spec.Sentry == nil && spec.Logging == nil && spec.Environment == "" {
		return Output{}
	}
	dsn, problem := sentryDSN(spec.Sentry, in)
	if problem != nil {
		// The last good settings stay: a DSN that is mistyped for a minute must not cost reports.
		problem.Hold = true
		return *problem
	}
	settings := &corev1.Secret{
		ObjectMeta: objectMeta(stack, componentSentry, settingsName(stack), nil),
		Type:       corev1.SecretTypeOpaque,
		Data:       settingsData(spec, dsn),
	}
	objects := []client.Object{settings}
	if dsn == "" {
		return Output{Objects: objects, Status: metav1.ConditionTrue, Reason: obsv1.ReasonDisabled, Message: sentryIsOff(spec.Sentry, settings)}
	}
	return available(objects, fmt.Sprintf("Secret %s holds the DSN and the other settings", settings.Name))
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
	set("SENTRY_DSN", dsn)
	if spec.Sentry != nil {
		set("SENTRY_TRACES_SAMPLE_RATE", spec.Sentry.TracesSampleRate)
		set("SENTRY_RELEASE", spec.Sentry.Release)
	}
	if spec.Logging != nil {
		set("LOG_LEVEL", spec.Logging.Level)
		set("LOG_FORMAT", spec.Logging.Format)
	}
	return data
}
