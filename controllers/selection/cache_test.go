// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/cache"

	"obstack.dev/obstack/test/testenv"
)

// decoded is a Service as the API server sends it, and as the cache decodes it.
func decoded(t *testing.T, service *corev1.Service) *Service {
	t.Helper()
	content, err := json.Marshal(service)
	if err != nil {
		t.Fatal(err)
	}
	partial := &Service{}
	if err := json.Unmarshal(content, partial); err != nil {
		t.Fatal(err)
	}
	return partial
}

func kept(t *testing.T, service *corev1.Service) *Service {
	t.Helper()
	obj, err := keepPorts(decoded(t, service))
	if err != nil {
		t.Fatal(err)
	}
	return obj.(*Service)
}

// usual is a Service as Helm makes them.
func usual(n int) *corev1.Service {
	name := fmt.Sprintf("checkout-service-%d", n)
	service := testenv.Service(fmt.Sprintf("team-%d", n%100), name, map[string]string{
		"app.kubernetes.io/name": "checkout-service", "app.kubernetes.io/instance": name,
		"app.kubernetes.io/version": fmt.Sprintf("1.%d.0", n%50), "app.kubernetes.io/managed-by": "Helm",
		"helm.sh/chart": fmt.Sprintf("checkout-service-0.%d.1", n%50),
	}, "http", "metrics")
	service.UID = "0b5f4c1e-7a43-4b5e-9b43-5c8f3f0d3c11"
	service.ResourceVersion = fmt.Sprint(1000000 + n)
	service.Annotations = map[string]string{"meta.helm.sh/release-name": name, "x": strings.Repeat("x", 2000)}
	service.Spec.Selector = maps.Clone(service.Labels)
	service.Spec.ClusterIP = "10.0.0.1"
	for i := range service.Spec.Ports {
		service.Spec.Ports[i].TargetPort = intstr.FromString(service.Spec.Ports[i].Name)
	}
	return service
}

func TestCacheKeepsLittleOfAService(t *testing.T) {
	const many, most = 5000, 1024
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{"namespace": cache.MetaNamespaceIndexFunc})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for n := range many {
		if err := indexer.Add(kept(t, usual(n))); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / many
	t.Logf("%d bytes for each of %d Services", each, len(indexer.List()))
	if each > most {
		t.Errorf("a Service takes %d bytes, want at most %d", each, most)
	}
}

func TestCacheKeepsWhatIsJudged(t *testing.T) {
	service := usual(1)
	got := asJudged(kept(t, service))
	if got.Name != service.Name || !maps.Equal(got.Labels, service.Labels) || got.Unread ||
		!cmp.Equal(got.Ports, []string{"http", "metrics"}) {
		t.Errorf("judged is %+v", got)
	}
	service.Labels["large"] = strings.Repeat("x", maxKept)
	if got := asJudged(kept(t, service)); !got.Unread || got.Labels != nil {
		t.Errorf("of a Service that is too large, judged is %+v", got)
	}
}

func TestCacheKeepsSelectors(t *testing.T) {
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	full := &monitoringv1.Prometheus{ObjectMeta: metav1.ObjectMeta{
		Namespace: "monitoring", Name: "k8s", Annotations: map[string]string{"a": "b"},
	}}
	full.Spec.RuleSelector, full.Spec.RuleNamespaceSelector = selector, selector
	full.Spec.ServiceMonitorSelector, full.Spec.ServiceMonitorNamespaceSelector = selector, selector
	want := full.DeepCopy()
	want.Annotations = nil
	full.Spec.ExternalURL, full.Status.Replicas = "https://prometheus.example.com", 2
	got, err := keepSelectors(full)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("kept is (-want +got): %v\n%s", err, diff)
	}
}
