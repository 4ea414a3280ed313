// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

func TestDemo(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	out := &bytes.Buffer{}
	complaints := stderrOf(t, func() {
		if err := run(t.Context(), out, options{once: true, rotate: true}); err != nil {
			t.Error(err)
		}
	})
	t.Log(out)
	if complaints != "" {
		t.Errorf("a library printed into the demo's output:\n%s", complaints)
	}
	for _, want := range []string{
		"obstack.shop.shop.", // the Secret, which is there only if the operator's rights suffice
		"ObstackHighErrorRatio",
		"1 of 1 available",
		"KUBECONFIG=",
		"get obs,servicemonitors,",
		"make demo LIVE=1",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the demo does not say %q", want)
		}
	}
	wantAlertsCountedByName(t, out.String())
	wantRotation(t, out.String())
	left, err := os.ReadDir(temporary)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// stderrOf is what is printed to the standard error while f runs.
func stderrOf(t *testing.T, f func()) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	was := os.Stderr
	os.Stderr = file
	f()
	os.Stderr = was
	printed, err := os.ReadFile(file.Name())
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	return string(printed)
}

// wantAlertsCountedByName checks that the status counts the alerts that the demo lists.
func wantAlertsCountedByName(t *testing.T, out string) {
	t.Helper()
	listed := regexp.MustCompile(`alerts: (.+)`).FindStringSubmatch(out)
	if listed == nil {
		t.Fatal("the demo lists no alerts")
	}
	if want := fmt.Sprintf("%d alerts in place", len(strings.Split(listed[1], ", "))); !strings.Contains(out, want) {
		t.Errorf("the demo does not say %q, but lists %s", want, listed[1])
	}
}

// wantRotation checks what the demo says about injected Pods before and after the rotation.
func wantRotation(t *testing.T, out string) {
	t.Helper()
	change := regexp.MustCompile(
		`configuration (\S+) became (\S+), at most 1 of 3 workloads at a time`).FindStringSubmatch(
		out)
	if change == nil || change[1] == change[2] {
		t.Fatalf("the demo shows no rotation one by one: %q", change)
	}
	if !strings.Contains(out, "waiting: shop-api, shop-beat, shop-worker; rolling: none; through: none") {
		t.Error("the demo does not say that all waited")
	}
	for pod, replicas := range map[string]int{"api": 2, "beat": 1, "worker": 2} {
		for _, hash := range change[1:] {
			row := regexp.MustCompile(`(?m)^ +shop-` + pod + `-\S+ +` + pod + ` +shop/shop +` + hash + `$`)
			if got := len(row.FindAllString(out, -1)); got != replicas {
				t.Errorf("the demo shows %d Pods of shop-%s with the configuration %s, want %d", got, pod, hash, replicas)
			}
		}
	}
	if strings.Contains(out, "PublicKey") {
		t.Error("the demo prints a DSN")
	}
}

func TestDefaultsRefuseWhatIsNeitherYesNorNo(t *testing.T) {
	for value, want := range map[string]bool{"": false, "1": true, "0": false, "true": true} {
		for name, wanted := range map[string]options{
			"ONCE": {once: want}, "ROTATE": {rotate: want}, "LIVE": {live: want}, "PYTHON": {python: want},
		} {
			got, err := defaults(func(of string) string { return map[string]string{name: value}[of] })
			if err != nil || got != wanted {
				t.Errorf("%s=%s: %+v, %v, want %+v", name, value, got, err, wanted)
			}
		}
	}
	_, err := defaults(func(name string) string { return map[string]string{"ROTATE": "please"}[name] })
	if err == nil || !strings.Contains(err.Error(), "ROTATE=please") {
		t.Errorf("error = %v, want one that names the variable", err)
	}
}

func TestInjectedNamesTheContainersThatReadTheSettings(t *testing.T) {
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}}
	from := func(secret string) []corev1.EnvFromSource {
		return []corev1.EnvFromSource{
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}},
		}
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{
		{Name: "api", EnvFrom: from("obstack.shop.shop.0f")}, {Name: "other", EnvFrom: from("own")}, {Name: "none"},
	}}}
	pod.Annotations = map[string]string{obsv1.MarkInjected: "0f"}
	if got := injected(pod, stack); !slices.Equal(got, []string{"api"}) {
		t.Errorf("injected = %v, want the one container with the stack's Secret", got)
	}
}

func TestPurposeSaysWhatAnObjectIsFor(t *testing.T) {
	for _, tc := range []struct {
		object client.Object
		want   string
	}{
		{&monitoringv1.ServiceMonitor{Spec: monitoringv1.ServiceMonitorSpec{
			Selector:  metav1.LabelSelector{MatchLabels: map[string]string{"app": "api"}},
			Endpoints: []monitoringv1.Endpoint{{Port: "http", Path: "/metrics", Interval: "30s"}},
		}}, "scrapes Services with app=api: port http, /metrics every 30s"},
		{&monitoringv1.ServiceMonitor{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{obsv1.LabelComponent: "tasks"}},
			Spec: monitoringv1.ServiceMonitorSpec{
				Endpoints: []monitoringv1.Endpoint{{Port: "metrics", Path: "/metrics", Interval: "15s"}},
			},
		}, "scrapes the exporter: port metrics, /metrics every 15s"},
		{&monitoringv1.PrometheusRule{Spec: monitoringv1.PrometheusRuleSpec{Groups: []monitoringv1.RuleGroup{
			{Rules: []monitoringv1.Rule{{Record: "r"}, {Alert: "A"}, {Alert: "B"}, {Alert: "A"}}},
		}}}, "alerts: A, B"},
		{
			&appsv1.Deployment{Status: appsv1.DeploymentStatus{Replicas: 1}},
			"exporter: tasks, queues and workers of the broker as metrics; 0 of 1 available",
		},
		{
			&corev1.ConfigMap{Data: map[string]string{"a.json": `{"title": "Overview"}`, "b.json": "{"}},
			"Grafana dashboard: Overview, b.json",
		},
		{
			&corev1.Secret{Data: map[string][]byte{"LOG_LEVEL": []byte("INFO"), "ENVIRONMENT": []byte("secret value")}},
			"settings for the workloads: ENVIRONMENT, LOG_LEVEL",
		},
	} {
		if got := purpose(tc.object); got != tc.want {
			t.Errorf("%s: %q, want %q", kind(tc.object), got, tc.want)
		}
	}
}
