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

	corev1 "k8s.io/api/core/v1"
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
	rejected := &corev1.ContainerStateTerminated{ExitCode: 1, Message: "obstack: Sentry rejects the key of the " +
		"DSN: it is unknown or disabled\n"}
	for _, tc := range []struct {
		name, kubeconfig string
		args             []string
		broken, pod      bool
		code             int
	}{
		{"healthy", admin, []string{"--image", "obstack:test"}, false, true, exitWell},
		{"broken", admin, []string{"--image", "obstack:test", "--timeout", "10s"}, true, true, exitWrong},
		{"view", limited, []string{"--timeout", "10s"}, false, false, exitWrong},
		{"no-pod", limited, []string{"--timeout", "10s", "--no-pod"}, false, false, exitWell},
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
		if err := json.Unmarshal([]byte(out), &report); err != nil || !report.Verified || len(report.Checks) != 6 ||
			len(report.Rights) != 4 {
			t.Errorf("the report is not whole (%v):\n%s", err, out)
		}
	})
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
		"the stack owns it":      metav1.IsControlledBy(pod, stack),
		"it has a deadline":      *pod.Spec.ActiveDeadlineSeconds <= 120,
		"it has limits":          !limits.Cpu().IsZero() && !limits.Memory().IsZero(),
		"it asks for settings":   pod.Annotations[obsv1.AnnotationStack] == "shop",
		"Linkerd leaves it":      pod.Annotations["linkerd.io/inject"] == "disabled",
		"Istio leaves it":        pod.Labels["sidecar.istio.io/inject"] == "false",
		"one event is read back": len(container.Args) == 2,
	} {
		if !so {
			t.Errorf("not so: %s: %v", what, pod)
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
