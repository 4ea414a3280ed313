// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// proxied is an API server in front of that of a kubeconfig, with the rights of its user. What
// before responds to goes no further.
func proxied(t testing.TB, kubeconfig string, before func(http.ResponseWriter, *http.Request) bool) string {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before == nil || !before(w, r) {
			forward.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// refuse a request as the API server does.
func refuse(w http.ResponseWriter, code int) {
	reason := map[int]metav1.StatusReason{
		http.StatusUnauthorized: metav1.StatusReasonUnauthorized, http.StatusForbidden: metav1.StatusReasonForbidden,
		http.StatusTooManyRequests: metav1.StatusReasonTooManyRequests, http.StatusGone: metav1.StatusReasonExpired,
		http.StatusServiceUnavailable: metav1.StatusReasonServiceUnavailable,
	}[code]
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"refused","reason":%q,"code":%d}`,
		reason, code)
}

// through runs a command line against an API server without a kubeconfig.
func through(t testing.TB, server string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	streams, _, out, errs := genericiooptions.NewTestIOStreams()
	code = run(t.Context(), append(args, "--kubeconfig=/dev/null", "--server="+server), streams)
	return out.String(), errs.String(), code
}

// blind is what it says where reads fail.
func (p *patient) blind(t *testing.T) {
	t.Helper()
	for path, name := range map[string]string{
		"mutatingwebhookconfigurations": "injection", "clusterrolebindings": "roles",
		"/observabilitystacks.obstack.dev": "definitions", "secrets/obstack-webhook-cert": "certificate",
		"/observabilitystacks": "stacks", "/thanosrulers": "prometheus", "/servicemonitors": "prometheus",
		"/deployments": "operator", "clusterroles/obstack-manager-role": "roles",
	} {
		out, code := p.doctorWithout(t, path, http.StatusServiceUnavailable)
		if code != exitWrong || !strings.Contains(out, name+": problem") || !strings.Contains(out, "1 problem:") {
			t.Errorf("where %s cannot be read, it ends with %d and says:\n%s", path, code, out)
		}
	}
	for _, status := range []int{401, 429, 500, 503} {
		out, code := p.doctorWithout(t, "", status)
		if code != exitWrong || !strings.Contains(out, "operator: problem") || strings.Contains(out, "unknown") ||
			strings.Contains(out, "does not serve") {
			t.Errorf("where all is %d, it ends with %d and says:\n%s", status, code, out)
		}
	}
	if out, code := p.doctorWithout(t, "/apis", http.StatusServiceUnavailable); code != exitWrong || out != "" {
		t.Errorf("without discovery, it ends with %d and says:\n%s", code, out)
	}
}

// toNobody is what it says to somebody without any rights.
func (p *patient) toNobody(t *testing.T) {
	t.Helper()
	nobody, err := p.plane.User("nobody")
	if err != nil {
		t.Fatal(err)
	}
	out, _, code := kubectlObstack(t, nobody, "doctor")
	if p.servesPolicies() {
		golden(t, "doctor/nobody.txt", out)
	}
	if code != exitWrong {
		t.Errorf("to nobody it ends with %d", code)
	}
}

// doctorWithout what ends with a path, to which the API server responds with a code. It goes on to
// serve its version and, but for that path, discovery.
func (p *patient) doctorWithout(t *testing.T, path string, code int) (string, int) {
	t.Helper()
	server := proxied(t, p.plane.Kubeconfig, func(w http.ResponseWriter, r *http.Request) bool {
		discovery := slices.Contains([]string{"/version", "/api", "/apis"}, r.URL.Path) && r.URL.Path != path
		if discovery || !strings.HasSuffix(r.URL.Path, path) {
			return false
		}
		refuse(w, code)
		return true
	})
	out, errs, ended := through(t, server, "doctor")
	if (out == "") != strings.HasPrefix(errs, "error: ask the cluster") {
		t.Errorf("it says %q", errs)
	}
	return out, ended
}
