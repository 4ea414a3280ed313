// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"strings"

	sentrygo "github.com/getsentry/sentry-go"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// sentry reports whether the DSN that is asked for can be used. It is one of the settings.
func sentry(stack *obsv1.ObservabilityStack, in Inputs) Output {
	ref := dsnRef(stack.Spec.Sentry)
	if ref == nil {
		return Output{}
	}
	made := in.settings(stack)
	if made.problem != nil {
		return *made.problem
	}
	if made.dsn == "" {
		return Output{
			Status: metav1.ConditionTrue, Reason: obsv1.ReasonDisabled,
			Message: fmt.Sprintf("Sentry is off: key %s of Secret %s is empty", ref.Key, ref.Name),
		}
	}
	out := available(nil, fmt.Sprintf("the DSN of Secret %s is among the settings", ref.Name))
	out.Covered = "sentry"
	return out
}

func dsnRef(spec *obsv1.SentrySpec) *obsv1.SecretKeySelector {
	if spec == nil || spec.DSNFrom == nil {
		return nil
	}
	return &spec.DSNFrom.SecretKeyRef
}

// sentryDSN returns the DSN, empty if Sentry is off, or what is wrong with it.
func sentryDSN(spec *obsv1.SentrySpec, secrets map[obsv1.SecretKeySelector]SecretValue) (string, *Output) {
	ref := dsnRef(spec)
	if ref == nil {
		return "", nil
	}
	value, problem := secretValue(*ref, secrets, "spec.sentry.dsnFrom")
	if problem != nil {
		return "", problem
	}
	dsn := value.Value
	if dsn == "" {
		return "", nil
	}
	// The parser's error quotes the DSN, so it must not get into the message.
	parsed, err := sentrygo.NewDsn(dsn)
	if err != nil || !isNumber(parsed.GetProjectID()) {
		problem := unavailable(nil, obsv1.ReasonInvalidDSN, fmt.Sprintf(
			"key %s of Secret %s does not hold a Sentry DSN: "+
				"write https://PUBLIC_KEY@HOST/PROJECT_NUMBER, as Sentry shows it under Client Keys",
			ref.Key, ref.Name))
		return "", &problem
	}
	return dsn, nil
}

// isNumber is what sentry-python asks of a project ID and sentry-go does not.
func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
