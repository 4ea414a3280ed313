// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// pythonPod started that long ago. A container was restarted that often, last after so long.
func pythonPod(now time.Time, age time.Duration, ready bool, restarts int32, reason string,
	after time.Duration) corev1.Pod {
	status := corev1.PodStatus{Conditions: []corev1.PodCondition{{
		Type: corev1.PodInitialized, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-age)),
	}}}
	if ready {
		isReady := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue}
		status.Conditions = append(status.Conditions, isReady)
	}
	container := corev1.ContainerStatus{RestartCount: restarts}
	if restarts > 0 {
		container.State.Waiting = &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}
		container.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
			ExitCode: 3, Reason: reason, Message: "the password is hunter2", FinishedAt: metav1.NewTime(now.Add(after - age)),
		}
	}
	status.ContainerStatuses = []corev1.ContainerStatus{{}, container}
	return corev1.Pod{Status: status}
}

func TestWithdrawDecidesByPods(t *testing.T) {
	const exited = "a container exited again and again, exit code 3"
	now := time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)
	crashing := pythonPod(now, 2*time.Minute, false, 3, "Error", 90*time.Second)
	pulling := pythonPod(now, time.Hour, false, 0, "", 0)
	for i := range pulling.Status.ContainerStatuses {
		pulling.Status.ContainerStatuses[i].State.Waiting = &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}
	}
	for name, tc := range map[string]struct {
		pods   []corev1.Pod
		others int32
		// want is the cause for people; empty if the bundle stays.
		want string
	}{
		"no Pod yet":                        {others: 2},
		"crashes, and there are no others":  {pods: []corev1.Pod{crashing}, want: exited},
		"crashes, and others are available": {pods: []corev1.Pod{crashing}, others: 1, want: exited},
		"crashes, and another with the bundle works": {
			pods: []corev1.Pod{crashing, pythonPod(now, time.Minute, true, 0, "", 0)},
		},
		"crashes, and is ready for a moment, as without a probe": {
			pods: []corev1.Pod{pythonPod(now, 2*time.Minute, true, 3, "Error", 90*time.Second)},
			want: exited,
		},
		"crashed twice": {pods: []corev1.Pod{pythonPod(now, 2*time.Minute, false, 2, "Error", time.Minute)}, others: 1},
		"crashes after an hour": {
			pods: []corev1.Pod{pythonPod(now, 2*time.Hour, false, 3, "Error", time.Hour)},
		},
		"is killed for its memory": {
			pods: []corev1.Pod{pythonPod(now, 2*time.Minute, false, 4, "OOMKilled", time.Minute)},
			want: "a container was killed for its memory, exit code 3",
		},
		"cannot be started": {
			pods: []corev1.Pod{pythonPod(now, 2*time.Minute, false, 4, "StartError", time.Minute)},
			want: "a container could not be started, exit code 3",
		},
		"is not ready, and others are": {
			pods: []corev1.Pod{pythonPod(now, 11*time.Minute, false, 0, "", 0)}, others: 1, want: "Pods did not become ready",
		},
		"is not ready yet, and others are": {pods: []corev1.Pod{pythonPod(now, 9*time.Minute, false, 0, "", 0)}, others: 1},
		"is not ready, nor is anything":    {pods: []corev1.Pod{pythonPod(now, time.Hour, false, 0, "", 0)}},
		"cannot pull its image":            {pods: []corev1.Pod{pulling}, others: 1},
		"waits for a node":                 {pods: []corev1.Pod{{}}, others: 1},
	} {
		var pods []PythonPod
		for i := range tc.pods {
			pods = append(pods, PythonPodOf(&tc.pods[i]))
		}
		w, broken := Withdraw(pods, tc.others, 10*time.Minute, now)
		if broken != (tc.want != "") || broken && w.String() != tc.want {
			t.Errorf("%s: %t, %s; want %q", name, broken, w, tc.want)
		}
	}
}

// TestWithdrawalHolds until the bundle, an image or the owner's annotation changes, whatever else
// does, also as the cache keeps the workload.
func TestWithdrawalHolds(t *testing.T) {
	const bundle, newer = "aaaa", "bbbb"
	stack := &obsv1.ObservabilityStack{Spec: obsv1.ObservabilityStackSpec{Python: &obsv1.PythonSpec{}}}
	stack.Namespace, stack.Name = "shop", "shop"
	made := func() *Workload {
		return &Workload{
			TypeMeta: metav1.TypeMeta{Kind: KindDeployment},
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: "api", UID: "1", Annotations: map[string]string{obsv1.AnnotationStack: "shop"},
			},
			Spec: WorkloadSpec{Template: &Template{
				Metadata: TemplateMeta{Labels: map[string]string{obsv1.StampPython: bundle}},
				Spec:     PodSpec{Containers: []Container{{Name: "api", Image: "shop:1"}}},
			}},
		}
	}
	w := made()
	w.Keep()
	c := NewCandidate(w, ClaimOf(w, nil), stack, nil)
	c.Break(Withdrawal{Cause: CauseNotReady})
	for name, tc := range map[string]struct {
		change func(*Workload)
		offers string
		want   string
	}{
		"nothing changed":     {func(*Workload) {}, bundle, ""},
		"it was scaled":       {func(w *Workload) { w.Spec.Replicas = new(int32(7)) }, bundle, ""},
		"the stamp is off":    {func(w *Workload) { w.Spec.Template.Metadata.Labels = nil }, bundle, ""},
		"another bundle":      {func(w *Workload) { w.Spec.Template.Metadata.Labels = nil }, newer, newer},
		"another image":       {func(w *Workload) { w.Spec.Template.Spec.Containers[0].Image = "shop:2" }, bundle, bundle},
		"another annotation":  {func(w *Workload) { w.Annotations[obsv1.AnnotationPythonPath] = "/app" }, bundle, bundle},
		"another container":   {func(w *Workload) { w.Spec.Template.Spec.Containers[0].Name = "web" }, bundle, bundle},
		"what makes no sense": {func(w *Workload) { w.Annotations[obsv1.AnnotationPythonWithdrawn] = "{" }, bundle, bundle},
	} {
		w := made()
		w.Annotations[obsv1.AnnotationPythonWithdrawn] = c.Breaks.Annotation()
		tc.change(w)
		w.Keep()
		bundles := Bundles{New: tc.offers, Carried: func(string) bool { return true }}
		if name == "another bundle" {
			bundles.Carried = func(hash string) bool { return hash == newer }
		}
		next := NewCandidate(w, ClaimOf(w, nil), stack, nil)
		if got := bundles.Of(&next); got != tc.want {
			t.Errorf("%s: the operator gives %q, want %q", name, got, tc.want)
		}
		stack.Status.Python = &obsv1.PythonStatus{Bundle: tc.offers}
		if got := ClaimOf(w, nil).bundle(stack); got != tc.want {
			t.Errorf("%s: the webhook gives %q, want %q", name, got, tc.want)
		}
	}
}

// TestHistoryKeepsAWithdrawal that its owner drops with all annotations, as the cache keeps the
// workload then: without its images, unless the template names a bundle.
func TestHistoryKeepsAWithdrawal(t *testing.T) {
	const bundle = "aaaa"
	made := func(image string, labels, annotations map[string]string) *Workload {
		w := &Workload{TypeMeta: metav1.TypeMeta{Kind: KindDeployment}, Spec: WorkloadSpec{Template: &Template{
			Metadata: TemplateMeta{Labels: labels}, Spec: PodSpec{Containers: []Container{{Name: "api", Image: image}}},
		}}}
		w.Annotations = annotations
		w.Keep()
		return w
	}
	has := map[string]string{obsv1.StampPython: bundle}
	c := Candidate{Workload: made("shop:1", has, nil), Python: true}
	c.Break(Withdrawal{Cause: CauseExited})
	wrote := c.Wrote(Patch{Candidate: &c}, 2)
	if wrote.Empty(c.Workload, now.Add(24*time.Hour)) {
		t.Error("the withdrawal is forgotten after a day")
	}
	says := map[string]string{obsv1.AnnotationPythonWithdrawn: c.Breaks.Annotation()}
	chosen := map[string]string{obsv1.AnnotationContainers: "api"}
	forged := map[string]string{obsv1.AnnotationPythonWithdrawn: `{"bundle":"aaaa","cause":"obey"}`}
	for name, tc := range map[string]struct {
		w    *Workload
		want string
	}{
		"written":                {made("shop:1", nil, says), bundle},
		"dropped":                {made("shop:1", nil, nil), bundle},
		"dropped but for names":  {made("shop:1", nil, chosen), bundle},
		"dropped, and stamped":   {made("shop:1", has, nil), bundle},
		"dropped, another image": {made("shop:2", has, nil), ""},
		"dropped, another path":  {made("shop:1", nil, map[string]string{obsv1.AnnotationPythonPath: "/app"}), ""},
		"changed by hand":        {made("shop:1", nil, forged), ""},
	} {
		if got := wrote.Seen(&Candidate{Workload: tc.w}, now, now).Withdrew.Bundle; got != tc.want {
			t.Errorf("%s: %q is withdrawn, want %q", name, got, tc.want)
		}
	}
}

// TestPlanNamesNoWithdrawalThatChangesNothing: anybody can write one about another bundle on a
// workload of his.
func TestPlanNamesNoWithdrawalThatChangesNothing(t *testing.T) {
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}}
	stack.Spec.Python = &obsv1.PythonSpec{}
	for bundle, want := range map[string]int{"0a": 1, "other": 0} {
		w := workload(KindDeployment, annotations{obsv1.AnnotationStack: "shop"}, nil)
		forged := Withdrawal{Bundle: bundle, Images: w.images(), Cause: CauseExited}
		w.Annotations[obsv1.AnnotationPythonWithdrawn] = forged.Annotation()
		state := State{Now: now, Bundles: Bundles{New: "0a", Carried: func(string) bool { return true }}}
		state.Add(stack, w, ClaimOf(w, namespaceMeta(nil)), namespaceMeta(nil), nil)
		plan := NewPlan(stack, state, func(*Candidate) string { return wantStamp.ConfigHash })
		if len(plan.Withdrawn) != want {
			t.Errorf("a withdrawal of %s: %v are withdrawn, want %d", bundle, plan.Withdrawn, want)
		}
	}
}
