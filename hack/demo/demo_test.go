// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"path/filepath"
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
	err := run(t.Context(), out, true)
	t.Log(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"obstack.shop.shop", // the Secret, which is there only if the operator's rights suffice
		"ObstackHighErrorRatio",
		"1 of 1 available",
		"KUBECONFIG=",
		"get obs,servicemonitors,",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the demo does not say %q", want)
		}
	}
	left, err := filepath.Glob(filepath.Join(temporary, "obstack-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

func TestOnceIsRefusedUnlessItIsYesOrNo(t *testing.T) {
	for value, want := range map[string]bool{"": false, "1": true, "0": false, "true": true} {
		if got, err := onceDefault(value); err != nil || got != want {
			t.Errorf("ONCE=%s: %v, %v, want %v", value, got, err, want)
		}
	}
	if _, err := onceDefault("please"); err == nil || !strings.Contains(err.Error(), "ONCE=please") {
		t.Errorf("error = %v, want one that names the variable", err)
	}
}

func TestPurposeTellsWhatAnObjectIsFor(t *testing.T) {
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
			Spec:       monitoringv1.ServiceMonitorSpec{Endpoints: []monitoringv1.Endpoint{{Port: "metrics", Path: "/metrics", Interval: "15s"}}},
		}, "scrapes the exporter: port metrics, /metrics every 15s"},
		{&monitoringv1.PrometheusRule{Spec: monitoringv1.PrometheusRuleSpec{Groups: []monitoringv1.RuleGroup{
			{Rules: []monitoringv1.Rule{{Record: "r"}, {Alert: "A"}, {Alert: "B"}, {Alert: "A"}}},
		}}}, "alerts: A, B"},
		{&appsv1.Deployment{Status: appsv1.DeploymentStatus{Replicas: 1}}, "exporter: tasks, queues and workers of the broker as metrics; 0 of 1 available"},
		{&corev1.ConfigMap{Data: map[string]string{"a.json": `{"title": "Overview"}`, "b.json": "{"}}, "Grafana dashboard: Overview, b.json"},
		{&corev1.Secret{Data: map[string][]byte{"LOG_LEVEL": []byte("INFO"), "ENVIRONMENT": []byte("secret value")}}, "settings for the workloads: ENVIRONMENT, LOG_LEVEL"},
	} {
		if got := purpose(tc.object); got != tc.want {
			t.Errorf("%s: %q, want %q", kind(tc.object), got, tc.want)
		}
	}
}
