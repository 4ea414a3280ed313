// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Candidate is a workload whose claim was granted, and its Pods.
type Candidate struct {
	*Workload
	// Want is the stamp that its template should have, whatever the attempt.
	Want Stamp
	// Pods are those that carry a stamp.
	Pods []Pod
	// Started tells that the stamp was written and the cache does not show it yet.
	Started bool
	// MayHeal tells that the time has come to roll it for Pods that missed the webhook.
	MayHeal bool
}

// Pod is what a stamped Pod tells.
type Pod struct {
	// Mark is the hash of the configuration that it started with; empty if the
	// webhook was away.
	Mark string
	// Leaving tells that it is being deleted.
	Leaving bool
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
	case c.Started:
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

// starting tells that the first Pods are still to be made.
func (c *Candidate) starting() bool {
	return len(c.Pods) == 0 && c.replicas() > 0 && c.rolling()
}

// KindPod is the kind of a Pod that no controller made.
const KindPod = "Pod"

// outdated compares the template with the wanted stamp. A Job keeps the
// configuration with which it started.
func (c *Candidate) outdated() bool {
	stamp, _ := c.Stamp()
	want := c.Want
	want.Attempt = stamp.Attempt
	if c.Kind == KindJob {
		want.ConfigHash, want.Containers = stamp.ConfigHash, stamp.Containers
	}
	return stamp != want
}

// pods counts those that missed the webhook, those with another configuration
// than the wanted, and those that were made before the template was stamped.
func (c *Candidate) pods() (missed, stale, unstamped int) {
	for _, pod := range c.Pods {
		switch {
		case pod.Leaving:
		case pod.Mark == "":
			missed++
		case pod.Mark != c.Want.ConfigHash && c.Kind != KindJob:
			stale++
		}
	}
	// Leaving Pods count here, because the workload's status may still count them.
	return missed, stale, max(0, int(c.total())-len(c.Pods))
}

// total is how many Pods the workload has.
func (w *Workload) total() int32 {
	if w.Kind == KindDaemonSet {
		return w.Status.CurrentNumberScheduled
	}
	return w.Status.Replicas
}

// rolling tells whether Kubernetes is replacing the Pods and will be done with it.
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

// held tells that Kubernetes does not replace the Pods: it was told not to, or gave up.
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
	if w.Spec.UpdateStrategy == nil || w.Spec.UpdateStrategy.RollingUpdate == nil || w.Spec.UpdateStrategy.RollingUpdate.Partition == nil {
		return 0
	}
	return min(*w.Spec.UpdateStrategy.RollingUpdate.Partition, w.replicas())
}

// rollsPods tells whether a new stamp replaces Pods.
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

// Order is a stamp to write.
type Order struct {
	*Workload
	Stamp Stamp
}

// Plan is what to do about the candidates of one stack.
type Plan struct {
	// Orders are in the order of writing.
	Orders []Order
	// Status counts the candidates.
	Status obsv1.WorkloadsStatus
	// By lists the candidates, as "Kind namespace/name" and sorted, by progress.
	By map[Progress][]string
}

// Make a plan: stamp what is outdated and what has Pods that missed the webhook,
// so that no more than the allowed number roll at a time.
func Make(candidates []Candidate, rollout obsv1.RolloutSpec) Plan {
	slices.SortFunc(candidates, func(a, b Candidate) int { return strings.Compare(a.String(), b.String()) })
	plan := Plan{By: map[Progress][]string{}}
	room := int(cmp.Or(rollout.MaxConcurrent, defaultMaxConcurrent))
	for i := range candidates {
		if c := &candidates[i]; c.Started || !c.outdated() && c.rolling() {
			room--
		}
	}
	for i := range candidates {
		c := &candidates[i]
		progress := c.Progress()
		plan.By[progress] = append(plan.By[progress], c.String())
		plan.count(progress)
		if !c.wants(progress) {
			continue
		}
		if c.rollsPods() {
			if rollout.Policy == obsv1.RolloutManual || room <= 0 {
				continue
			}
			room--
		}
		plan.Orders = append(plan.Orders, c.order(progress))
	}
	return plan
}

// defaultMaxConcurrent is spec.injection.rollout.maxConcurrent where it is absent.
const defaultMaxConcurrent = 5

func (c *Candidate) wants(progress Progress) bool {
	if c.Kind == KindJob || c.Kind == KindPod {
		return false // Neither can be changed once it is there.
	}
	return progress == Outdated || progress == Missed && c.MayHeal
}

func (c *Candidate) order(progress Progress) Order {
	stamp, _ := c.Stamp()
	want := c.Want
	want.Attempt = stamp.Attempt
	if progress == Missed {
		want.Attempt++
	}
	return Order{Workload: c.Workload, Stamp: want}
}

func (p *Plan) count(progress Progress) {
	p.Status.Annotated++
	if progress == Injected {
		p.Status.Injected++
	} else {
		p.Status.Pending++
	}
}

// String names the workload for people.
func (w *Workload) String() string {
	return w.Kind + " " + w.Namespace + "/" + w.Name
}

// OwnerOf returns the kind and name of the workload to which a Pod belongs: that
// whose template it was made from, or the Pod itself.
func OwnerOf(pod *metav1.PartialObjectMetadata) (kind, name string) {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return KindPod, pod.Name
	}
	// The ReplicaSet of a Deployment is named for it and for the hash of its template.
	if hash := pod.Labels["pod-template-hash"]; owner.Kind == "ReplicaSet" && hash != "" {
		if deployment, ok := strings.CutSuffix(owner.Name, "-"+hash); ok {
			return KindDeployment, deployment
		}
	}
	return owner.Kind, owner.Name
}

// Reference is what an event about the workload refers to.
func (w *Workload) Reference() *corev1.ObjectReference {
	return &corev1.ObjectReference{
		APIVersion: w.APIVersion, Kind: w.Kind, Namespace: w.Namespace, Name: w.Name, UID: w.UID, ResourceVersion: w.ResourceVersion,
	}
}
