// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

const ownImage = "ghcr.io/obstack/obstack:test"

// exporterBench is a stack with one broker, all that runs for it, and a server in the place of its
// exporter.
type exporterBench struct {
	*Exporters
	stack      *obsv1.ObservabilityStack
	deployment *appsv1.Deployment
	replicaSet *appsv1.ReplicaSet
	pod        *corev1.Pod
	objects    *objects
	// addresses are those that were asked.
	addresses []string
}

func newExporterBench(t *testing.T, handler http.HandlerFunc) *exporterBench {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	b := &exporterBench{stack: &obsv1.ObservabilityStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop", UID: "uid-of-stack"},
		Spec:       obsv1.ObservabilityStackSpec{Tasks: &obsv1.TasksSpec{Brokers: []obsv1.Broker{{Name: "main"}}}},
	}}
	labels := desired.ExporterLabels()
	b.deployment = &appsv1.Deployment{
		ObjectMeta: controlledBy("ObservabilityStack", b.stack.UID, "shop", "shop-tasks-main", labels),
	}
	b.replicaSet = &appsv1.ReplicaSet{
		ObjectMeta: controlledBy("Deployment", b.deployment.UID, "shop", "shop-tasks-main-1", labels),
	}
	b.pod = &corev1.Pod{
		ObjectMeta: controlledBy("ReplicaSet", b.replicaSet.UID, "shop", "shop-tasks-main-1-a", labels),
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: desired.ExporterContainer, Image: ownImage}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.1.2.3", HostIP: "10.9.9.9"},
	}
	b.objects = &objects{}
	b.objects.all = append(b.objects.all, b.stack, b.deployment, b.replicaSet, b.pod)
	b.Exporters = &Exporters{
		Reader: b.objects, Cluster: Cluster{Live: b.objects, Requests: NewRequests()}, Store: &Store{}, Image: ownImage,
		Interval: time.Minute,
		client: exporterClient(func(ctx context.Context, network, address string) (net.Conn, error) {
			b.addresses = append(b.addresses, address)
			return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
		}),
	}
	return b
}

func (b *exporterBench) ask(t *testing.T) string {
	t.Helper()
	if err := b.round(t.Context()); err != nil {
		t.Fatal(err)
	}
	return seen(b.Store, b.stack, SourceExporter, "main")
}

func responds(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }
}

const working = `{"brokerReached": true, "connections": [{"name": "events", "up": true}], "eventsTotal": 3,
	"counting": true}`

func TestExportersAskThePodOfTheirDeployment(t *testing.T) {
	b := newExporterBench(t, responds(working))
	if got := b.ask(t); got != "True Seen " {
		t.Errorf("the broker is %q", got)
	}
	if got := strings.Join(b.addresses, " "); got != "10.1.2.3:9808" {
		t.Errorf("asked %s, want 10.1.2.3:9808", got)
	}
}

func TestExportersListOnlyPodsWhileNothingChanges(t *testing.T) {
	b := newExporterBench(t, responds(working))
	b.ask(t)
	b.objects.lists = 0
	b.ask(t)
	if b.objects.lists != 2 { // of stacks, from the cache, and of Pods
		t.Errorf("a round lists %d times, want 2", b.objects.lists)
	}
	b.stack.Spec.Tasks = nil
	b.objects.lists = 0
	b.ask(t)
	if b.objects.lists != 1 {
		t.Errorf("a round without exporters lists %d times, want once, the stacks", b.objects.lists)
	}
}

func TestExportersAskNobodyElse(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*exporterBench)
		reason string
	}{
		"labels alone":               {func(b *exporterBench) { b.pod.OwnerReferences = nil }, "Unreachable"},
		"owned and not controlled":   {func(b *exporterBench) { b.pod.OwnerReferences[0].Controller = nil }, "Unreachable"},
		"a ReplicaSet of nobody":     {func(b *exporterBench) { b.replicaSet.OwnerReferences = nil }, "Unreachable"},
		"a Deployment of nobody":     {func(b *exporterBench) { b.deployment.OwnerReferences = nil }, "Unreachable"},
		"a Pod of another namespace": {func(b *exporterBench) { b.pod.Namespace = "evil" }, "Unreachable"},
		"on the host's network":      {func(b *exporterBench) { b.pod.Spec.HostNetwork = true }, "Unreachable"},
		"at the host's address":      {func(b *exporterBench) { b.pod.Status.PodIP = b.pod.Status.HostIP }, "Unreachable"},
		"metadata of a cloud":        {func(b *exporterBench) { b.pod.Status.PodIP = "169.254.169.254" }, "Unreachable"},
		"the operator itself":        {func(b *exporterBench) { b.pod.Status.PodIP = "127.0.0.1" }, "Unreachable"},
		"not running":                {func(b *exporterBench) { b.pod.Status.Phase = corev1.PodPending }, "Unreachable"},
		"another image in the Pod":   {func(b *exporterBench) { b.pod.Spec.Containers[0].Image = "evil" }, "ForeignImage"},
		"another image in the stack": {func(b *exporterBench) { b.stack.Spec.Tasks.Brokers[0].Image = "x" }, "ForeignImage"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newExporterBench(t, responds(working))
			tc.change(b)
			if got := b.ask(t); !strings.HasPrefix(got, "Unknown "+tc.reason+" ") {
				t.Errorf("the broker is %q, want Unknown %s", got, tc.reason)
			}
			if len(b.addresses) > 0 {
				t.Errorf("asked %v", b.addresses)
			}
		})
	}
}

func TestExportersTakeNoBadResponse(t *testing.T) {
	const marked = "marked-secret"
	elsewhere := httptest.NewServer(responds(working))
	defer elsewhere.Close()
	for name, handler := range map[string]http.HandlerFunc{
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		},
		"an error": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, marked, http.StatusInternalServerError)
		},
		"no JSON":       responds(marked),
		"another shape": responds(`{"brokerReached": "` + marked + `"}`),
		"too much":      responds(`{"brokerReached": true, "version": "` + strings.Repeat(marked, 10_000) + `"}`),
		"too late": func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newExporterBench(t, handler)
			b.client.Timeout = 200 * time.Millisecond
			got := b.ask(t)
			if !strings.HasPrefix(got, "Unknown Unreachable the task exporter of broker main does not respond") {
				t.Errorf("the broker is %q, want Unknown Unreachable", got)
			}
			if strings.Contains(got, marked) {
				t.Errorf("the response is repeated: %s", got)
			}
		})
	}
}

func TestExportersPreferTheOneThatCounts(t *testing.T) {
	for _, firstCounts := range []bool{true, false} {
		counts := firstCounts
		b := newExporterBench(t, func(w http.ResponseWriter, _ *http.Request) {
			if counts {
				fmt.Fprint(w, working)
			} else {
				fmt.Fprint(w, `{"brokerReached": true}`)
			}
			counts = !counts
		})
		standby := b.pod.DeepCopy()
		standby.Name, standby.Status.PodIP = "standby", "10.1.2.4"
		b.objects.all = append(b.objects.all, standby)
		if got := b.ask(t); got != "True Seen " || len(b.addresses) != 2 {
			t.Errorf("the broker is %q, after asking %v", got, b.addresses)
		}
	}
}

func TestExportersKeepWhatIsKnownWhileTheAPIServerIsAway(t *testing.T) {
	b := newExporterBench(t, responds(working))
	b.ask(t)
	b.Cluster.Live = &objects{err: errors.New("away")}
	for range 3 {
		if err := b.round(t.Context()); err == nil {
			t.Fatal("the round succeeds without an API server")
		}
	}
	if got := seen(b.Store, b.stack, SourceExporter, "main"); got != "True Seen " {
		t.Errorf("the broker is %q", got)
	}
}

func TestIsPodAddress(t *testing.T) {
	for text, want := range map[string]bool{
		"10.0.0.1": true, "fd00::1": true, "192.0.2.7": true, "127.0.0.1": false, "::1": false, "169.254.169.254": false,
		"fe80::1": false, "0.0.0.0": false, "::": false, "224.0.0.1": false, "::ffff:169.254.169.254": false,
		"::ffff:127.0.0.1": false,
	} {
		if got := isPodAddress(netip.MustParseAddr(text)); got != want {
			t.Errorf("isPodAddress(%s) = %t, want %t", text, got, want)
		}
	}
}
