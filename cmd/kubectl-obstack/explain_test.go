// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

func TestExplain(t *testing.T) {
	plane, api := testenv.Start(t, testenv.Options{})
	createObjects(t, api)
	limited := reader(t, plane, api)
	for _, test := range []struct {
		golden, kubeconfig, namespace, object string
		code                                  int
	}{
		{"deployment.txt", plane.Kubeconfig, "shop", "deployment/api", exitWrong}, // One of its Pods lacks them.
		{"withdrawn.txt", plane.Kubeconfig, "shop", "deployment/admin", exitWell},
		{"pod.txt", plane.Kubeconfig, "shop", "api-7d4b-good", exitWell},
		{"pod-limited.txt", limited, "shop", "pod/api-7d4b-good", exitWell},
		{"pod-missed.txt", plane.Kubeconfig, "shop", "api-7d4b-missed", exitWrong},
		{"refused.txt", plane.Kubeconfig, "other", "deploy/foreign", exitWrong},
		{"unannotated.txt", plane.Kubeconfig, "other", "deployments/quiet", exitWrong},
	} {
		out, errs, code := kubectlObstack(t, test.kubeconfig, "explain", test.object, "-n", test.namespace)
		golden(t, filepath.Join("explain", test.golden), out)
		if code != test.code || errs != "" {
			t.Errorf("explain %s ends with %d and says %q, want %d and nothing", test.object, code, errs, test.code)
		}
		if strings.Contains(out, "marked-secret") {
			t.Errorf("explain %s shows a secret", test.object)
		}
	}
	out, _, _ := kubectlObstack(t, plane.Kubeconfig, "explain", "api-7d4b-good", "-n", "shop", "-o", "json")
	explanation := Explanation{}
	if err := json.Unmarshal([]byte(out), &explanation); err != nil || !explanation.Injected ||
		strings.Contains(out, "marked-secret") {
		t.Errorf("the JSON says injected: %t (%v):\n%s", explanation.Injected, err, out)
	}
	wantResults(t, plane.Kubeconfig, []result{
		{[]string{"explain"}, "one POD or KIND/NAME", exitUsage},
		{[]string{"explain", "service/a"}, `"service" is no kind that takes settings`, exitUsage},
		{[]string{"explain", "nobody"}, "namespace default has no Pod nobody", exitWrong},
		{[]string{"explain", "cj/nobody"}, "namespace default has no CronJob nobody", exitWrong},
	})
}

// TestExplainCountsNoPodThatGoes: nobody can give it settings any more.
func TestExplainCountsNoPodThatGoes(t *testing.T) {
	plane, api := testenv.Start(t, testenv.Options{})
	createObjects(t, api)
	missed := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "api-7d4b-missed"}}
	for _, phase := range []corev1.PodPhase{corev1.PodFailed, corev1.PodSucceeded} {
		testenv.Read(t, api, missed)
		missed.Status.Phase = phase
		if err := api.Status().Update(t.Context(), missed); err != nil {
			t.Fatal(err)
		}
		wantNotCounted(t, plane.Kubeconfig, string(phase))
	}
	missed.Status.Phase = corev1.PodRunning
	if err := api.Status().Update(t.Context(), missed); err != nil {
		t.Fatal(err)
	}
	if out, _, code := kubectlObstack(t, plane.Kubeconfig, "explain", "deploy/api", "-n", "shop"); code != exitWrong {
		t.Errorf("with a Pod that runs without settings, it ends with %d and says:\n%s", code, out)
	}
	testenv.Change(t, api, missed, func(pod *corev1.Pod) { pod.Finalizers = []string{"example.com/stays"} })
	if err := api.Delete(t.Context(), missed); err != nil {
		t.Fatal(err)
	}
	wantNotCounted(t, plane.Kubeconfig, "deleted")
}

// wantNotCounted is a Pod of two, in that state.
func wantNotCounted(t *testing.T, kubeconfig, state string) {
	t.Helper()
	out, _, code := kubectlObstack(t, kubeconfig, "explain", "deployment/api", "-n", "shop")
	if code != exitWell || !strings.Contains(flat(out), "1 of 1 Pods have these settings; not counted: 1 Pod, ended") {
		t.Errorf("%s: it ends with %d and says:\n%s", state, code, out)
	}
	out, _, code = kubectlObstack(t, kubeconfig, "explain", "api-7d4b-missed", "-n", "shop")
	if code != exitWrong || !strings.Contains(flat(out), "has ended or is being deleted") {
		t.Errorf("%s: of the Pod, it ends with %d and says:\n%s", state, code, out)
	}
}

// createObjects of testdata, and the status of the stack among them.
func createObjects(t *testing.T, api client.Client) {
	t.Helper()
	objects, err := testenv.Objects(filepath.Join("testdata", "explain", "objects.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		testenv.Create(t, api, object)
	}
	stack := &obsv1.ObservabilityStack{}
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "shop"}, stack); err != nil {
		t.Fatal(err)
	}
	stack.Status.ConfigHash = "new"
	stack.Status.ConfigHashWithoutEnv = "new"
	if err := api.Status().Update(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
}
