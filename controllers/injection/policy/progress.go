// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Candidate is a workload whose claim was granted, and its Pods; or one that carries the
// stack's stamp and asks for nothing any more.
type Candidate struct {
	*Workload
	// Want is the stamp that its template should have, whatever the attempt; a plan adds the hash.
	Want Stamp
	// Variant is what of the settings it gets, and Python reports whether it gets the bundle.
	Variant Variant
	Python  bool
	// Breaks is why the bundle is to be taken off it now; nil if it is not.
	Breaks *Withdrawal
	// Proven reports whether it was seen now to run with the bundle.
	Proven bool
	// Release reports whether the owner took the annotation away, so that no stamp is wanted.
	Release bool
	// Pods are those that carry a stamp.
	Pods []Pod
	History
}

// NewCandidate is a workload whose claim is granted.
func NewCandidate(w *Workload, claim Claim, stack *obsv1.ObservabilityStack, pods []Pod) Candidate {
	return Candidate{
		Workload: w, Want: StampFor(claim, stack, w.Name, ""), Variant: claim.Variant, Pods: pods,
		Python: claim.WantsPython(stack), History: History{Withdrew: History{}.withdrew(w)},
	}
}

// Pod is a stamped Pod.
type Pod struct {
	// Mark is the hash of the configuration that it started with; empty if the webhook was away, or
	// the settings were not there yet.
	Mark string
	// Deleting reports whether it is being deleted.
	Deleting bool
	// Project is the Sentry project that it chooses itself.
	Project string
}

// Progress is how far a candidate is.
type Progress string

// The values of Progress.
const (
	// Injected: every Pod has the current configuration.
	Injected Progress = "injected"
	// Outdated: the template does not have the wanted stamp.
	Outdated Progress = "outdated"
	// Contested: nor does it keep it, because somebody else changes it again.
	Contested Progress = "contested"
	// Rolling: it has, and Kubernetes is replacing the Pods.
	Rolling Progress = "rolling"
	// Stuck: Kubernetes is replacing the Pods and makes no progress.
	Stuck Progress = "stuck"
	// Missed: Pods started without their settings.
	Missed Progress = "missed"
	// Blocked: they did, and so did those of every retry.
	Blocked Progress = "blocked"
	// Stale: Pods run an old configuration, and it is not for Kubernetes to replace them.
	Stale Progress = "stale"
)

// Progress of the candidate. A rollout that does not change the configuration, as
// every deployment of the application is one, leaves it Injected.
func (c *Candidate) Progress(now time.Time) Progress {
	switch {
	case c.Patched:
		return Rolling
	case c.templated() && c.outdated():
		if c.Record.contested(c.Want, c.Generation, now) {
			return Contested
		}
		return Outdated
	case c.Release, c.Kind == KindCronJob:
		return Injected // What was to be done is.
	default:
		return c.podsProgress(now)
	}
}

// podsProgress is the progress of one whose template is as it should be.
func (c *Candidate) podsProgress(now time.Time) Progress {
	missed, stale, unstamped := c.pods()
	rolling := c.Rolling()
	switch {
	case missed+stale+unstamped == 0 && !c.starting():
		return Injected
	case !c.templated():
		return Stale
	case rolling && !c.stuck(now):
		return Rolling
	case missed > 0:
		if _, retry := c.Record.retryAfter(c.Want, now); !retry {
			return Blocked
		}
		return Missed
	case rolling:
		return Stuck
	default:
		return Stale
	}
}

// TakesPlace reports whether the candidate is one of the rollouts that are bounded: those that
// obstack started, while they progress.
func (c *Candidate) TakesPlace(now time.Time) bool {
	started := !c.StartedAt.IsZero() && now.Sub(c.StartedAt) < maxPlace
	return c.Patched || started && c.templated() && !c.outdated() && c.Rolling() && !c.stuck(now)
}

// templated reports whether the candidate's Pods are made from a template that obstack knows.
func (c *Candidate) templated() bool {
	_, err := KindOf(c.Kind)
	return err == nil
}

// starting reports whether the first Pods are still to be made.
func (c *Candidate) starting() bool {
	return len(c.Pods) == 0 && c.replicas() > 0 && c.Rolling()
}

// outdated compares the template with the wanted stamp. A Job keeps the
// configuration with which it started.
func (c *Candidate) outdated() bool {
	stamp, stamped := c.Stamp()
	if c.Release {
		return stamped
	}
	want := c.Want
	want.Attempt = stamp.Attempt
	if c.Kind == KindJob {
		return stamp.Stack != want.Stack
	}
	return stamp != want
}

// pods counts those that missed the webhook, those with another configuration
// than the wanted, and those that were made before the template was stamped.
func (c *Candidate) pods() (missed, stale, unstamped int) {
	for _, pod := range c.Pods {
		switch {
		case pod.Deleting:
		case pod.Mark == "":
			missed++
		case pod.Mark != c.Want.ConfigHash && c.Kind != KindJob:
			stale++
		}
	}
	// Pods that are being deleted count here, because the workload's status may still count them.
	return missed, stale, max(0, int(c.total())-len(c.Pods))
}

// total is how many Pods the workload has.
func (w *Workload) total() int32 {
	if w.Kind == KindDaemonSet {
		return w.Status.CurrentNumberScheduled
	}
	return w.Status.Replicas
}

// Rolling reports whether Kubernetes is replacing the Pods.
func (w *Workload) Rolling() bool {
	if w.held() {
		return false
	}
	status, behind := &w.Status, w.behind()
	switch w.Kind {
	case KindDeployment:
		return behind || status.UpdatedReplicas < w.replicas() ||
			status.Replicas > status.UpdatedReplicas || status.AvailableReplicas < status.UpdatedReplicas
	case KindStatefulSet:
		return behind || status.UpdatedReplicas < w.replicas()-w.partition() || status.AvailableReplicas < w.replicas()
	case KindDaemonSet:
		return behind || status.UpdatedNumberScheduled < status.DesiredNumberScheduled ||
			status.NumberAvailable < status.DesiredNumberScheduled
	default:
		return false
	}
}

// behind reports whether the workload's controller has not observed its newest generation.
func (w *Workload) behind() bool { return w.Status.ObservedGeneration < w.Generation }

// held reports whether Kubernetes does not replace the Pods, because their owner forbids it.
func (w *Workload) held() bool { return w.Spec.Paused || w.onDelete() }

// stuck reports whether the rollout made no progress for as long as it may take.
func (c *Candidate) stuck(now time.Time) bool {
	return c.is("Progressing", corev1.ConditionFalse, deadlineExceeded) ||
		!c.ProgressedAt.IsZero() && now.Sub(c.ProgressedAt) >= c.deadline()
}

// deadline is how long a rollout may go without progress. It is bounded, because what
// rolls keeps others waiting.
func (w *Workload) deadline() time.Duration {
	if w.Spec.ProgressDeadlineSeconds <= 0 {
		return defaultDeadline
	}
	return min(time.Duration(w.Spec.ProgressDeadlineSeconds)*time.Second, maxDeadline)
}

const (
	defaultDeadline = 10 * time.Minute
	maxDeadline     = time.Hour
	// maxPlace is how long a rollout takes a place, however well it progresses.
	maxPlace = time.Hour
)

func (w *Workload) replicas() int32 {
	if w.Spec.Replicas == nil {
		return 1
	}
	return *w.Spec.Replicas
}

func (w *Workload) onDelete() bool {
	return w.Spec.UpdateStrategy != nil && w.Spec.UpdateStrategy.Type == "OnDelete"
}

// partition is how many Pods of a StatefulSet keep the old template.
func (w *Workload) partition() int32 {
	if w.Spec.UpdateStrategy == nil ||
		w.Spec.UpdateStrategy.RollingUpdate == nil || w.Spec.UpdateStrategy.RollingUpdate.Partition == nil {
		return 0
	}
	return min(*w.Spec.UpdateStrategy.RollingUpdate.Partition, w.replicas())
}

// rollsPods reports whether a new stamp replaces Pods.
func (w *Workload) rollsPods() bool {
	switch w.Kind {
	case KindCronJob:
		return false
	case KindDaemonSet:
		return !w.onDelete()
	default:
		return w.replicas() > 0 && !w.onDelete() && !w.Spec.Paused
	}
}
