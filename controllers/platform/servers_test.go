// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// TestBackendsKeepCredentialsFromOtherServers: neither a redirect nor a request carries them away.
func TestBackendsKeepCredentialsFromOtherServers(t *testing.T) {
	asked := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer other.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/here" {
			http.Redirect(w, r, "/there", http.StatusFound)
			return
		}
		if r.URL.Path == "/there" {
			echo(w, r)
			return
		}
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	b, _, _ := backends(t, secret("prometheus", map[string]string{"token": marked}, ours))
	endpoints, err := b.Prometheus(t.Context(), withPrometheus(server.URL, bearer))
	if err != nil {
		t.Fatal(err)
	}
	if status, _ := get1(t, endpoints[0], "away"); status != http.StatusTemporaryRedirect || asked {
		t.Errorf("status = %d, the other server was asked: %t; want the redirect itself", status, asked)
	}
	if _, body := get1(t, endpoints[0], "here"); body != "/there Bearer "+marked+" " {
		t.Errorf("a redirect of the server to itself gives %q", body)
	}
	foreign := endpoints[0]
	foreign.URL, _ = foreign.URL.Parse(other.URL)
	if _, body := get1(t, foreign, ""); !strings.Contains(body, errOtherServer.Error()) || asked {
		t.Errorf("a request for another server gives %q", body)
	}
}

func TestBackendsVerifyServers(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(echo))
	defer server.Close()
	server.Config.ErrorLog = nil
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	b, _, _ := backends(t, secret("ca", map[string]string{"ca.crt": string(authority)}, ours))
	for name, tc := range map[string]struct {
		tls  *obsv1.PlatformTLS
		want int
	}{
		"unknown authority": {nil, 0},
		"known authority":   {&obsv1.PlatformTLS{CAFrom: from("ca", "ca.crt")}, http.StatusOK},
		"another name":      {&obsv1.PlatformTLS{CAFrom: from("ca", "ca.crt"), ServerName: "other.test"}, 0},
		"its name":          {&obsv1.PlatformTLS{CAFrom: from("ca", "ca.crt"), ServerName: "example.com"}, http.StatusOK},
	} {
		platform := withPrometheus(server.URL, func(p *obsv1.PlatformPrometheus) { p.TLS = tc.tls })
		platform.Name = "default"
		b.Forget("default")
		endpoints, err := b.Prometheus(t.Context(), platform)
		if err != nil {
			t.Fatal(err)
		}
		if got, body := get1(t, endpoints[0], ""); got != tc.want {
			t.Errorf("%s: status %d (%s), want %d", name, got, body, tc.want)
		}
	}
}

// TestBackendsAskEveryShard of a Prometheus object, and another replica where one does not respond.
func TestBackendsAskEveryShard(t *testing.T) {
	starting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer starting.Close()
	running := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Host+r.URL.Path)
	}))
	defer running.Close()
	k8s := &monitoringv1.Prometheus{ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: "k8s"}}
	k8s.Spec.Shards, k8s.Spec.Replicas, k8s.Spec.RoutePrefix = new(int32(2)), new(int32(2)), "/prometheus"
	b, api, _ := backends(t, k8s)
	b.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		switch host, _, _ := net.SplitHostPort(address); host {
		case "prometheus-k8s-0.prometheus-operated.monitoring.svc":
			return nil, errors.New("no such host")
		case "prometheus-k8s-shard-1-0.prometheus-operated.monitoring.svc":
			return (&net.Dialer{}).DialContext(ctx, network, starting.Listener.Addr().String())
		default:
			return (&net.Dialer{}).DialContext(ctx, network, running.Listener.Addr().String())
		}
	}
	platform := platformOf(obsv1.ObservabilityPlatformSpec{Prometheus: &obsv1.PlatformPrometheus{
		Ref: &obsv1.PlatformPrometheusRef{Namespace: "monitoring", Name: "k8s"},
	}})
	endpoints, err := b.Prometheus(t.Context(), platform)
	if err != nil || len(endpoints) != 2 {
		t.Fatalf("%d endpoints (%v), want one for each shard", len(endpoints), err)
	}
	for i, want := range []string{
		"prometheus-k8s-1.prometheus-operated.monitoring.svc:9090/prometheus/api",
		"prometheus-k8s-shard-1-1.prometheus-operated.monitoring.svc:9090/prometheus/api",
	} {
		if _, got := get1(t, endpoints[i], "api"); got != want {
			t.Errorf("%s: asked %q, want %q", endpoints[i].Name, got, want)
		}
	}
	followsThePrometheus(t, b, api, k8s, platform)
}

// followsThePrometheus changes the object, and deletes it.
func followsThePrometheus(t *testing.T, b *Backends, api client.Client, k8s *monitoringv1.Prometheus,
	platform *obsv1.ObservabilityPlatform) {
	t.Helper()
	now := time.Now().Add(2 * rereadAfter)
	b.Now = func() time.Time { return now }
	k8s.Spec.Shards, k8s.Spec.ServiceName = new(int32(1)), new("own")
	if err := api.Update(t.Context(), k8s); err != nil {
		t.Fatal(err)
	}
	endpoints, err := b.Prometheus(t.Context(), platform)
	if err != nil || len(endpoints) != 1 || endpoints[0].URL.Host != "prometheus-k8s-0.own.monitoring.svc:9090" {
		t.Errorf("endpoints = %+v, %v, want one at the Service of the spec", endpoints, err)
	}
	now = now.Add(2 * rereadAfter)
	if err := api.Delete(t.Context(), k8s); err != nil {
		t.Fatal(err)
	}
	_, err = b.Prometheus(t.Context(), platform)
	if problem, ok := errors.AsType[*Problem](err); !ok || problem.Reason != obsv1.ReasonPrometheusNotFound {
		t.Errorf("error = %v, want PrometheusNotFound", err)
	}
}

func TestBackendsAskNobodyWithoutToken(t *testing.T) {
	b, _, _ := backends(t)
	for _, spec := range []obsv1.ObservabilityPlatformSpec{
		{},
		{
			Grafana: &obsv1.PlatformGrafana{URL: "https://grafana.example"},
			Sentry:  &obsv1.PlatformSentry{URL: "https://sentry.example"},
		},
	} {
		for name, of := range map[string]func(context.Context, *obsv1.ObservabilityPlatform) ([]Endpoint, error){
			"prometheus": b.Prometheus, "grafana": b.Grafana, "sentry": b.Sentry,
		} {
			if endpoints, err := of(t.Context(), platformOf(spec)); len(endpoints) > 0 || err != nil {
				t.Errorf("%s: %v, %v, want none", name, endpoints, err)
			}
		}
	}
}
