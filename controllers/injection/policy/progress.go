// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Candidate is a workload whose claim was granted, and its Pods.
type Candidate struct {
	*Workload
	// Want is the stamp that its template should have, whatever the attempt; a plan adds the hash.
	Want Stamp
	// Pods are those that carry a stamp.
	Pods []Pod
	// Patched reports whether the stamp was written and the cache does not show it yet.
	Patched bool
	// RetryAfter is how long to wait before injection is retried for Pods that missed the webhook.
	RetryAfter time.Duration
}

// Pod is a stamped Pod.
type Pod struct {
	// Mark is the hash of the configuration that it started with; empty if the
	// webhook was away.
	Mark string
	// Deleting reports whether it is being deleted.
	Deleting bool
}

// Progress is how far a candidate is.
type Progress string

// The values of Progress.
const (
	// Injected: every Pod has the current configuration.
	Injected Progress = "injected"
	// Outdated: the template does not have the wanted stamp.
	Outdated Progress = "outdated"
	// Rolling: it has, and Kubernetes is replacing the Pods.
	Rolling Progress = "rolling"
	// Missed: Pods started while the webhook was away.
	Missed Progress = "missed"
	// Stale: Pods run an old configuration, and it is not for Kubernetes to replace them.
	Stale Progress = "stale"
)

// Progress of the candidate. A rollout that does not change the configuration, as
// every deployment of the application is one, leaves it Injected.
func (c *Candidate) Progress() Progress {
	missed, stale, unstamped := c.pods()
	switch {
	case c.Patched:
		return Rolling
	case c.Kind != KindPod && c.outdated():
		return Outdated
	case c.Kind == KindCronJob, missed+stale+unstamped == 0 && !c.starting():
		return Injected
	case c.Kind == KindPod:
		return Stale
	case c.rolling():
		return Rolling
	case missed > 0:
		return Missed
	default:
		return Stale
	}
}

// starting reports whether the first Pods are still to be made.
func (c *Candidate) starting() bool {
	return len(c.Pods) == 0 && c.replicas() > 0 && c.rolling()
}

// outdated compares the template with the wanted stamp. A Job keeps the
// configuration with which it started.
func (c *Candidate) outdated() bool {
	stamp, _ := c.Stamp()
	want := c.Want
	want.Attempt = stamp.Attempt
	if c.Kind == KindJob {
		want.ConfigHash, want.Containers, want.Workload = stamp.ConfigHash, stamp.Containers, stamp.Workload
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

// rolling reports whether Kubernetes is replacing the Pods and will be done with it.
func (w *Workload) rolling() bool {
	if w.held() {
		return false
	}
	status := &w.Status
	behind := status.ObservedGeneration < w.Generation
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

// held reports whether Kubernetes does not replace the Pods: its owner forbids it, or it gave up.
func (w *Workload) held() bool {
	return w.Spec.Paused || w.onDelete() || w.is("Progressing", corev1.ConditionFalse, deadlineExceeded)
}

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
