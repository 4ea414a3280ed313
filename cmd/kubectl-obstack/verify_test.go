// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

var seconds = regexp.MustCompile(`\d+\.\d s`)

// goldenVerify compares with a file in which everything took the same time.
func goldenVerify(t *testing.T, name, got string) {
	t.Helper()
	golden(t, name, seconds.ReplaceAllString(got, "3.1 s"))
	if strings.Contains(got, "marked-secret") {
		t.Errorf("%s shows a secret", name)
	}
}

func TestVerify(t *testing.T) {
	b := newVerifyBench(t)
	stack := stackFile(t, "../verify/shop")
	state := stack.Status
	testenv.Create(t, b.api, stack)
	stack.Status = state
	stack.Status.ObservedGeneration = stack.Generation
	if err := b.api.Status().Update(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
	admin, limited := b.kubeconfig(t, b.Kubeconfig), b.kubeconfig(t, reader(t, b.ControlPlane, b.api))
	trusted := b.kubeconfig(t, b.leaseReader(t))
	rejected := &corev1.ContainerStateTerminated{ExitCode: 1, Message: "obstack: Sentry rejects the key of the " +
		"DSN: it is unknown or disabled\n"}
	for _, tc := range []struct {
		name, kubeconfig string
		args             []string
		broken, pod      bool
		code             int
	}{
		{"healthy", admin, nil, false, true, exitWell},
		{"broken", admin, []string{"--image", "obstack:test", "--timeout", "10s"}, true, true, exitWrong},
		{"view", limited, []string{"--timeout", "10s"}, false, false, exitWrong},
		{"no-pod", trusted, []string{"--timeout", "30s", "--no-pod"}, false, false, exitWell},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.reset()
			if tc.broken {
				b.down, b.events, b.ends = true, false, rejected
			}
			out, errs, code := kubectlObstack(t, tc.kubeconfig, append([]string{"verify", "shop", "-n", "shop"}, tc.args...)...)
			goldenVerify(t, "verify/"+tc.name+".txt", out)
			if code != tc.code || errs != "" {
				t.Errorf("it ends with %d and says %q", code, errs)
			}
			b.checkPod(t, stack, tc.pod)
		})
	}
	t.Run("json", func(t *testing.T) {
		out, _, _ := kubectlObstack(t, limited, "verify", "shop", "-n", "shop", "--timeout", "10s", "--no-pod", "-o", "json")
		report := VerifyReport{}
		if err := json.Unmarshal([]byte(out), &report); err != nil || report.Verified || len(report.Checks) != 7 ||
			len(report.Rights) != 6 {
			t.Errorf("the report is not whole (%v):\n%s", err, out)
		}
	})
	t.Run("old status", func(t *testing.T) { b.testOldStatus(t, stack, admin, trusted) })
	t.Run("interrupted", func(t *testing.T) { b.testInterrupt(t, admin) })
	wantResults(t, admin, []result{
		{[]string{"verify"}, "one STACK is to be named", exitUsage},
		{[]string{"verify", "shop", "--timeout", "1s"}, "--timeout=1s: must be at least 10s", exitUsage},
		{[]string{"verify", "shop", "-o", "wide"}, "must be one of json, yaml", exitUsage},
		{[]string{"verify", "other", "-n", "shop"}, "namespace shop has no ObservabilityStack other", exitWrong},
	})
}

// checkPod is about the Pod that the API server of a restricted namespace took, if it should have.
func (b *verifyBench) checkPod(t *testing.T, stack *obsv1.ObservabilityStack, wanted bool) {
	t.Helper()
	b.noPod(t)
	b.mu.Lock()
	defer b.mu.Unlock()
	pod := b.pod
	if pod == nil || !wanted {
		if pod != nil || wanted {
			t.Errorf("there was the Pod %v", pod)
		}
		return
	}
	container := &pod.Spec.Containers[0]
	limits := container.Resources.Limits
	for what, so := range map[string]bool{
		"it runs what the operator runs": container.Image == "obstack:test",
		"the stack owns it":              metav1.IsControlledBy(pod, stack),
		"it has a deadline":              *pod.Spec.ActiveDeadlineSeconds <= 120,
		"it has limits":                  !limits.Cpu().IsZero() && !limits.Memory().IsZero(),
		"it asks for settings":           pod.Annotations[obsv1.AnnotationStack] == "shop",
		"Linkerd leaves it":              pod.Annotations["linkerd.io/inject"] == "disabled",
		"Istio leaves it":                pod.Labels["sidecar.istio.io/inject"] == "false",
		"one event is read back":         len(container.Args) == 2,
	} {
		if !so {
			t.Errorf("not so: %s: %v", what, pod)
		}
	}
}

// leaseReader is somebody with the rights of the role view who may read the operator's Lease, too.
func (b *verifyBench) leaseReader(t *testing.T) string {
	t.Helper()
	joe := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "joe"}}
	testenv.Create(t, b.api, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "joe"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "reader"}, Subjects: joe,
	})
	verifier := metav1.ObjectMeta{Namespace: "obstack-system", Name: "obstack-verifier"}
	testenv.Create(t, b.api, &rbacv1.Role{ObjectMeta: verifier, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"},
		ResourceNames: []string{obsv1.LeaderLease}, Verbs: []string{"get"},
	}}})
	testenv.Create(t, b.api, &rbacv1.RoleBinding{
		ObjectMeta: verifier, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: verifier.Name},
		Subjects: joe,
	})
	kubeconfig, err := b.User("joe")
	if err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// testOldStatus has nothing but what an operator once wrote.
func (b *verifyBench) testOldStatus(t *testing.T, stack *obsv1.ObservabilityStack, admin, trusted string) {
	for _, tc := range []struct {
		name, kubeconfig string
		fault            func()
		// says what is not verified, by its check.
		says map[string]string
	}{
		{"no operator", trusted, func() { b.dead = true }, map[string]string{
			"stack":                  "the operator does not work: nobody renews Lease obstack.obstack.dev",
			"monitor api":            "says: Seen",
			"workers of broker main": "the operator does not work",
			"dsn default":            "--no-pod sends no test event; the operator does not work",
		}},
		{"no round since", trusted, func() { b.operator(t, "1m") }, map[string]string{
			"alerts":                 "its next round takes up to 1m15s, so write a longer --timeout",
			"workers of broker main": "its next round takes up to 1m15s",
		}},
		{"no process in Python", admin, func() { b.silent = true }, map[string]string{
			"python": "no process reports itself to Prometheus: the stack's PythonReady says which workloads should",
		}},
		{"nothing behind Services", admin, func() { b.closed = true }, map[string]string{
			"monitor api":            "Prometheus was asked by way of the API server: it responds with an error",
			"alerts":                 "Prometheus was asked by way of the API server",
			"workers of broker main": "the task exporter was asked by way of the API server: it responds with an error",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.reset()
			b.mu.Lock()
			tc.fault()
			b.mu.Unlock()
			b.wantSaid(t, tc.kubeconfig, tc.says, "--no-pod")
		})
	}
	b.reset()
	stack.Status.Parts[3].Reason = obsv1.ReasonDisabled
	stack.Status.ObservedGeneration = 0
	if err := b.api.Status().Update(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
	b.wantSaid(t, admin, map[string]string{"dsn default": "the operator has not looked at the newest spec yet"})
	stack.Status.Parts[3].Reason, stack.Status.ObservedGeneration = obsv1.ReasonSeen, stack.Generation
	if err := b.api.Status().Update(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
}

// wantSaid of checks, each of which is Unknown.
func (b *verifyBench) wantSaid(t *testing.T, kubeconfig string, says map[string]string, args ...string) {
	t.Helper()
	out, errs, code := kubectlObstack(t, kubeconfig,
		append([]string{"verify", "shop", "-n", "shop", "--timeout", "10s", "-o", "json"}, args...)...)
	report := VerifyReport{}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != exitWrong {
		t.Fatalf("it ends with %d and says %q (%v):\n%s", code, errs, err, out)
	}
	for _, check := range report.Checks {
		want, wanted := says[check.Name]
		if wanted && (check.State != metav1.ConditionUnknown || !strings.Contains(check.Says, want)) {
			t.Errorf("%s is %s: %q, which lacks %q", check.Name, check.State, check.Says, want)
		}
	}
}

func (b *verifyBench) noPod(t *testing.T) {
	t.Helper()
	pods := &corev1.PodList{}
	if err := b.api.List(t.Context(), pods, client.InNamespace("shop")); err != nil || len(pods.Items) > 0 {
		t.Errorf("%d Pods are left (%v)", len(pods.Items), err)
	}
}

// testInterrupt ends the command while its Pod does not.
func (b *verifyBench) testInterrupt(t *testing.T, kubeconfig string) {
	b.reset()
	b.ends = nil
	ctx, interrupt := context.WithCancel(t.Context())
	var out, errs bytes.Buffer
	t.Setenv("KUBECONFIG", kubeconfig)
	code := make(chan int)
	go func() {
		code <- run(ctx, []string{"verify", "shop", "-n", "shop", "--image", "obstack:test"},
			genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errs})
	}()
	testenv.Poll(t, func(context.Context) string {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.pod == nil {
			return "there is no Pod"
		}
		return ""
	})
	interrupt()
	if got := <-code; got != exitWrong || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("it ends with %d and says %q", got, errs.String())
	}
	b.noPod(t)
}

func TestVerifySaysWhyThePodDoesNotEnd(t *testing.T) {
	waiting := func(reason string) *corev1.Pod {
		return &corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}},
		}}}}
	}
	unscheduled := &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/1 nodes are available",
	}}}}
	for want, got := range map[string]string{
		"does not start: ErrImagePull": waitingFor(waiting("ErrImagePull")),
		"has not ended":                waitingFor(waiting("ContainerCreating")),
		"0/1 nodes are available":      waitingFor(unscheduled),
		"refused: pods is forbidden": refusalOf(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "shop-verify-x2x8z"}},
			errors.New(`pods "shop-verify-x2x8z" is forbidden: exceeded quota`)),
		"without the stack's settings": failureOf(&corev1.Pod{}),
		"failed: DeadlineExceeded": failureOf(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{obsv1.MarkInjected: "5b1f"}},
			Status:     corev1.PodStatus{Reason: "DeadlineExceeded"},
		}),
	} {
		if !strings.Contains(got, want) {
			t.Errorf("it says %q, which lacks %q", got, want)
		}
	}
}

func TestLeaderIsSeenToWork(t *testing.T) {
	l := &leader{}
	start := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		what   string
		at     time.Duration
		holder string
		// renewed is by the clock of the cluster, which is an hour behind.
		renewed time.Duration
		// since is when the leader was first seen to work; negative if it was not.
		since time.Duration
	}{
		{"an old Lease", 0, "a", 0, -1},
		{"it is not renewed", 2 * time.Second, "a", 0, -1},
		{"it is", 4 * time.Second, "a", 4 * time.Second, 4 * time.Second},
		{"it is kept", 6 * time.Second, "a", 4 * time.Second, 4 * time.Second},
		{"it is renewed again", 15 * time.Second, "a", 15 * time.Second, 4 * time.Second},
		{"it is too old", 31 * time.Second, "a", 15 * time.Second, -1},
		{"it is renewed late", 33 * time.Second, "a", 33 * time.Second, 33 * time.Second},
		{"somebody else takes it", 35 * time.Second, "b", 35 * time.Second, -1},
		{"who renews it", 37 * time.Second, "b", 37 * time.Second, 37 * time.Second},
		{"it is given back", 39 * time.Second, "", 39 * time.Second, -1},
		{"nobody holds it", 41 * time.Second, "", 41 * time.Second, -1},
	} {
		lease := &coordinationv1.LeaseSpec{
			HolderIdentity: &tc.holder, LeaseDurationSeconds: new(int32(15)),
			RenewTime: &metav1.MicroTime{Time: start.Add(tc.renewed - time.Hour)},
		}
		want := time.Time{}
		if tc.since >= 0 {
			want = start.Add(tc.since)
		}
		if got := l.saw(lease, start.Add(tc.at)); !got.Equal(want) {
			t.Errorf("%s: since %v, want %v", tc.what, got, want)
		}
	}
}
