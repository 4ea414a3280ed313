// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// TestDemoSaysThatItNeedsPython before it builds anything.
func TestDemoSaysThatItNeedsPython(t *testing.T) {
	old := t.TempDir()
	if err := os.WriteFile(filepath.Join(old, "python3"), []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"none": t.TempDir(), "one that is too old": old} {
		t.Setenv("PATH", path)
		out := &bytes.Buffer{}
		err := run(t.Context(), out, options{live: true, python: true})
		if err == nil || !strings.Contains(err.Error(), "apt install python3 python3-venv") ||
			strings.Contains(out.String(), "[1/") {
			t.Errorf("%s: it says %v after\n%s", name, err, out)
		}
	}
}

func TestPodScrapeConfigsSayWhatDiscoveryWould(t *testing.T) {
	monitor := &monitoringv1.PodMonitor{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop-python"},
		Spec: monitoringv1.PodMonitorSpec{PodMetricsEndpoints: []monitoringv1.PodMetricsEndpoint{{Path: "/metrics",
			RelabelConfigs: []monitoringv1.RelabelConfig{{Action: "keep", Regex: "obstack-py-[0-9]+",
				SourceLabels: []monitoringv1.LabelName{"__meta_kubernetes_pod_container_port_name"}}},
		}}},
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "api-5d-x",
		OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "api-5d"}}}}
	pod.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http"}, {Name: "obstack-py-0"}}}}
	const want = `
- job_name: podMonitor/shop/shop-python/0
  metrics_path: /metrics
  static_configs:
  - targets: ["127.0.0.1:1"]
    labels:
      namespace: web
      pod: api-5d-x
      job: shop/shop-python
      __meta_kubernetes_namespace: web
      __meta_kubernetes_pod_container_port_name: obstack-py-0
      __meta_kubernetes_pod_controller_kind: ReplicaSet
      __meta_kubernetes_pod_controller_name: api-5d
  relabel_configs:
  - {action: keep, regex: "obstack-py-[0-9]+", source_labels: [__meta_kubernetes_pod_container_port_name]}
`
	got, err := yaml.Marshal(podScrapeConfigs(monitor, []podTarget{{pod, "127.0.0.1:1"}}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(decode(t, want), decode(t, string(got))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReceiverKeepsTheFirstOfEachKind(t *testing.T) {
	r, err := startReceiver()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	}()
	send := func(format string, args ...any) {
		var body bytes.Buffer
		zipped := gzip.NewWriter(&body)
		_, _ = fmt.Fprintf(zipped, "{}\n{\"type\":\"event\"}\n"+format+"\n", args...)
		_ = zipped.Close()
		request, err := http.NewRequest(http.MethodPost, strings.Replace(r.dsn, "demo@", "", 1), &body)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Encoding", "gzip")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
	}
	const exception = `"exception":{"values":[{"type":"Outer"},{"type":"KeyError","value":"%s"}]}`
	send(`{"type":"transaction"}`)
	send(`{"release":"a@1","transaction":"/a","request":{"headers":{"authorization":"[Filtered]"}},`+exception+`}`, "web")
	if _, all := r.events(); all {
		t.Error("it has an event of a worker that nobody sent")
	}
	send(`{"transaction":"/b","request":{"headers":{"a":"b"}},`+exception+`}`, "later")
	send(`{"environment":"e","transaction":"t",`+exception+`}`, "task")
	const want = "\n        KeyError: web, in /a, with release a@1, environment , authorization [Filtered]" +
		"\n        KeyError: task, in t, with release , environment e"
	if got, all := r.events(); got != want || !all {
		t.Errorf("events (%t):%s\nwant:%s", all, got, want)
	}
}

// TestDemoPython takes two minutes, too. It needs Python, and an index of packages once.
func TestDemoPython(t *testing.T) {
	needParts(t)
	d := startDemo(t, options{live: true, python: true})
	d.out.await(t, d.ended, `Instead of Redis and Sentry: a broker and a receiver of events in Go`)
	address := d.awaitPage(t)
	d.awaitBurning(t, address)
	d.out.await(t, d.ended, `\d+ processes of 2 workloads: sentry auto \d+; logging auto \d+`)
	d.out.await(t, d.ended, `\{"timestamp": .*"logger": "shop.api", "event": "ordered",`)
	d.out.await(t, d.ended, `\{"timestamp": .*"logger": "shop.tasks", "event": "paid",.*"task_name": "shop.tasks.pay"`)
	d.out.await(t, d.ended, `ConnectionError: the payment provider is overloaded, in /orders, `+
		`with release shop-api@1.4.2, environment production, [Aa]uthorization \[Filtered\]`)
	d.out.await(t, d.ended, `ValueError: the card is refused, in shop.tasks.pay, with release shop-worker@1.4.2`)
	page := fetch(t, address)
	for _, want := range []string{">shop/shop-api</td>", ">shop/shop-worker</td>"} {
		if !strings.Contains(page, want) {
			t.Errorf("the overview does not show %s", want)
		}
	}
	for _, page := range d.pages(t, address) {
		wantDrawn(t, fetch(t, page))
	}
	d.end(t, address)
}
