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
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

const marked = "correct-horse-battery"

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, monitoringv1.AddToScheme, obsv1.AddToScheme,
	} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// backends have those objects, and count the reads of whole Secrets.
func backends(t *testing.T, objects ...client.Object) (*Backends, client.Client, *int) {
	t.Helper()
	reads := 0
	api := fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(objects...).
		WithInterceptorFuncs(interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey,
			obj client.Object, opts ...client.GetOption) error {
			if _, whole := obj.(*corev1.Secret); whole {
				reads++
			}
			return c.Get(ctx, key, obj, opts...)
		}}).Build()
	return &Backends{Live: api, Secrets: api, Namespace: "obstack-system", Now: time.Now}, api, &reads
}

func secret(name string, data map[string]string, labels map[string]string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "obstack-system", Name: name, Labels: labels}}
	s.Data = map[string][]byte{}
	for key, value := range data {
		s.Data[key] = []byte(value)
	}
	return s
}

var ours = map[string]string{obsv1.LabelPlatform: "default"}

func from(name, key string) *obsv1.PlatformSecretSource {
	return &obsv1.PlatformSecretSource{SecretKeyRef: obsv1.SecretKeySelector{Name: name, Key: key}}
}

func platformOf(spec obsv1.ObservabilityPlatformSpec) *obsv1.ObservabilityPlatform {
	return &obsv1.ObservabilityPlatform{ObjectMeta: metav1.ObjectMeta{Name: "default", Generation: 1}, Spec: spec}
}

func withPrometheus(url string, change func(*obsv1.PlatformPrometheus)) *obsv1.ObservabilityPlatform {
	spec := &obsv1.PlatformPrometheus{URL: obsv1.PlatformURL(url)}
	if change != nil {
		change(spec)
	}
	return platformOf(obsv1.ObservabilityPlatformSpec{Prometheus: spec})
}

func get1(t *testing.T, endpoint Endpoint, path string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, endpoint.URL.JoinPath(path).String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := endpoint.Client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	content, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(content)
}

// echo responds with the headers that say who asks.
func echo(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, r.URL.Path+" "+r.Header.Get("Authorization")+" "+r.Header.Get("X-Scope-OrgID"))
}

func TestBackendsSendCredentials(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	held := secret("prometheus", map[string]string{"token": " " + marked + "\n", "user": "obs", "password": "pw"}, ours)
	for name, tc := range map[string]struct {
		change func(*obsv1.PlatformPrometheus)
		want   string
	}{
		"none": {nil, "/base/x  "},
		"bearer": {func(p *obsv1.PlatformPrometheus) {
			p.Authorization = &obsv1.PlatformAuthorization{CredentialsFrom: *from("prometheus", "token")}
		}, "/base/x Bearer " + marked + " "},
		"another word, and a tenant": {func(p *obsv1.PlatformPrometheus) {
			p.Authorization = &obsv1.PlatformAuthorization{Type: "Token", CredentialsFrom: *from("prometheus", "token")}
			p.Tenant = "shop|pay"
		}, "/base/x Token " + marked + " shop|pay"},
		"basic": {func(p *obsv1.PlatformPrometheus) {
			p.BasicAuth = &obsv1.PlatformBasicAuth{
				UsernameFrom: *from("prometheus", "user"), PasswordFrom: *from("prometheus", "password"),
			}
		}, "/base/x Basic b2JzOnB3 "},
	} {
		t.Run(name, func(t *testing.T) {
			b, _, _ := backends(t, held)
			endpoints, err := b.Prometheus(t.Context(), withPrometheus(server.URL+"/base", tc.change))
			if err != nil || len(endpoints) != 1 {
				t.Fatalf("endpoints = %v, %v", endpoints, err)
			}
			if _, got := get1(t, endpoints[0], "x"); got != tc.want {
				t.Errorf("the server got %q, want %q", got, tc.want)
			}
		})
	}
}

func bearer(p *obsv1.PlatformPrometheus) {
	p.Authorization = &obsv1.PlatformAuthorization{CredentialsFrom: *from("prometheus", "token")}
}

func TestBackendsNameWhatIsWrongWithSecrets(t *testing.T) {
	caFrom := func(p *obsv1.PlatformPrometheus) { p.TLS = &obsv1.PlatformTLS{CAFrom: from("prometheus", "token")} }
	pair := func(p *obsv1.PlatformPrometheus) {
		p.TLS = &obsv1.PlatformTLS{CertFrom: from("prometheus", "token"), KeyFrom: from("prometheus", "token")}
	}
	for name, tc := range map[string]struct {
		held    *corev1.Secret
		change  func(*obsv1.PlatformPrometheus)
		reason  string
		missing string
	}{
		"missing": {secret("other", nil, ours), bearer, obsv1.ReasonSecretNotFound, "prometheus"},
		"without the label": {
			secret("prometheus", map[string]string{"token": marked}, nil), bearer, obsv1.ReasonSecretNotLabelled, "prometheus",
		},
		"another platform's": {
			secret("prometheus", map[string]string{"token": marked}, map[string]string{obsv1.LabelPlatform: "eu"}), bearer,
			obsv1.ReasonSecretNotLabelled, "prometheus",
		},
		"without the key": {
			secret("prometheus", map[string]string{"tok": marked}, ours), bearer, obsv1.ReasonKeyNotFound, "",
		},
		"empty": {
			secret("prometheus", map[string]string{"token": " \n"}, ours), bearer, obsv1.ReasonInvalidCredentials, "",
		},
		"two lines": {
			secret("prometheus", map[string]string{"token": marked + "\r\nX: y"}, ours), bearer,
			obsv1.ReasonInvalidCredentials, "",
		},
		"no authority": {
			secret("prometheus", map[string]string{"token": marked}, ours), caFrom, obsv1.ReasonInvalidCredentials, "",
		},
		"no certificate": {
			secret("prometheus", map[string]string{"token": marked}, ours), pair, obsv1.ReasonInvalidCredentials, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, _, _ := backends(t, tc.held)
			endpoints, err := b.Prometheus(t.Context(), withPrometheus("https://prometheus.example", tc.change))
			problem, ok := errors.AsType[*Problem](err)
			if !ok || problem.Reason != tc.reason || problem.Secret != tc.missing || endpoints != nil {
				t.Fatalf("problem = %+v (%v), want %s of Secret %q", problem, err, tc.reason, tc.missing)
			}
			if strings.Contains(problem.Message, marked) {
				t.Errorf("the message has the token: %s", problem.Message)
			}
		})
	}
}

// TestBackendsDoNotReadOtherNamespaces: a Secret of the name elsewhere is none of the platform's.
func TestBackendsDoNotReadOtherNamespaces(t *testing.T) {
	elsewhere := secret("prometheus", map[string]string{"token": marked}, ours)
	elsewhere.Namespace = "shop"
	b, _, reads := backends(t, elsewhere)
	platform := withPrometheus("https://prometheus.example", bearer)
	if _, err := b.Prometheus(t.Context(), platform); err == nil || *reads > 0 {
		t.Errorf("error = %v after %d reads, want a problem and none", err, *reads)
	}
	b.Namespace = ""
	_, err := b.Prometheus(t.Context(), platform)
	if err == nil || !strings.Contains(err.Error(), "--namespace") || *reads > 0 {
		t.Errorf("error = %v after %d reads, want one about --namespace and none", err, *reads)
	}
}

func TestBackendsAreMadeAnewWhenSomethingChanges(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	held := secret("prometheus", map[string]string{"token": "first"}, ours)
	b, api, reads := backends(t, held)
	platform := withPrometheus(server.URL, bearer)
	sent := func() string {
		t.Helper()
		endpoints, err := b.Prometheus(t.Context(), platform)
		if err != nil {
			t.Fatal(err)
		}
		_, body := get1(t, endpoints[0], "")
		return body
	}
	sent()
	if sent(); *reads != 1 {
		t.Errorf("the Secret was read %d times, want once", *reads)
	}
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(held), held); err != nil {
		t.Fatal(err)
	}
	held.Data["token"] = []byte("second")
	if err := api.Update(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	if got := sent(); !strings.Contains(got, "Bearer second") {
		t.Errorf("after a change of the Secret the server got %q", got)
	}
	platform.Spec.Prometheus.Tenant, platform.Generation = "shop", 2
	if got := sent(); !strings.Contains(got, "shop") {
		t.Errorf("after a change of the platform the server got %q", got)
	}
	b.Forget("default")
	if before := *reads; sent() == "" || *reads != before+1 {
		t.Error("what was forgotten is not read again")
	}
}

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
