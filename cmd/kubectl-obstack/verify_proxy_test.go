// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/proof/promclient"
)

// flagsFor a server, with a token that is sent with each request.
func flagsFor(t *testing.T, server *httptest.Server) *genericclioptions.ConfigFlags {
	t.Helper()
	t.Setenv("KUBECONFIG", "")
	flags := genericclioptions.NewConfigFlags(true)
	none, token, insecure := "/dev/null", "marked-secret", true
	flags.KubeConfig, flags.APIServer, flags.BearerToken, flags.Insecure = &none, &server.URL, &token, &insecure
	return flags
}

// TestProxyFollowsNobodyElsewhere because the caller's token would go along.
func TestProxyFollowsNobodyElsewhere(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		var asked atomic.Int32
		elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
		defer elsewhere.Close()
		var tokens atomic.Int32
		// What the API server passes on from behind a Service.
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "Bearer marked-secret" {
				tokens.Add(1)
			}
			http.Redirect(w, r, elsewhere.URL+"/status", status)
		}))
		defer server.Close()
		proxy, err := newProxy(flagsFor(t, server))
		if err != nil {
			t.Fatal(err)
		}
		v := &verification{proxy: proxy, stack: &obsv1.ObservabilityStack{}}
		_, exporterErr := v.exporterStatus(t.Context(), "shop-tasks-main")
		prometheus := promclient.Client{URL: proxy.base, HTTP: proxy.http}
		queryErr := prometheus.Query(t.Context(), clock, func(promclient.Sample) {})
		for who, err := range map[string]error{"the exporter": exporterErr, "Prometheus": queryErr} {
			if err == nil || !strings.Contains(err.Error(), "it redirects to another address, which is not asked") {
				t.Errorf("%d of %s gives %v", status, who, err)
			}
		}
		if asked.Load() != 0 || tokens.Load() != 2 {
			t.Errorf("%d: the other server got %d requests, and the API server %d tokens, want 0 and 2", status,
				asked.Load(), tokens.Load())
		}
	}
}

// TestProxyStaysBelowTheService whatever somebody writes into a Prometheus object.
func TestProxyStaysBelowTheService(t *testing.T) {
	base, err := url.Parse("https://cluster.example.com/behind")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ service, prefix, path, says string }{
		{"web", "/prometheus/", "/behind/api/v1/namespaces/monitoring/services/http:web:9090/proxy/prometheus/", ""},
		{"web", "", "/behind/api/v1/namespaces/monitoring/services/http:web:9090/proxy/", ""},
		{"web", "/../../../../../secrets", "", `routePrefix of Prometheus monitoring/k8s is "/../../../../../secrets"`},
		{"web", "/a/./b", "", "routePrefix"},
		{"web", "/%2e%2e/%2e%2e", "", "routePrefix"},
		{"web", `/..\..`, "", "routePrefix"},
		{"web", "/a?b#c", "", "routePrefix"},
		{"../../secrets", "/", "", `serviceName of Prometheus monitoring/k8s is "../../secrets"`},
		{"a/b", "/", "", "serviceName"},
		{"web:80", "/", "", "serviceName"},
		{"", "/", "", "serviceName"},
	} {
		object := &monitoringv1.Prometheus{ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: "k8s"}}
		object.Spec.ServiceName, object.Spec.RoutePrefix = &tc.service, tc.prefix
		address, err := proxy{base: base}.prometheus(object)
		switch {
		case tc.says == "" && (err != nil || address.Path != tc.path):
			t.Errorf("%q and %q give %v (%v), want %s", tc.service, tc.prefix, address, err, tc.path)
		case tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)):
			t.Errorf("%q and %q give %v, %v, want %q", tc.service, tc.prefix, address, err, tc.says)
		}
	}
}
