// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Withdrawal is why a workload has the bundle for Python no more. It is an annotation of the
// workload, and holds for as long as bundle, images and the workload's own annotation are the same.
type Withdrawal struct {
	Bundle string `json:"bundle"`
	Images string `json:"images"`
	Choice string `json:"choice,omitempty"`
	// Cause is one of those below. What a container says of itself is not repeated.
	Cause string `json:"cause"`
	// ExitCode is that of the container that ended last; absent if none did.
	ExitCode *int32 `json:"exitCode,omitempty"`
}

// The causes of a withdrawal.
const (
	CauseExited      = "Exited"
	CauseOutOfMemory = "OutOfMemory"
	CauseCannotRun   = "CannotRun"
	CauseNotReady    = "NotReady"
)

// Withdraw decides why the bundle is to be taken off a workload, of whose other Pods that many are
// available; nil if it is not. Its Pods with it crash; or they do not become ready for as long as a
// rollout may take, and the others are. Where one works, it is not the bundle.
func Withdraw(pods []PythonPod, others int32, deadline time.Duration, now time.Time) (broken *Withdrawal) {
	for _, p := range pods {
		switch {
		case p.Works(now):
			return nil
		case p.Since.IsZero() || broken != nil && broken.ExitCode != nil:
		case p.crashed():
			broken = &Withdrawal{Cause: causeOf(p.Ended), ExitCode: new(p.Ended.ExitCode)}
		case others > 0 && !p.Ready && now.Sub(p.Since) >= deadline:
			broken = &Withdrawal{Cause: CauseNotReady}
		}
	}
	return broken
}

// causeOf an end, in words of ours.
func causeOf(ended *corev1.ContainerStateTerminated) string {
	switch ended.Reason {
	case "OOMKilled":
		return CauseOutOfMemory
	case "StartError", "ContainerCannotRun", "ContainerStatusUnknown":
		return CauseCannotRun
	default:
		return CauseExited
	}
}

// causes for people.
var causes = map[string]string{
	CauseExited: "a container exited again and again", CauseOutOfMemory: "a container was killed for its memory",
	CauseCannotRun: "a container could not be started", CauseNotReady: "Pods did not become ready",
}

// String is the cause for people.
func (w Withdrawal) String() string {
	text := causes[w.Cause]
	if w.ExitCode != nil {
		text += fmt.Sprintf(", exit code %d", *w.ExitCode)
	}
	return text
}

// Annotation is the withdrawal as a value of the annotation.
func (w Withdrawal) Annotation() string {
	encoded, _ := json.Marshal(w) // It holds strings and a number.
	return string(encoded)
}

// Withdrawal of a workload, if it holds.
func (w *Workload) Withdrawal() (withdrawal Withdrawal, holds bool) {
	value, set := w.Annotations[obsv1.AnnotationPythonWithdrawn]
	if !set || json.Unmarshal([]byte(value), &withdrawal) != nil {
		return Withdrawal{}, false
	}
	return withdrawal, causes[withdrawal.Cause] != "" && withdrawal.holds(w)
}

// holds reports whether nothing changed of a workload since. Where the annotation is gone and the
// template names no bundle, the cache keeps no images.
func (w Withdrawal) holds(of *Workload) bool {
	containers := of.PodTemplate().Spec.Containers
	unknown := len(containers) == 0 || containers[0].Image == ""
	return w.Bundle != "" && (unknown || w.Images == of.images()) && w.Choice == of.choice()
}

// WithdrawalPatch removes from a workload a withdrawal that holds no more.
func WithdrawalPatch(w *Workload) []webhook.JSONPatchOp {
	_, set := w.Annotations[obsv1.AnnotationPythonWithdrawn]
	if _, holds := w.Withdrawal(); !set || holds {
		return nil
	}
	return []webhook.JSONPatchOp{
		{Operation: "remove", Path: "/metadata/annotations/" + escape(obsv1.AnnotationPythonWithdrawn)},
	}
}

// images stands for those of the template's containers.
func (w *Workload) images() string {
	hash := sha256.New()
	for _, container := range w.PodTemplate().Spec.Containers {
		fmt.Fprintf(hash, "%q %q\n", container.Name, container.Image)
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
}

// choice is what the owner says of the bundle.
func (w *Workload) choice() string {
	sources := []map[string]string{w.PodTemplate().Metadata.Annotations, w.Annotations}
	python, _ := first(sources, obsv1.AnnotationPython)
	path := pythonPathOf(sources)
	if python+path == "" {
		return ""
	}
	return python + " " + path
}

// Break withdraws the bundle from the candidate.
func (c *Candidate) Break(withdrawal Withdrawal) {
	stamp, _ := c.Stamp()
	withdrawal.Bundle, withdrawal.Images, withdrawal.Choice = stamp.Python, c.images(), c.choice()
	c.Withdrew, c.Breaks = withdrawal, &withdrawal
}
