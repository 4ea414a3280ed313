// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	certutil "k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// logs is a buffer that the operator writes while the test reads.
type logs struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}

// TestRun starts the operator as main does, with leader election and metrics,
// sees it work, and stops it.
func TestRun(t *testing.T) {
	plane, cluster := testenv.Start(t, testenv.Options{})
	metrics, health := testenv.FreeAddress(t), testenv.FreeAddress(t)
	ctx, stop := context.WithCancel(t.Context())
	output, done := &logs{}, make(chan error, 1)
	go func() {
		done <- run(ctx, []string{
			"--kubeconfig", plane.Kubeconfig, "--metrics-bind-address", metrics, "--metrics-secure=false",
			"--health-probe-bind-address", health, "--leader-elect", "--leader-election-namespace", "default",
			"--watch-namespaces", "default", "--log-level", "debug",
		}, output)
	}()
	poll(t, "readiness", func() error { return get(health, "/readyz", "ok") })
	poll(t, "liveness", func() error { return get(health, "/healthz", "ok") })

	createStack(t, cluster)
	poll(t, "a ServiceMonitor", func() error {
		return cluster.Get(ctx, client.ObjectKey{Namespace: "default", Name: "shop-api"}, &monitoringv1.ServiceMonitor{})
	})
	poll(t, "its metrics", func() error { return get(metrics, "/metrics", `obstack_stacks{ready="False"} 1`) })
	wantNoSecrets(t, cluster, metrics)

	lease := &coordinationv1.Lease{}
	if err := cluster.Get(ctx, client.ObjectKey{Namespace: "default", Name: "obstack.obstack.dev"}, lease); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("run ended with: %v", err)
	}
	if err := cluster.Get(t.Context(), client.ObjectKeyFromObject(lease), lease); err != nil {
		t.Fatal(err)
	}
	if holder := lease.Spec.HolderIdentity; holder != nil && *holder != "" {
		t.Errorf("the lease is still held by %s, want it released", *holder)
	}
	wantJSONLines(t, output.String())
	if containsSecret(output.String()) {
		t.Errorf("the log, at level debug, shows a Secret's value:\n%s", output)
	}
}

// secretValues must appear nowhere but in Secrets. The stack's DSN is malformed,
// which is what the operator would like to complain about.
var secretValues = []string{"hunter2", "f00dfeed"}

func containsSecret(text string) bool {
	return slices.ContainsFunc(secretValues, func(value string) bool { return strings.Contains(text, value) })
}

func createStack(t *testing.T, cluster client.Client) {
	t.Helper()
	key := func(name string) *obsv1.SecretKeySource {
		return &obsv1.SecretKeySource{SecretKeyRef: obsv1.SecretKeySelector{Name: name, Key: "value"}}
	}
	for name, value := range map[string]string{
		"redis": "redis://:hunter2@redis:6379/0", "sentry": "https://f00dfeed@nowhere",
	} {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string][]byte{"value": []byte(value)},
		}
		if err := cluster.Create(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
	}
	stack := &obsv1.ObservabilityStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shop"},
		Spec: obsv1.ObservabilityStackSpec{
			Metrics: &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{
				{Name: "api", Selector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "api"}}},
			}},
			Tasks:  &obsv1.TasksSpec{Brokers: []obsv1.Broker{{Name: "main", URLFrom: key("redis")}}},
			Sentry: &obsv1.SentrySpec{DSNFrom: key("sentry")},
		},
	}
	if err := cluster.Create(t.Context(), stack); err != nil {
		t.Fatal(err)
	}
}

func TestMetricsCertificateMayComeLater(t *testing.T) {
	dir := t.TempDir()
	opts, err := parseFlags([]string{"--metrics-cert-dir=" + dir}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{}
	for _, set := range opts.metrics().TLSOpts {
		set(config)
	}
	if _, err := config.GetCertificate(nil); err == nil || !strings.Contains(err.Error(), "--metrics-cert-dir") {
		t.Errorf("without a certificate: %v, want an error that names the flag", err)
	}
	for _, name := range []string{"first", "renewed"} {
		certificate, key, err := certutil.GenerateSelfSignedCertKey(name, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(
			os.WriteFile(filepath.Join(dir, certFile), certificate, 0o600),
			os.WriteFile(filepath.Join(dir, keyFile), key, 0o600))
		if err != nil {
			t.Fatal(err)
		}
		if served, err := config.GetCertificate(nil); err != nil || served.Leaf.VerifyHostname(name) != nil {
			t.Errorf("with the certificate %q: %v, want it served", name, err)
		}
	}
}

// wantNoSecrets looks where users look: the status, events, metrics and the exporter.
func wantNoSecrets(t *testing.T, cluster client.Client, metrics string) {
	t.Helper()
	poll(t, "an event of the DSN", func() error {
		events := &eventsv1.EventList{}
		if err := cluster.List(t.Context(), events, client.InNamespace("default")); err != nil {
			return err
		}
		text := fmt.Sprintf("%+v", events.Items)
		if containsSecret(text) {
			t.Errorf("an event shows a Secret's value: %s", text)
		}
		if !strings.Contains(text, obsv1.ReasonInvalidDSN) {
			return errors.New("no event of the malformed DSN")
		}
		return nil
	})
	stack, exporter := &obsv1.ObservabilityStack{}, &appsv1.Deployment{}
	err := errors.Join(
		cluster.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "shop"}, stack),
		cluster.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "shop-tasks-main"}, exporter))
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%+v %+v", stack, exporter); containsSecret(text) {
		t.Errorf("the stack or its exporter shows a Secret's value: %s", text)
	}
	for _, value := range secretValues {
		if get(metrics, "/metrics", value) == nil {
			t.Errorf("a metric shows the Secret's value %s", value)
		}
	}
}

func get(address, path, want string) error {
	response, err := http.Get("http://" + address + path)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
		return fmt.Errorf("%s responds with %s, want %q in it", path, response.Status, want)
	}
	return nil
}

func poll(t *testing.T, what string, check func() error) {
	t.Helper()
	testenv.PollFor(t, 30*time.Second, func(context.Context) string {
		if err := check(); err != nil {
			return what + ": " + err.Error()
		}
		return ""
	})
}

// wantJSONLines checks that every line of the log is a JSON object with a readable time.
func wantJSONLines(t *testing.T, output string) {
	t.Helper()
	for line := range strings.Lines(output) {
		var entry struct {
			TS time.Time `json:"ts"`
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.TS.IsZero() {
			t.Errorf("log line is not JSON with a time: %v: %s", err, line)
		}
	}
	if !strings.Contains(output, "Starting obstack") {
		t.Error("the log does not say that obstack starts")
	}
}

// TestRunSendsTestEvents: the image is run so by kubectl obstack verify.
func TestRunSendsTestEvents(t *testing.T) {
	sent := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent <- string(body)
		_, _ = io.WriteString(w, "{}")
	}))
	defer server.Close()
	t.Setenv("SENTRY_DSN", strings.Replace(server.URL, "://", "://0123456789abcdef0123456789abcdef@", 1)+"/1")
	id := strings.Repeat("a", 32)
	if err := run(t.Context(), []string{"test-event", id}, io.Discard); err != nil {
		t.Fatal(err)
	}
	if body := <-sent; !strings.Contains(body, id) {
		t.Errorf("what was sent lacks the ID: %s", body)
	}
}
