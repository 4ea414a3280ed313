// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

const (
	// barProofs is how many requests a minute proofs may send the API server, and barTargets how much
	// memory, in MiB, they may need for targetsEach targets of each of two monitors of each stack.
	barProofs, barTargets, targetsEach = 20, 64, 10
)

// withoutProofs keeps what is asked beside the passes out of measurements that are not about it.
var withoutProofs = []string{"--proof-interval=0", "--dashboard-proof-interval=0", "--sentry-proof-interval=0"}

// proofs measures what is asked beside the passes, by default intervals, while nothing changes.
func (b *bench) proofs() {
	b.renew()
	b.restart(0)
	stacks := b.newStacks(b.many, false)
	b.converge(stacks)
	b.restart(b.many)
	alone := b.memory()
	server := httptest.NewServer(fakePrometheus(stacks))
	defer server.Close()
	b.create(&obsv1.ObservabilityPlatform{
		ObjectMeta: metav1.ObjectMeta{Name: obsv1.DefaultPlatform},
		Spec: obsv1.ObservabilityPlatformSpec{
			Prometheus: &obsv1.PlatformPrometheus{URL: obsv1.PlatformURL(server.URL)},
		},
	})
	b.restart(b.many, "--proof-interval=1m", "--dashboard-proof-interval=10m", "--sentry-proof-interval=8h")
	rounds := func(n float64) {
		first := b.metrics().Sum("obstack_proof_rounds_total", `source="prometheus"`, `outcome="succeeded"`)
		b.until(time.Second, "Prometheus was asked", func(s testenv.Samples) bool {
			return s.Sum("obstack_proof_rounds_total", `source="prometheus"`, `outcome="succeeded"`) >= first+n && s.Idle()
		})
	}
	rounds(10) // Until every status has what was found: those without a platform have rounds, too.
	b.rest()
	began, before := time.Now(), b.metrics().Requests()
	rounds(4)
	sent, took := b.metrics().Requests()-before, time.Since(began)
	b.Most(fmt.Sprintf("requests of proofs of %d stacks, a minute", b.many), sent/took.Minutes(), "", barProofs,
		"%.0f requests in %.0f s", sent, took.Seconds())
	b.Most(fmt.Sprintf("… resident memory for %d targets of a fake Prometheus", 2*targetsEach*len(stacks)),
		b.memory()-alone, "MiB more", barTargets, "%.0f MiB without", alone)
	b.wipe(stacks)
}

// fakePrometheus is none: it says that one of the targets of each monitor is down, and has targets
// of two kilobytes, as those of Kubernetes are.
func fakePrometheus(stacks []*obsv1.ObservabilityStack) http.Handler {
	about := func(stack *obsv1.ObservabilityStack, monitor obsv1.Monitor, more string) string {
		return fmt.Sprintf(`{"namespace":%q,"obstack_stack":%q,"obstack_monitor":%q%s}`,
			stack.Namespace, stack.Name, monitor.Name, more)
	}
	discovered := strings.Repeat(`"__meta_kubernetes_pod_label_app_kubernetes_io_name":"a-value-of-some-length",`, 25)
	each := func(w http.ResponseWriter, list string, element func(*obsv1.ObservabilityStack, obsv1.Monitor) string) {
		fmt.Fprintf(w, `{"status":"success","data":{%q:[`, list)
		separator := ""
		for _, stack := range stacks {
			for _, monitor := range stack.Spec.Metrics.Monitors {
				fmt.Fprint(w, separator, element(stack, monitor))
				separator = ","
			}
		}
		fmt.Fprint(w, "]}}")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/query", func(w http.ResponseWriter, r *http.Request) {
		each(w, "result", func(stack *obsv1.ObservabilityStack, monitor obsv1.Monitor) string {
			if !strings.HasPrefix(r.FormValue("query"), "count_values") {
				return fmt.Sprintf(`{"metric":%s,"value":[1,"1"]}`,
					about(stack, monitor, `,"__name__":"http_request_duration_highr_seconds_count"`))
			}
			return fmt.Sprintf(`{"metric":%s,"value":[1,"%d"]},{"metric":%s,"value":[1,"1"]}`,
				about(stack, monitor, `,"up":"1"`), targetsEach-1, about(stack, monitor, `,"up":"0"`))
		})
	})
	mux.HandleFunc("/api/v1/targets", func(w http.ResponseWriter, _ *http.Request) {
		each(w, "activeTargets", func(stack *obsv1.ObservabilityStack, monitor obsv1.Monitor) string {
			one := fmt.Sprintf(`{"discoveredLabels":{%s"x":""},"labels":%s,"health":"down","lastError":"connection refused"}`,
				discovered, about(stack, monitor, ""))
			return strings.Repeat(one+",", targetsEach-1) + one
		})
	})
	mux.HandleFunc("/api/v1/rules", func(w http.ResponseWriter, _ *http.Request) {
		each(w, "groups", func(stack *obsv1.ObservabilityStack, _ obsv1.Monitor) string {
			return fmt.Sprintf(`{"name":"obstack:%s/%s:http","rules":[{"health":"ok"}]}`, stack.Namespace, stack.Name)
		})
	})
	return mux
}
