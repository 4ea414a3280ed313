// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

const (
	// maxMessage bounds what is said of one part, in bytes, as the definition does.
	maxMessage = 512
	// maxNamed bounds how many parts a message is about.
	maxNamed = 4
)

func cut(message string) string {
	return strings.ToValidUTF8(message[:min(len(message), maxMessage)], "")
}

// Condition adds to what a component says of its objects what is known of its parts.
func Condition(out desired.Output, parts []obsv1.PartStatus) desired.Output {
	if out.Status != metav1.ConditionTrue || len(parts) == 0 {
		return out
	}
	if parts[0].Kind == obsv1.PartPython {
		return pythonCondition(out, parts[0])
	}
	return conditionOfAll(out, parts)
}

func conditionOfAll(out desired.Output, parts []obsv1.PartStatus) desired.Output {
	level := obsv1.LevelSeen
	var wrong []obsv1.PartStatus
	for _, part := range parts {
		if part.State == metav1.ConditionFalse {
			wrong = append(wrong, part)
		}
		if part.Level == obsv1.LevelWritten || part.Level == obsv1.LevelSelected && level == obsv1.LevelSeen {
			level = part.Level
		}
	}
	switch {
	case len(wrong) > 0:
		out.Status, out.Reason = metav1.ConditionFalse, wrong[0].Reason
		out.Message = list(wrong, func(part obsv1.PartStatus) string { return part.Message })
	case out.Reason != obsv1.ReasonAvailable:
	case level == obsv1.LevelSeen:
		out.Reason = obsv1.ReasonSeen
		out.Message += "; seen to work"
	case level == obsv1.LevelSelected:
		out.Reason = obsv1.ReasonSelected
		out.Message += "; selected, and not seen to work yet"
	}
	return out
}

// Verified is the condition of that name; the zero Output for a stack without parts. Ready is
// whether the stack's other conditions are True.
func Verified(parts []obsv1.PartStatus, gaps []Gap, ready bool) desired.Output {
	byState := map[metav1.ConditionStatus][]obsv1.PartStatus{}
	for _, part := range parts {
		byState[part.State] = append(byState[part.State], part)
	}
	wrong, unknown := byState[metav1.ConditionFalse], byState[metav1.ConditionUnknown]
	switch {
	case len(parts) == 0:
		return desired.Output{}
	case len(wrong) > 0:
		return desired.Output{Status: metav1.ConditionFalse, Reason: wrong[0].Reason, Message: fmt.Sprintf(
			"%d of %d parts do not work: %s", len(wrong), len(parts), list(wrong, nameAndReason))}
	case len(gaps) > 0:
		return desired.Output{Status: metav1.ConditionUnknown, Reason: gaps[0].Reason, Message: gaps[0].Message}
	case len(unknown) > 0:
		return desired.Output{Status: metav1.ConditionUnknown, Reason: unknown[0].Reason, Message: fmt.Sprintf(
			"%d of %d parts were seen to work; not yet: %s", len(byState[metav1.ConditionTrue]), len(parts),
			list(unknown, whyUnknown))}
	case !ready:
		return desired.Output{Status: metav1.ConditionUnknown, Reason: obsv1.ReasonNotReady,
			Message: "every part was seen to work, and the stack is not ready: Ready says why"}
	default:
		return desired.Output{Status: metav1.ConditionTrue, Reason: obsv1.ReasonSeen,
			Message: fmt.Sprintf("%d of %d parts were seen to work", len(parts), len(parts))}
	}
}

func nameAndReason(part obsv1.PartStatus) string {
	return fmt.Sprintf("%s %s (%s)", part.Kind, part.Name, part.Reason)
}

// whyUnknown says once for all parts of a kind what is missing.
func whyUnknown(part obsv1.PartStatus) string {
	if part.Message == "" {
		return nameAndReason(part)
	}
	return fmt.Sprintf("%s (%s: %s)", part.Kind, part.Reason, part.Message)
}

// list says something of each part, each thing once.
func list(parts []obsv1.PartStatus, say func(obsv1.PartStatus) string) string {
	var said []string
	for _, part := range parts {
		if text := say(part); !slices.Contains(said, text) {
			said = append(said, text)
		}
	}
	if more := len(said) - maxNamed; more > 0 {
		said = append(said[:maxNamed], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(said, "; ")
}
