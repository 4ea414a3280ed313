// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// reconciler of a cluster with those objects, which counts the writes.
type fixture struct {
	*Reconciler

	recorded *events.FakeRecorder
	writes   int
}

func newFixture(t *testing.T, objects ...client.Object) *fixture {
	t.Helper()
	f := &fixture{recorded: events.NewFakeRecorder(100)}
	api := fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(objects...).
		WithStatusSubresource(&obsv1.ObservabilityPlatform{}).
		WithInterceptorFuncs(interceptor.Funcs{SubResourceUpdate: func(ctx context.Context, c client.Client, sub string,
			obj client.Object, opts ...client.SubResourceUpdateOption) error {
			f.writes++
			return c.SubResource(sub).Update(ctx, obj, opts...)
		}}).Build()
	f.Reconciler = &Reconciler{
		Client: api, Resolver: Resolver{Reader: api}, Events: f.recorded,
		Backends: &Backends{Live: api, Secrets: api, Namespace: "obstack-system", Now: time.Now},
	}
	return f
}

// pass reconciles the platform and returns what is stored of it.
func (f *fixture) pass(t *testing.T) *obsv1.ObservabilityPlatform {
	t.Helper()
	platform := &obsv1.ObservabilityPlatform{}
	key := client.ObjectKey{Name: "default"}
	if err := f.Get(t.Context(), key, platform); err != nil {
		t.Fatal(err)
	}
	after, err := f.Reconcile(t.Context(), platform)
	if err != nil {
		t.Fatal(err)
	}
	if after.RequeueAfter < lookAgainAfter {
		t.Errorf("looks again after %s", after.RequeueAfter)
	}
	if err := f.Get(t.Context(), key, platform); err != nil {
		t.Fatal(err)
	}
	return platform
}

// reasons are the conditions as TYPE=REASON.
func reasons(platform *obsv1.ObservabilityPlatform) string {
	var all []string
	for _, c := range platform.Status.Conditions {
		all = append(all, c.Type+"="+c.Reason)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func wantReasons(t *testing.T, platform *obsv1.ObservabilityPlatform, want string) {
	t.Helper()
	if got := reasons(platform); got != want {
		t.Errorf("conditions = %s, want %s\n%v", got, want, platform.Status.Conditions)
	}
}

// server is all that a platform names, as a fake.
type server struct {
	*httptest.Server

	// status of every response but 200.
	status int
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{status: http.StatusOK}
	bodies := map[string]string{
		"/api/v1/query":            `{"status":"success","data":{"resultType":"vector","result":[]}}`,
		"/api/v1/status/buildinfo": `{"status":"success","data":{"version":"3.16.0"}}`,
		"/api/search":              `[{"uid":"x"}]`,
		"/api/health":              `{"database":"ok","version":"13.1.0"}`,
		"/api/0/organizations/":    `[]`,

		"/api/0/organizations/shop-inc/": `{"slug":"shop-inc"}`,
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, known := bodies[r.URL.Path]
		switch {
		case s.status != http.StatusOK:
			w.WriteHeader(s.status)
			_, _ = io.WriteString(w, marked)
		case !known:
			w.WriteHeader(http.StatusNotFound)
		case !strings.HasPrefix(r.URL.Path, "/api/v1/") && r.Header.Get("Authorization") != "Bearer "+marked:
			w.WriteHeader(http.StatusUnauthorized)
		default:
			_, _ = io.WriteString(w, body)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) platform(organization string) *obsv1.ObservabilityPlatform {
	url := obsv1.PlatformURL(s.URL)
	return platformOf(obsv1.ObservabilityPlatformSpec{
		Prometheus: &obsv1.PlatformPrometheus{URL: url},
		Grafana:    &obsv1.PlatformGrafana{URL: url, TokenFrom: from("tokens", "token")},
		Sentry:     &obsv1.PlatformSentry{URL: url, Organization: organization, TokenFrom: from("tokens", "token")},
	})
}

func tokens() *corev1.Secret { return secret("tokens", map[string]string{"token": marked}, ours) }

func TestReconcilerSaysWhatIsReachable(t *testing.T) {
	s := newServer(t)
	stacks := []client.Object{
		&obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}},
		&obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "pay", Name: "pay"}},
	}
	f := newFixture(t, append(stacks, s.platform("shop-inc"), tokens())...)
	got := f.pass(t)
	wantReasons(t, got,
		"GrafanaReachable=Reachable PrometheusReachable=Reachable Ready=Available SentryReachable=Reachable")
	want := obsv1.PlatformVersions{Prometheus: "3.16.0", Grafana: "13.1.0"}
	if got.Status.Versions != want || got.Status.Stacks == nil || *got.Status.Stacks != 2 {
		t.Errorf("versions = %+v, stacks = %v, want %+v and 2", got.Status.Versions, got.Status.Stacks, want)
	}
	if f.pass(t); f.writes != 1 {
		t.Errorf("%d writes in two passes, want one", f.writes)
	}
	if len(f.recorded.Events) > 0 {
		t.Errorf("events = %v, want none where all is well", <-f.recorded.Events)
	}
}

// TestReconcilerWaitsForASecondFailure: a request may be lost.
func TestReconcilerWaitsForASecondFailure(t *testing.T) {
	s := newServer(t)
	f := newFixture(t, s.platform(""), tokens())
	f.pass(t)
	s.status = http.StatusBadGateway
	if got := f.pass(t); !meta.IsStatusConditionTrue(got.Status.Conditions, obsv1.Ready) {
		t.Errorf("after one failure: %s", reasons(got))
	}
	got := f.pass(t)
	wantReasons(t, got,
		"GrafanaReachable=Unreachable PrometheusReachable=Unreachable Ready=Unreachable SentryReachable=Unreachable")
	for _, c := range got.Status.Conditions {
		if strings.Contains(c.Message, marked) || strings.Contains(c.Message, s.URL) {
			t.Errorf("%s says what the server or the network says: %s", c.Type, c.Message)
		}
	}
	if got.Status.Versions.Prometheus != "3.16.0" {
		t.Error("the version of a server that is away is forgotten")
	}
	if n := len(f.recorded.Events); n != 3 {
		t.Errorf("%d events, want one for each server", n)
	}
	s.status = http.StatusUnauthorized
	wantReasons(t, f.pass(t),
		"GrafanaReachable=Unauthorized PrometheusReachable=Unauthorized Ready=Unauthorized SentryReachable=Unauthorized")
	s.status = http.StatusOK
	if got := f.pass(t); !meta.IsStatusConditionTrue(got.Status.Conditions, obsv1.Ready) {
		t.Errorf("after the cure: %s", reasons(got))
	}
}

func TestReconcilerNamesMissingSecrets(t *testing.T) {
	s := newServer(t)
	f := newFixture(t, s.platform("other-inc"))
	got := f.pass(t)
	wantReasons(t, got,
		"GrafanaReachable=SecretNotFound PrometheusReachable=Reachable Ready=SecretNotFound SentryReachable=SecretNotFound")
	if !slices.Equal(got.Status.MissingSecrets, []string{"tokens"}) {
		t.Errorf("missing %v, want tokens, once", got.Status.MissingSecrets)
	}
	if err := f.Create(t.Context(), tokens()); err != nil {
		t.Fatal(err)
	}
	if got = f.pass(t); len(got.Status.MissingSecrets) > 0 ||
		!strings.Contains(meta.FindStatusCondition(got.Status.Conditions, obsv1.SentryReachable).Message, "other-inc") {
		t.Errorf("missing %v, %v, want an unknown organization alone", got.Status.MissingSecrets, got.Status.Conditions)
	}
	got.Spec.Grafana, got.Spec.Sentry, got.Generation = nil, nil, 2
	if err := f.Update(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	got = f.pass(t)
	wantReasons(t, got, "PrometheusReachable=Reachable Ready=Available")
	if got.Status.Versions.Grafana != "" {
		t.Errorf("versions %+v, want that of Prometheus alone", got.Status.Versions)
	}
}

func TestReconcilerRefusesInvalidSelectors(t *testing.T) {
	platform := platformOf(obsv1.ObservabilityPlatformSpec{Namespaces: &obsv1.PlatformNamespaces{
		From: obsv1.PlatformNamespacesFromSelector, Selector: &metav1.LabelSelector{
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "Is"}},
		},
	}})
	f := newFixture(t, platform, &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}})
	if got := f.pass(t); reasons(got) != "Ready=InvalidSelector" || *got.Status.Stacks != 0 {
		t.Errorf("conditions = %s, %d stacks, want InvalidSelector and none", reasons(got), *got.Status.Stacks)
	}
}
