// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/apply"
	"obstack.dev/obstack/controllers/desired"
)

// failure turns an error of the engine into a condition. What only a person can
// correct is not retried as an error; it is looked at again later.
func failure(err error) result {
	failed := result{Output: desired.Output{Status: metav1.ConditionFalse, Hold: true}}
	var reasons, messages []string
	for _, one := range split(err) {
		reason, message, retry := explain(one)
		reasons = append(reasons, reason)
		messages = append(messages, message)
		if retry {
			failed.retry = errors.Join(failed.retry, one)
		} else {
			failed.recheck = recheckAfter
		}
	}
	slices.Sort(messages)
	failed.Reason = reasons[0]
	failed.Message = strings.Join(slices.Compact(messages), "; ")
	return failed
}

// pruneFailure is the result of a pass that could not remove what is wanted no
// more. It belongs to no component and shows in Ready alone.
func pruneFailure(err error) result {
	failed := failure(err)
	if failed.retry != nil {
		failed.Reason = obsv1.ReasonApplyFailed
		failed.Message = "not every object that is wanted no more could be deleted: " +
			"obstack tries again, and its log has the details"
	}
	return failed
}

// split undoes errors.Join.
func split(err error) []error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}

// explain says why an object could not be written, and whether to try again at
// once. Messages must not vary between two tries, so they hold no error text of
// the network, which names ports.
func explain(err error) (reason, message string, retry bool) {
	var taken *apply.NameTakenError
	switch {
	case errors.As(err, &taken):
		return obsv1.ReasonNameConflict, fmt.Sprintf(
			"%s %s exists and does not belong to this stack: delete or rename it, or give the stack another name", taken.Kind,
			taken.Name), false
	case meta.IsNoMatchError(err):
		return obsv1.ReasonMissingAPI, "the cluster does not serve a kind that this part needs: install its " +
			"CustomResourceDefinition", true
	case apply.Rejected(err):
		return obsv1.ReasonRejected, "the API server refuses an object: " + err.Error(), false
	default:
		cause := string(apierrors.ReasonForError(err))
		if cause == "" {
			cause = "no response"
		}
		return obsv1.ReasonApplyFailed, fmt.Sprintf(
			"the API server did not take every object (%s): obstack tries again, and its log has the details", cause), true
	}
}

// suspended is the condition of a part of a suspended stack.
func suspended(out desired.Output, changes []apply.Change) desired.Output {
	switch {
	case len(changes) > 0:
		var would []string
		for _, change := range changes {
			would = append(would, change.String())
		}
		out.Status, out.Reason = metav1.ConditionFalse, obsv1.ReasonDrifted
		out.Message = "suspended; it would " + strings.Join(would, ", ") + ": set spec.suspend to false to let it"
	case out.Status == metav1.ConditionTrue:
		out.Reason = obsv1.ReasonSuspended
		out.Message = "suspended; nothing differs from the spec"
	}
	return out
}
