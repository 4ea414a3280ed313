// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"io"
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
