// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/platform"
	"obstack.dev/obstack/controllers/proof/judge"
)

// fakeGrafana serves what Grafana's documentation says of the API: it is a fake.
type fakeGrafana struct {
	*httptest.Server
	uids        []string
	datasources []string
	status      int // of every response, if it is set
	paths       []string
}

func newFakeGrafana(t *testing.T) *fakeGrafana {
	t.Helper()
	g := &fakeGrafana{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /grafana/api/search", g.search)
	for _, by := range []string{"uid", "name"} {
		mux.HandleFunc("GET /grafana/api/datasources/"+by+"/{id}", func(w http.ResponseWriter, r *http.Request) {
			for _, datasource := range g.datasources {
				if datasource == by+":"+r.PathValue("id") {
					fmt.Fprint(w, `{"id": 1, "type": "prometheus"}`)
					return
				}
			}
			http.Error(w, `{"message": "Data source not found"}`, http.StatusNotFound)
		})
	}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.paths = append(g.paths, r.URL.Path)
		if g.status != 0 {
			http.Error(w, "marked-secret", g.status)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *fakeGrafana) search(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if query.Get("type") != "dash-db" || query.Get("tag") != "obstack" {
		http.Error(w, "unexpected search", http.StatusBadRequest)
		return
	}
	page, _ := strconv.Atoi(query.Get("page"))
	limit, _ := strconv.Atoi(query.Get("limit"))
	listed := []map[string]string{}
	for _, uid := range g.uids[min((page-1)*limit, len(g.uids)):min(page*limit, len(g.uids))] {
		listed = append(listed, map[string]string{"uid": uid, "type": "dash-db", "title": "Stack overview"})
	}
	_ = json.NewEncoder(w).Encode(listed)
}

// grafanaBench is a stack with one dashboard, a Pod with Grafana's sidecar that takes it, and a
// fake Grafana of its platform.
type grafanaBench struct {
	*Grafana
	t       *testing.T
	fake    *fakeGrafana
	objects *objects
	stack   *obsv1.ObservabilityStack
	pod     *corev1.Pod
}

func newGrafanaBench(t *testing.T) *grafanaBench {
	t.Helper()
	b := &grafanaBench{t: t, fake: newFakeGrafana(t), objects: &objects{}}
	b.stack = &obsv1.ObservabilityStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"},
		Spec: obsv1.ObservabilityStackSpec{Dashboards: &obsv1.DashboardsSpec{
			Labels: map[string]obsv1.LabelValue{"grafana_dashboard": "1"}, Datasource: "prometheus",
		}},
	}
	b.pod = &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "monitoring", Name: "grafana-1", Labels: map[string]string{"app.kubernetes.io/name": "grafana"},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{
			{Name: "grafana-sc-datasources", Image: "quay.io/kiwigrid/k8s-sidecar:2",
				Env: environment("LABEL", "grafana_datasource")},
			{Name: "grafana-sc-dashboard", Image: "quay.io/kiwigrid/k8s-sidecar:2", Env: environment(
				"LABEL", "grafana_dashboard", "LABEL_VALUE", "1", "NAMESPACE", "ALL", "RESOURCE", "both")},
			{Name: "grafana", Image: "grafana/grafana"},
		}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	named := &obsv1.ObservabilityPlatform{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	b.objects.all = append(b.objects.all, b.stack, b.pod, named)
	b.fake.uids = []string{desired.DashboardUID(b.stack, "overview")}
	b.fake.datasources = []string{"uid:prometheus"}
	address, _ := url.Parse(b.fake.URL + "/grafana")
	b.Grafana = &Grafana{
		Reader: b.objects, Cluster: Cluster{Live: b.objects, Requests: NewRequests()}, Store: &Store{},
		Platform: func(
			_ context.Context, stack *obsv1.ObservabilityStack,
		) (string, *obsv1.ObservabilityPlatformSpec, error) {
			if stack.Spec.Platform == "" {
				return "", nil, nil
			}
			return stack.Spec.Platform, &obsv1.ObservabilityPlatformSpec{}, nil
		},
		Servers: func(context.Context, *obsv1.ObservabilityPlatform) ([]platform.Endpoint, error) {
			return []platform.Endpoint{{URL: address, Client: b.fake.Client()}}, nil
		},
		Interval: time.Minute,
	}
	b.stack.Spec.Platform = "default"
	return b
}

func environment(pairs ...string) (env []corev1.EnvVar) {
	for i := 0; i < len(pairs); i += 2 {
		env = append(env, corev1.EnvVar{Name: pairs[i], Value: pairs[i+1]})
	}
	return env
}

func (b *grafanaBench) rounds(count int) {
	b.t.Helper()
	for range count {
		if err := b.round(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
	}
}

// knows what the status would say of the dashboard.
func (b *grafanaBench) knows(when, want string) {
	b.t.Helper()
	written := func(obsv1.PartKind) bool { return true }
	parts := judge.Judge(judge.Parts(b.stack), written, b.Store.Evidence(b.stack).Findings)
	if got := fmt.Sprint(parts[0].State, " ", parts[0].Reason); got != want {
		b.t.Errorf("%s: the dashboard is %s, want %s", when, got, want)
	}
	b.stack.Status.Parts = parts
}

func (b *grafanaBench) says(want string) {
	b.t.Helper()
	b.Store = &Store{}
	b.rounds(1)
	if strings.HasPrefix(want, "False") {
		b.rounds(1) // to confirm it
	}
	got := seen(b.Store, b.stack, SourceGrafana, "overview")
	if !strings.HasPrefix(got, want+" ") {
		b.t.Errorf("the dashboard is %q, want %q", got, want)
	}
	if strings.Contains(got, "marked-secret") {
		b.t.Errorf("the response is repeated: %s", got)
	}
}

func TestGrafanaIsAskedForWhatItHas(t *testing.T) {
	b := newGrafanaBench(t)
	b.says("True Seen")
	if got := strings.Join(b.fake.paths, " "); got != "/grafana/api/search /grafana/api/datasources/uid/prometheus" {
		t.Errorf("asked %s", got)
	}
	b.fake.datasources = []string{"name:prometheus"}
	b.says("True Seen")
	b.fake.datasources = nil
	b.says("False DatasourceNotFound")
	b.fake.uids = nil
	b.says("False DashboardNotLoaded")
	b.fake.status = http.StatusUnauthorized
	b.says("Unknown NoToken")
	b.fake.status = http.StatusInternalServerError
	b.says("Unknown Unreachable")
	b.fake.Close()
	b.says("Unknown Unreachable")
	b.Servers = func(context.Context, *obsv1.ObservabilityPlatform) ([]platform.Endpoint, error) { return nil, nil }
	b.says("Unknown NoToken")
	b.stack.Spec.Platform = ""
	b.says("Unknown NoPlatform")
}

// TestGrafanaMayRollOut: Grafana and its sidecar are away for a moment, also just after
// obstack has started anew.
func TestGrafanaMayRollOut(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		b := newGrafanaBench(t)
		b.rounds(2)
		b.knows("at first", "True Seen")
		if restarted {
			b.Store = &Store{}
		}
		b.pod.Status.Phase, b.fake.status = corev1.PodPending, http.StatusServiceUnavailable
		b.rounds(1)
		b.knows("while it starts", "True Seen")
		b.pod.Status.Phase, b.fake.status = corev1.PodRunning, 0
		b.rounds(1)
		b.knows("after it", "True Seen")
		b.pod.Status.Phase, b.fake.status = corev1.PodPending, http.StatusServiceUnavailable
		b.rounds(2)
		b.knows("when it does not come", "False NoSidecar")
		b.Cluster.Live = &objects{err: errors.New("away")}
		for range 2 {
			if b.round(t.Context()) == nil {
				t.Fatal("the round succeeds without an API server")
			}
		}
		b.knows("while Pods cannot be listed", "False NoSidecar")
	}
}

func TestGrafanaHasTimeToLoadADashboard(t *testing.T) {
	b := newGrafanaBench(t)
	b.fake.uids = nil
	b.rounds(1)
	b.knows("just written", "Unknown DashboardNotLoaded")
	b.rounds(1)
	b.knows("still not there", "False DashboardNotLoaded")
	b.fake.uids = []string{desired.DashboardUID(b.stack, "overview")}
	b.rounds(2)
	b.knows("there", "True Seen")
}

func TestGrafanaIsAskedOnceForAllStacks(t *testing.T) {
	b := newGrafanaBench(t)
	b.fake.uids = nil
	const stacks = 1000
	for i := range stacks {
		stack := b.stack.DeepCopy()
		stack.Name = fmt.Sprint("shop-", i)
		stack.Spec.Tasks = &obsv1.TasksSpec{Brokers: []obsv1.Broker{{Name: "main"}}}
		b.objects.all = append(b.objects.all, stack)
		for _, name := range desired.DashboardNames(stack) {
			b.fake.uids = append(b.fake.uids, desired.DashboardUID(stack, name))
		}
		b.stack = stack // The last one is on the last page.
	}
	b.says("True Seen")
	if got := len(b.fake.paths); got != 4 { // three pages, of which the last is empty, and the data source
		t.Errorf("asked %d times about %d stacks, want 4 times", got, stacks)
	}
	if b.objects.lists != 2 {
		t.Errorf("lists %d times, want 2: stacks, from the cache, and Pods of Grafana", b.objects.lists)
	}
}

func TestSidecarsAreFoundInPods(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	shop := judge.Sidecar{Namespace: "monitoring", Label: "grafana_dashboard", Value: "1"}
	in := func(namespaces ...string) judge.Sidecar {
		s := shop
		s.Namespaces = namespaces
		return s
	}
	found := func(sidecars ...judge.Sidecar) judge.Sidecars { return judge.Sidecars{Found: sidecars} }
	only := func(b *grafanaBench) *corev1.Container {
		b.pod.Spec.Containers = b.pod.Spec.Containers[1:2]
		return &b.pod.Spec.Containers[0]
	}
	for name, tc := range map[string]struct {
		change func(*grafanaBench)
		want   judge.Sidecars
	}{
		"kube-prometheus-stack":  {func(*grafanaBench) {}, found(shop)},
		"an image from a mirror": {func(b *grafanaBench) { only(b).Image = "mirror/x" }, found(shop)},
		"no label of Grafana's":  {func(b *grafanaBench) { b.pod.Labels = nil }, found(shop)},
		"another container":      {func(b *grafanaBench) { c := only(b); c.Name, c.Image = "x", "x" }, judge.Sidecars{}},
		"a Pod that has ended":   {func(b *grafanaBench) { b.pod.Status.Phase = corev1.PodFailed }, judge.Sidecars{}},
		"only Secrets":           {func(b *grafanaBench) { only(b).Env[3].Value = "secret" }, judge.Sidecars{}},
		"some namespaces are read": {func(b *grafanaBench) { b.Cluster.Namespaces = []string{"shop"} },
			judge.Sidecars{Hidden: true}},
		"its own namespace": {func(b *grafanaBench) { only(b).Env[2].Value = "" }, found(in("monitoring"))},
		"some namespaces":   {func(b *grafanaBench) { only(b).Env[2].Value = "a, b" }, found(in("a", "b"))},
		"an environment from elsewhere": {func(b *grafanaBench) {
			only(b).Env[0].ValueFrom = &corev1.EnvVarSource{}
		}, judge.Sidecars{Hidden: true}},
		"a container that ends": {func(b *grafanaBench) {
			c := *only(b)
			b.pod.Spec.Containers, b.pod.Spec.InitContainers = nil, []corev1.Container{c}
		}, judge.Sidecars{}},
		"a sidecar of Kubernetes": {func(b *grafanaBench) {
			c := *only(b)
			c.RestartPolicy = &always
			b.pod.Spec.Containers, b.pod.Spec.InitContainers = nil, []corev1.Container{c}
		}, found(shop)},
	} {
		t.Run(name, func(t *testing.T) {
			b := newGrafanaBench(t)
			tc.change(b)
			got, err := b.Cluster.sidecars(t.Context(), []*obsv1.ObservabilityStack{b.stack})
			if err != nil || fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("sidecars are %v (%v), want %v", got, err, tc.want)
			}
		})
	}
}
