// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// crashes are how many restarts show that a container does not run with the bundle, if each time
	// it ran for less than worksAfter, which shows that it does.
	crashes    = 3
	worksAfter = 5 * time.Minute
	// crashesAfter is how soon Pods are looked at again that are not available.
	crashesAfter = 15 * time.Second
	// pulledWithin is how long a Pod may be without a container that runs before the first one starts.
	pulledWithin = 10 * time.Minute
	// firstWait and maxWait are how long a kubelet waits before it starts a container again, which it
	// doubles from one to the other, and waitsLonger is what may come on top.
	firstWait, maxWait, waitsLonger = 10 * time.Second, 5 * time.Minute, 10 * time.Second
)

// PythonPod is what became of a Pod with the bundle.
type PythonPod struct {
	// Since is when its containers with the bundle could start; zero if they could not yet.
	Since time.Time
	// Running is since when all of them run; zero if one does not.
	Running time.Time
	Ready   bool
	// Restarts of the one that was restarted most often, and its last end.
	Restarts int32
	Ended    *corev1.ContainerStateTerminated
}

// PythonPodOf reads the status of a Pod, as far as it is about containers with the bundle; ok
// reports whether it has any, and neither ended nor is being deleted. What was evicted may stay for
// days, and no counter of its workload counts it.
func PythonPodOf(pod *corev1.Pod) (p PythonPod, ok bool) {
	ended := pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
	if ended || !pod.DeletionTimestamp.IsZero() {
		return PythonPod{}, false
	}
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
	mounted := map[string]bool{}
	for i := range pod.Spec.Containers {
		container := &pod.Spec.Containers[i]
		mounted[container.Name] = slices.ContainsFunc(container.VolumeMounts, isBundle)
		ok = ok || mounted[container.Name]
	}
	statuses := slices.DeleteFunc(slices.Clone(pod.Status.ContainerStatuses), func(status corev1.ContainerStatus) bool {
		return !mounted[status.Name]
	})
	if !p.containers(statuses) {
		p.Since = time.Time{} // An image that cannot be pulled is no failure of what is mounted.
	}
	return p, ok
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
	if p.Running = running(statuses); p.Restarts == 0 && p.Running.After(p.Since) {
		p.Since = p.Running // Its image may have taken long.
	}
	return started
}

// running is since when all of some containers run; zero if one does not.
func running(statuses []corev1.ContainerStatus) (since time.Time) {
	for i := range statuses {
		state := statuses[i].State.Running
		if state == nil {
			return time.Time{}
		}
		if state.StartedAt.After(since) {
			since = state.StartedAt.Time
		}
	}
	return since
}

// Proves reports whether the Pod runs with the bundle for so long that what comes later is not the
// bundle's.
func (p PythonPod) Proves(now time.Time) bool {
	return p.Ready && !p.Running.IsZero() && now.Sub(p.Running) >= worksAfter
}

// Works reports whether the Pod runs with the bundle, so that this breaks none of its workload.
func (p PythonPod) Works(now time.Time) bool { return p.Ready && p.Restarts == 0 || p.Proves(now) }

// crashed reports whether a container of the Pod was restarted too often and never ran for long. Of
// its runs only the last is known: the time that as many of these and the waits between them do not
// explain may have been one that worked.
func (p PythonPod) crashed() bool {
	if p.Restarts < crashes || p.Ended == nil {
		return false
	}
	run := p.Ended.FinishedAt.Sub(p.Ended.StartedAt.Time)
	return run < worksAfter && p.Ended.FinishedAt.Sub(p.Since) <= crashLoop(p.Restarts, run)+pulledWithin
}

// crashLoop is how long a container takes that runs for so long and is restarted so often. From the
// longest wait on, all restarts take the same, and are not gone through: anybody may say that there
// were as many as a count can be.
func crashLoop(restarts int32, run time.Duration) time.Duration {
	all, wait := run, firstWait
	for ; restarts > 0 && wait < maxWait; restarts-- {
		all += wait + waitsLonger + run
		wait *= 2
	}
	return all + time.Duration(restarts)*(maxWait+waitsLonger+run)
}

// Trial stands for what the workload has to be seen to run with: the bundle, its images, and what
// its owner says of the bundle.
func (w *Workload) Trial() string {
	stamp, _ := w.Stamp()
	sum := sha256.Sum256([]byte(stamp.Python + "\n" + w.images() + "\n" + w.choice()))
	return hex.EncodeToString(sum[:8])
}

// OnTrial reports whether the candidate has the bundle, and was not seen to run with it yet.
func (c *Candidate) OnTrial() bool {
	stamp, _ := c.Stamp()
	has := c.Python && stamp.Python != "" && c.Withdrew.Bundle != stamp.Python
	runs := !c.Release && !c.held() && c.Kind != KindJob && c.Kind != KindCronJob && len(c.Pods) > 0
	return has && runs && c.Works != c.Trial()
}

// Verdict is what the Pods of a candidate on trial say; zero if that is open.
type Verdict struct {
	// Broken is why the bundle is to be taken off it.
	Broken *Withdrawal
	// Works reports whether it was seen to run with the bundle.
	Works bool
}

// Judge the candidate by those Pods with the bundle that were made from its newest template. There
// are none until its controller has observed that, and a Deployment's has made a ReplicaSet for it.
func (c *Candidate) Judge(pods []PythonPod, now time.Time) Verdict {
	works := slices.ContainsFunc(pods, func(p PythonPod) bool { return p.Proves(now) })
	switch {
	case c.behind(), c.Kind == KindDeployment && c.Status.UpdatedReplicas == 0:
		return Verdict{}
	case works || !c.Rolling():
		return Verdict{Works: works}
	}
	var ready int32
	for _, p := range pods {
		if p.Ready {
			ready++
		}
	}
	others := c.Status.AvailableReplicas + c.Status.NumberAvailable - ready
	return Verdict{Broken: Withdraw(pods, others, c.deadline(), now)}
}

// JudgeAfter is how soon the Pods of a candidate on trial are to be looked at again: no event comes
// when a container is restarted, nor when it was not for long.
func (c *Candidate) JudgeAfter() time.Duration {
	if c.Rolling() {
		return crashesAfter
	}
	return worksAfter
}
