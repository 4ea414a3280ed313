// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/internal/taskexporter/status"
	"obstack.dev/obstack/test/testenv"
)

// verifyBench is a control plane without nodes. What Pods would do is done by the test: they serve
// what is asked through the API server, and send test events.
type verifyBench struct {
	*testenv.ControlPlane
	api client.WithWatch

	mu sync.Mutex
	// down is whether the targets are, and events whether workers send any.
	down, events bool
	// closed is whether nothing is behind Services, and dead whether the operator is.
	closed, dead bool
	// silent is whether no process in Python reports itself.
	silent bool
	total  uint64
	// sent are the IDs of events, and shown how often Sentry has been asked for one.
	sent  []string
	shown int
	// pod is the last that was seen, and ends says how it ended; a Pod without an end stays.
	pod  *corev1.Pod
	ends *corev1.ContainerStateTerminated
}

func newVerifyBench(t *testing.T) *verifyBench {
	t.Helper()
	plane, api := testenv.Start(t, testenv.Options{})
	b := &verifyBench{ControlPlane: plane, api: api}
	b.reset()
	sentry := httptest.NewServer(http.HandlerFunc(b.sentry))
	t.Cleanup(sentry.Close)
	for _, name := range []string{"shop", "monitoring", "obstack-system"} {
		testenv.Create(t, api, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
		}})
	}
	testenv.Create(t, api, &monitoringv1.Prometheus{ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: "k8s"}})
	testenv.Create(t, api, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "obstack-system", Name: "sentry", Labels: map[string]string{obsv1.LabelPlatform: "default"},
		},
		StringData: map[string]string{"token": "marked-secret"},
	})
	platform := &obsv1.ObservabilityPlatform{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	platform.Spec.Prometheus = &obsv1.PlatformPrometheus{
		Ref: &obsv1.PlatformPrometheusRef{Namespace: "monitoring", Name: "k8s"},
	}
	platform.Spec.Sentry = &obsv1.PlatformSentry{
		URL: obsv1.PlatformURL(sentry.URL), Organization: "shop",
		TokenFrom: &obsv1.PlatformSecretSource{SecretKeyRef: obsv1.SecretKeySelector{Name: "sentry", Key: "token"}},
	}
	testenv.Create(t, api, platform)
	b.operator(t, "5s")
	ctx, stop := context.WithCancel(t.Context())
	kubelet := make(chan struct{})
	go func() {
		defer close(kubelet)
		for ctx.Err() == nil {
			b.kubelet(ctx)
			b.lead(ctx)
			pause(ctx, 50*time.Millisecond)
		}
	}()
	t.Cleanup(func() { stop(); <-kubelet })
	return b
}

// reset makes all well.
func (b *verifyBench) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down, b.events, b.ends, b.shown, b.pod = false, true, &corev1.ContainerStateTerminated{}, 0, nil
	b.closed, b.dead, b.silent = false, false, false
}

// kubeconfig leads to the API server by way of the test, which serves what Services would.
func (b *verifyBench) kubeconfig(t *testing.T, from string) string {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", from)
	if err != nil {
		t.Fatal(err)
	}
	target, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{
		Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch _, path, proxied := strings.Cut(r.URL.Path, "/proxy/"); {
		case !proxied:
			if r.Method == http.MethodDelete { // A busy API server takes longer than the grace of a command.
				pause(r.Context(), grace+time.Second)
			}
			forward.ServeHTTP(w, r)
		case b.isClosed():
			http.Error(w, "no endpoints available", http.StatusServiceUnavailable)
		case strings.Contains(r.URL.Path, "/monitoring/services/http:prometheus-operated:9090/"):
			b.prometheus(w, r, path)
		case strings.HasSuffix(r.URL.Path, "/shop/services/http:shop-tasks-main:9808/proxy/status"):
			b.exporter(w)
		default:
			http.Error(w, r.URL.Path, http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: %q}}]\n"+
		"contexts: [{name: a, context: {cluster: a}}]\ncurrent-context: a\n", server.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (b *verifyBench) prometheus(w http.ResponseWriter, r *http.Request, path string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := float64(time.Now().UnixMilli()) / 1000
	labels := func(subject, more string) string {
		return fmt.Sprintf(`{"namespace":"shop","obstack_stack":"shop",%s%s}`, subject, more)
	}
	const monitor, broker, python = `"obstack_monitor":"api"`, `"obstack_broker":"main"`, `"obstack_monitor":"python"`
	sample := func(metric string, value float64) string {
		return fmt.Sprintf(`{"metric":%s,"value":[%f,"%f"]}`, metric, now, value)
	}
	var result []string
	query := r.URL.Query().Get("query")
	switch {
	case path == "api/v1/targets":
		fmt.Fprintf(w, `{"status":"success","data":{"activeTargets":[{"scrapePool":"serviceMonitor/shop/shop-api/0",`+
			`"labels":%s,"health":"down","lastError":"server returned HTTP status 404 Not Found"}]}}`, labels(monitor, ""))
		return
	case path == "api/v1/rules":
		fmt.Fprint(w, `{"status":"success","data":{"groups":[{"name":"obstack:shop/shop:http","file":"shop-shop.yaml",`+
			`"rules":[{"name":"ObstackHighErrorRatio","health":"ok"}]}]}}`)
		return
	case query == "vector(time())":
		result = append(result, sample("{}", now))
	case strings.Contains(query, "timestamp(") && b.down:
		result = append(result, sample(labels(broker, ""), now))
	case strings.Contains(query, "timestamp("):
		for _, subject := range []string{monitor, broker, python} {
			result = append(result, sample(labels(subject, ""), now-1))
		}
	case strings.Contains(query, "obstack_python_info"):
		result = append(result, sample(labels(python, b.process()), 4))
	case strings.HasPrefix(query, "count_values"):
		up := `,"up":"1"`
		result = append(result, sample(labels(broker, up), 1))
		if b.down {
			up = `,"up":"0"`
		}
		result = append(result, sample(labels(monitor, up), 2))
	case strings.Contains(query, "__name__"):
		result = append(result, sample(labels(monitor, `,"__name__":"http_request_duration_highr_seconds_count"`), 1))
	}
	fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[%s]}}`, strings.Join(result, ","))
}

// process are the labels of processes in Python, which are none of obstack's where they are silent.
func (b *verifyBench) process() string {
	sentry := "auto"
	switch {
	case b.silent:
		return ""
	case b.down:
		sentry = "absent"
	}
	return fmt.Sprintf(`,"obstack_workload":"shop/api","sentry":%q,"logging":"auto","structlog":"own","celery":"absent",`+
		`"metrics":"port"`, sentry)
}

func (b *verifyBench) exporter(w http.ResponseWriter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	document := status.Document{Counting: true, BrokerReached: true, RepliedAt: &now, Workers: status.Workers{Live: 2}}
	if b.total++; !b.events {
		document.Workers.EventsOff, document.Workers.EventsOffNames = 1, []string{"celery@worker-1"}
	}
	document.EventsTotal = b.total
	_ = json.NewEncoder(w).Encode(document)
}

// sentry shows an event when it is asked for the second time.
func (b *verifyBench) sentry(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id, event := strings.CutPrefix(strings.TrimSuffix(r.URL.Path, "/"), "/api/0/organizations/shop/eventids/")
	if event {
		b.shown++
	}
	switch {
	case r.Header.Get("Authorization") != "Bearer marked-secret":
		w.WriteHeader(http.StatusUnauthorized)
	case !event && r.URL.Path != "/api/0/organizations/shop/", event && (b.shown < 2 || !slices.Contains(b.sent, id)):
		w.WriteHeader(http.StatusNotFound)
	}
	fmt.Fprint(w, "{}")
}

func (b *verifyBench) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// operator is a Deployment of one that asks Prometheus so often.
func (b *verifyBench) operator(t *testing.T, interval string) {
	t.Helper()
	labels := map[string]string{"app.kubernetes.io/part-of": "obstack"}
	operator := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{
		Namespace: "obstack-system", Name: "obstack", Labels: labels,
	}}
	if err := b.api.Delete(t.Context(), operator.DeepCopy()); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	operator.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	operator.Spec.Template.Labels = labels
	operator.Spec.Template.Spec.Containers = []corev1.Container{
		{Name: "cache", Image: "proxy:1"},
		{Name: "manager", Image: "obstack:test", Args: []string{"--leader-elect", "--proof-interval=" + interval}},
	}
	testenv.Create(t, b.api, operator)
}

// lead renews the Lease of the operator.
func (b *verifyBench) lead(ctx context.Context) {
	b.mu.Lock()
	defer b.mu.Unlock()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "obstack-system", Name: obsv1.LeaderLease}}
	if b.dead {
		return
	}
	_, _ = controllerutil.CreateOrUpdate(ctx, b.api, lease, func() error { // It is tried again.
		lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = new("obstack-0"), new(int32(15))
		lease.Spec.RenewTime = new(metav1.NowMicro())
		return nil
	})
}

// kubelet marks Pods as obstack would, and ends them.
func (b *verifyBench) kubelet(ctx context.Context) {
	pods := &corev1.PodList{}
	if err := b.api.List(ctx, pods, client.InNamespace("shop")); err == nil {
		for i := range pods.Items {
			b.run(ctx, &pods.Items[i])
		}
	}
}

func (b *verifyBench) run(ctx context.Context, pod *corev1.Pod) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return
	}
	b.pod = pod.DeepCopy()
	if b.ends == nil {
		return
	}
	marked := pod.DeepCopy()
	marked.Annotations[obsv1.MarkInjected] = "5b1f"
	if b.api.Patch(ctx, marked, client.MergeFrom(pod)) != nil {
		return
	}
	marked.Status.Phase = corev1.PodSucceeded
	if b.ends.ExitCode != 0 {
		marked.Status.Phase = corev1.PodFailed
	}
	marked.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "test-event", State: corev1.ContainerState{Terminated: b.ends},
	}}
	_ = b.api.Status().Update(ctx, marked) // It is tried again.
	b.sent = append(b.sent, pod.Spec.Containers[0].Args[1:]...)
}
