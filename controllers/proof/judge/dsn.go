// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"cmp"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// DSN is what came of asking Sentry whether it takes what is sent to a DSN.
type DSN int

// What can come of it. The zero DSN was not asked yet.
const (
	// DSNOff is an empty DSN: Sentry is off.
	DSNOff DSN = iota + 1
	// DSNAccepted was accepted twice.
	DSNAccepted
	// DSNRejected was refused twice.
	DSNRejected
	// DSNOfOtherProject was refused twice, because of the project.
	DSNOfOtherProject
	// DSNLimited is valid, and events are refused because there were too many.
	DSNLimited
	// DSNNotAllowed is at a host that nobody allows to be asked.
	DSNNotAllowed
	// DSNUnreachable got no response, or none as Sentry gives them.
	DSNUnreachable
)

// dsnFindings are what each outcome means. No message says anything of the DSN itself.
var dsnFindings = map[DSN]struct {
	state           metav1.ConditionStatus
	reason, message string
}{
	DSNOff:      {metav1.ConditionTrue, obsv1.ReasonDisabled, ""},
	DSNAccepted: {metav1.ConditionTrue, obsv1.ReasonSeen, ""},
	DSNLimited: {metav1.ConditionTrue, obsv1.ReasonRateLimited, "Sentry knows the key of %s and refuses events for a " +
		"while, because there are too many: see its quotas and the key's rate limit"},
	DSNRejected: {metav1.ConditionFalse, obsv1.ReasonKeyRejected, "Sentry rejects the key of %s: it is unknown or " +
		"disabled, or belongs to another project or region; copy the DSN again from Settings, Projects, Client Keys"},
	DSNOfOtherProject: {metav1.ConditionFalse, obsv1.ReasonProjectMismatch, "the key of %s is not one of the project " +
		"at its end: copy the DSN again from Settings, Projects, Client Keys"},
	DSNNotAllowed: {metav1.ConditionUnknown, obsv1.ReasonHostNotAllowed, "%s is at a host that obstack may not ask: " +
		"whoever runs it can name the host in sentry.url of the ObservabilityPlatform or in --sentry-hosts"},
	DSNUnreachable: {metav1.ConditionUnknown, obsv1.ReasonUnreachable, "obstack asked and did not get Sentry's response " +
		"to %s; workloads may reach it all the same"},
}

// DSNs judges the Sentry projects of a stack by what came of asking for them.
func DSNs(stack *obsv1.ObservabilityStack, asked map[string]DSN) []Finding {
	var findings []Finding
	for _, part := range Parts(stack) {
		meaning, known := dsnFindings[asked[part.Name]]
		if part.Kind != obsv1.PartDSN || !known {
			continue
		}
		findings = append(findings, Finding{
			Part: part, Level: obsv1.LevelSeen, State: meaning.state, Reason: meaning.reason,
			Message: asked[part.Name].Message("DSN " + part.Name),
		})
	}
	return findings
}

// Message says what is wrong with a DSN that is called so; empty if nothing is.
func (d DSN) Message(name string) string {
	if format := dsnFindings[d].message; format != "" {
		return fmt.Sprintf(format, name)
	}
	return ""
}

// DSNPart is the name of the part that a Sentry project is; the default has none of its own.
func DSNPart(project string) string { return cmp.Or(project, defaultDSN) }

// DSNBefore is what a stack's status says of a DSN.
func DSNBefore(stack *obsv1.ObservabilityStack, name string) DSN {
	for _, part := range stack.Status.Parts {
		for outcome, meaning := range dsnFindings {
			if part.Kind == obsv1.PartDSN && part.Name == name && part.State == meaning.state && part.Reason == meaning.reason {
				return outcome
			}
		}
	}
	return 0
}
