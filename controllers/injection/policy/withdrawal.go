// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
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

// PythonPod is what became of a Pod with the bundle.
type PythonPod struct {
	// Since is when its containers could start; zero if they could not yet.
	Since time.Time
	Ready bool
	// Restarts of the container that was restarted most often, and its last end.
	Restarts int32
	Ended    *corev1.ContainerStateTerminated
}

const (
	// crashes are how many restarts show that a container cannot run, and crashedWithin is for how
	// long after its start they do.
	crashes       = 3
	crashedWithin = 5 * time.Minute
)

// PythonPodOf reads the status of a Pod. Init containers run without the bundle.
func PythonPodOf(pod *corev1.Pod) (p PythonPod) {
	for _, condition := range pod.Status.Conditions {
		if condition.Status != corev1.ConditionTrue {
			continue
		}
		switch condition.Type {
		case corev1.PodInitialized:
			p.Since = condition.LastTransitionTime.Time
		case corev1.PodReady:
			p.Ready = true
		}
	}
	if !p.containers(pod.Status.ContainerStatuses) {
		p.Since = time.Time{} // An image that cannot be pulled is no failure of what is mounted.
	}
	return p
}

// containers adds those of a Pod, and reports whether any has started.
func (p *PythonPod) containers(statuses []corev1.ContainerStatus) (started bool) {
	for i := range statuses {
		status := &statuses[i]
		started = started || status.State.Waiting == nil || status.RestartCount > 0
		ended := cmp.Or(status.State.Terminated, status.LastTerminationState.Terminated)
		if ended != nil && (p.Ended == nil || status.RestartCount > p.Restarts) {
			p.Restarts, p.Ended = status.RestartCount, ended
		}
	}
	return started
}

// Works reports whether the Pod runs with the bundle, so that this breaks none of its workload.
func (p PythonPod) Works() bool { return p.Ready && p.Restarts == 0 }

// crashed reports whether a container of the Pod was restarted too often, too soon.
func (p PythonPod) crashed() bool {
	return p.Restarts >= crashes && p.Ended != nil && p.Ended.FinishedAt.Sub(p.Since) <= crashedWithin
}

// Withdraw decides whether the bundle is to be taken off a workload, of which that many Pods
// without it are available: its Pods with it crash; or they do not become ready for as long as a
// rollout may take, and the others are. Where one works, it is not the bundle.
func Withdraw(pods []PythonPod, others int32, deadline time.Duration, now time.Time) (w Withdrawal, broken bool) {
	if slices.ContainsFunc(pods, PythonPod.Works) {
		return Withdrawal{}, false
	}
	for _, p := range pods {
		switch {
		case p.Since.IsZero():
		case p.crashed():
			w, broken = Withdrawal{Cause: causeOf(p.Ended), ExitCode: new(p.Ended.ExitCode)}, true
			return w, broken
		case others > 0 && !p.Ready && now.Sub(p.Since) >= deadline:
			w, broken = Withdrawal{Cause: CauseNotReady}, true
		}
	}
	return w, broken
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

// Suspect reports whether the candidate has the bundle and its Pods are not all ready, so that
// somebody must look at them.
func (c *Candidate) Suspect() bool {
	stamp, _ := c.Stamp()
	has := c.Python && stamp.Python != "" && c.Withdrew.Bundle != stamp.Python
	return has && !c.Release && c.Kind != KindJob && len(c.Pods) > 0 && c.Rolling()
}

// Broken decides about the candidate by its Pods with the bundle.
func (c *Candidate) Broken(pods []PythonPod, now time.Time) (Withdrawal, bool) {
	var ready int32
	for _, p := range pods {
		if p.Ready {
			ready++
		}
	}
	return Withdraw(pods, c.Status.AvailableReplicas+c.Status.NumberAvailable-ready, c.deadline(), now)
}
