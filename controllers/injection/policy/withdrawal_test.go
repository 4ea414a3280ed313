// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// ran is what became of a container with the bundle.
type ran struct {
	age   time.Duration // of its Pod
	ready bool
	// restarts of it, the last of which ended a run at that age of the Pod.
	restarts int32
	end, run time.Duration
	reason   string
	// running is for how long it runs; zero if it waits.
	running time.Duration
}

// pythonPod has a container with the bundle, and one without that crashes and crashes.
func pythonPod(now time.Time, r ran) corev1.Pod {
	pod := corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{
		{Name: "proxy"}, {Name: "api", VolumeMounts: []corev1.VolumeMount{{Name: "obstack-python", MountPath: PythonFolder}}},
	}}}
	pod.Status.Conditions = []corev1.PodCondition{{
		Type: corev1.PodInitialized, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-r.age)),
	}}
	if r.ready {
		isReady := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue}
		pod.Status.Conditions = append(pod.Status.Conditions, isReady)
	}
	crashes := status("proxy", now, ran{age: r.age, restarts: 5, reason: "Error", end: time.Minute, run: time.Second})
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{crashes, status("api", now, r)}
	return pod
}

func status(name string, now time.Time, r ran) corev1.ContainerStatus {
	status := corev1.ContainerStatus{Name: name, RestartCount: r.restarts}
	if r.restarts > 0 {
		end := now.Add(r.end - r.age)
		status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}
		status.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
			ExitCode: 3, Reason: r.reason, Message: "the password is hunter2",
			StartedAt: metav1.NewTime(end.Add(-r.run)), FinishedAt: metav1.NewTime(end),
		}
	}
	if r.running > 0 {
		running := &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now.Add(-r.running))}
		status.State = corev1.ContainerState{Running: running}
	}
	return status
}

func TestWithdrawDecidesByPods(t *testing.T) {
	const exited, unready = "a container exited again and again, exit code 3", "Pods did not become ready"
	now := time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)
	minutes := func(n float64) time.Duration { return time.Duration(n * float64(time.Minute)) }
	// loops ended so often after runs as long, with what a kubelet waits between them.
	loops := func(restarts int32, run, worked time.Duration) ran {
		end, wait := worked, 10*time.Second
		for range restarts {
			end += run + wait + 5*time.Second
			wait = min(2*wait, 5*time.Minute)
		}
		return ran{age: end + run + time.Second, restarts: restarts, reason: "Error", end: end + run, run: run}
	}
	crashing := ran{age: minutes(2), restarts: 3, reason: "Error", end: minutes(1.5), run: time.Second}
	pulling := pythonPod(now, ran{age: time.Hour})
	for i := range pulling.Status.ContainerStatuses {
		pulling.Status.ContainerStatuses[i].State.Waiting = &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}
	}
	evicted := pythonPod(now, crashing)
	evicted.Status.Phase = corev1.PodFailed
	without := pythonPod(now, crashing)
	without.Spec.Containers[1].VolumeMounts = nil
	for name, tc := range map[string]struct {
		pods   []ran
		also   []corev1.Pod
		others int32
		// want is the cause for people; empty if the bundle stays.
		want string
	}{
		"no Pod yet":                        {others: 2},
		"crashes, and there are no others":  {pods: []ran{crashing}, want: exited},
		"crashes, and others are available": {pods: []ran{crashing}, others: 1, want: exited},
		"crashes, and another with the bundle works": {
			pods: []ran{crashing, {age: minutes(1), ready: true, running: minutes(1)}},
		},
		"crashes, and another with the bundle works since it was restarted": {
			pods: []ran{crashing, {age: 9 * time.Hour, ready: true, restarts: 1, end: time.Hour, running: 8 * time.Hour}},
		},
		"crashes, as does another that runs again": {
			pods: []ran{crashing, {age: minutes(2), ready: true, restarts: 1, end: minutes(1), running: minutes(1)}},
			want: exited,
		},
		"crashes, and is ready for a moment, as without a probe": {
			pods: []ran{{
				age: minutes(2), ready: true, restarts: 3, reason: "Error", end: minutes(1.5), run: time.Second,
				running: time.Second,
			}}, want: exited,
		},
		"crashed twice": {
			pods: []ran{{age: minutes(2), restarts: 2, reason: "Error", end: minutes(1), run: time.Second}}, others: 1,
		},
		"crashes for an hour, and nobody looked":          {pods: []ran{loops(14, time.Second, 0)}, want: exited},
		"crashes for a day, and nobody looked":            {pods: []ran{loops(280, time.Second, 0)}, want: exited},
		"crashes after two minutes each time":             {pods: []ran{loops(3, minutes(2), 0)}, want: exited},
		"crashes after six minutes each time":             {pods: []ran{loops(3, minutes(6), 0)}},
		"crashes once a day":                              {pods: []ran{loops(3, 24*time.Hour, 0)}},
		"crashes, and its image took eight minutes":       {pods: []ran{loops(3, time.Second, minutes(8))}, want: exited},
		"crashes after an hour":                           {pods: []ran{loops(3, time.Second, time.Hour)}},
		"crashes after an hour, for hours":                {pods: []ran{loops(40, time.Second, time.Hour)}},
		"its proxy crashes, which is without the bundle":  {pods: []ran{{age: time.Hour, running: time.Hour}}},
		"crashes, and was made without the bundle anyway": {also: []corev1.Pod{without}, others: 1},
		"is killed for its memory": {
			pods: []ran{{age: minutes(2), restarts: 4, reason: "OOMKilled", end: minutes(1)}},
			want: "a container was killed for its memory, exit code 3",
		},
		"cannot be started": {
			pods: []ran{{age: minutes(2), restarts: 4, reason: "StartError", end: minutes(1)}},
			want: "a container could not be started, exit code 3",
		},
		"is not ready, and others are": {
			pods: []ran{{age: minutes(11), running: minutes(11)}}, others: 1, want: unready,
		},
		"is not ready yet, and others are": {pods: []ran{{age: minutes(9), running: minutes(9)}}, others: 1},
		"is not ready yet, after a while for its image": {
			pods: []ran{{age: minutes(11), running: minutes(1)}}, others: 1,
		},
		"is not ready, nor is anything": {pods: []ran{{age: time.Hour, running: time.Hour}}},
		"cannot pull its image":         {also: []corev1.Pod{pulling}, others: 1},
		"crashed, and was evicted":      {also: []corev1.Pod{evicted}, others: 1},
		"waits for a node":              {also: []corev1.Pod{{}}, others: 1},
	} {
		all := tc.also
		for _, r := range tc.pods {
			all = append(all, pythonPod(now, r))
		}
		var pods []PythonPod
		for i := range all {
			if p, ok := PythonPodOf(&all[i]); ok {
				pods = append(pods, p)
			}
		}
		w := Withdraw(pods, tc.others, 10*time.Minute, now)
		if got := fmt.Sprint(w); w == nil && tc.want != "" || w != nil && got != tc.want {
			t.Errorf("%s: %s; want %q", name, got, tc.want)
		}
	}
}

// TestWithdrawDecidesSoon whatever Pods say: whoever may write their status has the passes of all
// stacks wait otherwise.
func TestWithdrawDecidesSoon(t *testing.T) {
	forged := PythonPod{Since: now, Restarts: math.MaxInt32, Ended: &corev1.ContainerStateTerminated{
		StartedAt: metav1.NewTime(now.Add(math.MaxInt64)), FinishedAt: metav1.NewTime(now.Add(math.MaxInt64)),
	}}
	soon, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	w := Withdraw(slices.Repeat([]PythonPod{forged}, 10), 1, 10*time.Minute, now)
	if soon.Err() != nil {
		t.Errorf("%v, after more than 5 s", w)
	}
}

// TestCandidateIsOnTrial until it was seen to run with the bundle, its images and its path.
func TestCandidateIsOnTrial(t *testing.T) {
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}}
	stack.Spec.Python = &obsv1.PythonSpec{}
	candidate := func(change func(*Workload)) *Candidate {
		w := workload(KindDeployment, annotations{obsv1.AnnotationStack: "shop"}, nil)
		w.Spec.Template.Metadata.Labels = pythonStamp.Labels()
		w.Spec.Template.Spec.Containers = []Container{{Name: "api", Image: "shop:1"}}
		w.Spec.Replicas, w.Status.Replicas, w.Status.UpdatedReplicas = new(int32(1)), 1, 1
		w.Status.AvailableReplicas = 1
		if change != nil {
			change(w)
		}
		c := NewCandidate(w, ClaimOf(w, namespaceMeta(nil)), stack, []Pod{{}})
		c.History = c.Seen(&c, now, now)
		return &c
	}
	says := annotations{obsv1.AnnotationStack: "shop", obsv1.AnnotationPythonWorks: candidate(nil).Trial()}
	for name, tc := range map[string]struct {
		change func(*Workload)
		want   bool
	}{
		"new":                     {want: true},
		"it works":                {change: func(w *Workload) { w.Annotations = says }},
		"it works, and is scaled": {change: func(w *Workload) { w.Annotations, w.Spec.Replicas = says, new(int32(7)) }},
		"another image": {change: func(w *Workload) {
			w.Annotations, w.Spec.Template.Spec.Containers[0].Image = says, "shop:2"
		}, want: true},
		"another bundle": {change: func(w *Workload) {
			w.Annotations, w.Spec.Template.Metadata.Labels[obsv1.StampPython] = says, "0b"
		}, want: true},
		"another path": {change: func(w *Workload) {
			w.Annotations = maps.Clone(says)
			w.Annotations[obsv1.AnnotationPythonPath] = "/app"
		}, want: true},
		"no bundle":   {change: func(w *Workload) { delete(w.Spec.Template.Metadata.Labels, obsv1.StampPython) }},
		"paused":      {change: func(w *Workload) { w.Spec.Paused = true }},
		"opted out":   {change: func(w *Workload) { w.Annotations[obsv1.AnnotationPython] = "false" }},
		"a CronJob's": {change: func(w *Workload) { w.Kind = KindCronJob }},
	} {
		if got := candidate(tc.change).OnTrial(); got != tc.want {
			t.Errorf("%s: on trial %t, want %t", name, got, tc.want)
		}
	}
	dropped := candidate(func(w *Workload) { w.Annotations = says })
	delete(dropped.Annotations, obsv1.AnnotationPythonWorks)
	if dropped.History = dropped.Seen(dropped, now, now); dropped.OnTrial() {
		t.Error("it is on trial again where its owner drops the annotation")
	}
	dropped.Annotations[obsv1.AnnotationPythonWorks] = "5ee4"
	if dropped.History = dropped.Seen(dropped, now, now); dropped.OnTrial() {
		t.Error("it is on trial again, and again, where its owner writes an older annotation")
	}
}

// TestJudgeWaitsForAPodThatRuns for five minutes, of the template that is tried.
func TestJudgeWaitsForAPodThatRuns(t *testing.T) {
	for name, tc := range map[string]struct {
		pods    []ran
		rolling bool
		pending bool
		behind  bool
		want    bool
	}{
		"it does":              {pods: []ran{{age: time.Hour, ready: true, running: 5 * time.Minute}}, want: true},
		"one of two does":      {pods: []ran{{ready: true, running: 1}, {ready: true, running: time.Hour}}, want: true},
		"not for so long":      {pods: []ran{{age: time.Hour, ready: true, running: 4 * time.Minute}}},
		"it is not ready":      {pods: []ran{{age: time.Hour, running: time.Hour}}},
		"not all are replaced": {pods: []ran{{ready: true, running: time.Hour}}, rolling: true, want: true},
		"a template that its controller has not observed": {pods: []ran{{ready: true, running: time.Hour}}, behind: true},
		"one cannot be scheduled": {
			pods: []ran{{age: time.Hour, ready: true, running: time.Hour}, {}}, pending: true, want: true,
		},
		"it crashes and crashes": {pods: []ran{{age: time.Hour, restarts: 9, end: time.Hour - time.Minute, run: 1}}},
		"there is none":          {},
	} {
		w := workload(KindDeployment, nil, nil)
		w.Status.AvailableReplicas, w.Status.UpdatedReplicas, w.Status.Replicas = 1, 1, 1
		if tc.rolling {
			w.Status.Replicas = 2
		}
		if tc.behind {
			w.Generation = w.Status.ObservedGeneration + 1
		}
		if tc.pending {
			w.Spec.Replicas, w.Status.Replicas, w.Status.UpdatedReplicas = new(int32(2)), 2, 2
		}
		var pods []PythonPod
		for _, r := range tc.pods {
			pod := pythonPod(now, r)
			p, _ := PythonPodOf(&pod)
			pods = append(pods, p)
		}
		if got := (&Candidate{Workload: w}).Judge(pods, now).Works; got != tc.want {
			t.Errorf("%s: it works %t, want %t", name, got, tc.want)
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
