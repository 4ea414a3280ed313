// SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"text/template"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/test/bench/kit"
	"obstack.dev/obstack/test/testenv"
)

// comparison of the operator with the bare client.
type comparison struct{ operator, bare time.Duration }

func (c comparison) ratio() float64 { return c.operator.Seconds() / c.bare.Seconds() }

// converges compares few stacks some times, and many once.
func (b *bench) converges() {
	b.restart(0)
	b.Note("resident memory, idle", b.memory(), "MiB")
	for i, n := range []int{b.few, b.many} {
		var all []comparison
		for round := range []int{b.pairs, 1}[i] {
			all = append(all, b.compare(n, round))
		}
		m := kit.MedianBy(all, comparison.ratio)
		b.Most(fmt.Sprintf("converge %d stacks, median of %d", n, len(all)), m.ratio(), "times", 1.3,
			"operator %.1f s, bare client %.1f s", m.operator.Seconds(), m.bare.Seconds())
	}
}

// compare times the operator and the bare client, in namespaces of their own. Which of them is the
// first alternates.
func (b *bench) compare(n, round int) (c comparison) {
	stacks, others := b.newStacks(n, false), b.newStacks(n, false)
	for i := range 2 {
		if (i+round)%2 == 0 {
			c.operator = b.converge(stacks)
		} else {
			c.bare = b.applyBare(others)
		}
	}
	said := fmt.Sprintf("%d stacks: operator %.1f s, bare client %.1f s, %.2f times; load %s",
		n, c.operator.Seconds(), c.bare.Seconds(), c.ratio(), kit.Load())
	b.comparisons = append(b.comparisons, said)
	kit.Progress("%s", said)
	b.wipe(stacks)
	b.wipe(others)
	return c
}

// converge makes the stacks and waits until the operator has made all children and written all
// statuses. The operator is paused while the stacks are made, which is not its work, and the time
// begins when it may go on.
func (b *bench) converge(stacks []*obsv1.ObservabilityStack) time.Duration {
	b.rest()
	before, n := b.metrics().Passes(), float64(len(stacks))
	b.paused(func() { b.parallel(len(stacks), func(i int) { b.create(stacks[i]) }) })
	began := time.Now()
	// A response has series for each stack, and making it takes processor time that the operator
	// needs.
	b.until(time.Duration(n)*time.Millisecond, "all stacks have a status", func(s testenv.Samples) bool {
		all, unknown := s.Sum("obstack_stacks"), s.Sum("obstack_stacks", `ready="Unknown"`)
		return all-unknown >= n && s.Passes()-before >= n && s.Idle()
	})
	took := time.Since(began)
	// The API server is asked, not the operator, whether all is there.
	children, each := 0, len(b.requestsFor(stacks[0]))
	for _, kind := range childKinds {
		children += len(b.list(kind, stacks))
	}
	if want := len(stacks) * each; children != want {
		kit.Check(fmt.Errorf("%d stacks have %d children, want %d", len(stacks), children, want))
	}
	return took
}

// list lists the children of stacks that were made at once.
func (b *bench) list(kind schema.GroupVersionKind, stacks []*obsv1.ObservabilityStack) []metav1.PartialObjectMetadata {
	list := metadata.ListOf(kind)
	kit.Check(b.api.List(b.ctx, list, client.MatchingLabels{obsv1.LabelManagedBy: obsv1.ManagedBy}))
	set := strings.TrimSuffix(stacks[0].Namespace, "0") // the first of its namespaces
	return slices.DeleteFunc(list.Items, func(m metav1.PartialObjectMetadata) bool {
		return !strings.HasPrefix(m.Namespace, set)
	})
}

// requestsFor send the children and the settings of a stack, made by the operator's own builders,
// as a bare client does, which asks for no more than metadata back.
func (b *bench) requestsFor(stack *obsv1.ObservabilityStack) (requests []func()) {
	in := desired.Inputs{ExporterImage: "exporter", Values: map[desired.KeyRef]desired.Value{}}
	for _, ref := range desired.Refs(stack) {
		data := map[string][]byte{ref.Key: []byte(secrets[ref.Key])}
		in.Values[ref.KeyRef] = desired.NewValue(ref, &corev1.Secret{}, data, desired.Source{})
	}
	stack = desired.Effective(stack, nil)
	stack.UID = "00000000-0000-4000-8000-000000000000"
	add := func(obj client.Object) {
		kind := kit.Must(apiutil.GVKForObject(obj, b.api.Scheme()))
		obj.GetObjectKind().SetGroupVersionKind(kind)
		target, patch := metadata.Of(kind), client.RawPatch(types.ApplyPatchType, kit.Must(json.Marshal(obj)))
		target.Namespace, target.Name = stack.Namespace, obj.GetName()
		requests = append(requests, func() {
			kit.Check(b.api.Patch(b.ctx, target, patch, client.FieldOwner("bare"), client.ForceOwnership))
		})
	}
	for _, component := range desired.Components {
		for _, obj := range component.Build(stack, in).Objects {
			obj.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(stack, stackKind)})
			add(obj)
		}
	}
	for _, settings := range desired.NewSettings(stack, in.Values, nil).Secrets(nil) {
		add(settings)
	}
	return requests
}

// applyBare applies what the operator would, which is paused meanwhile: what it makes of the bare
// client's objects is no part of that client's work. The requests are ready before the clock
// starts.
func (b *bench) applyBare(stacks []*obsv1.ObservabilityStack) (took time.Duration) {
	work := make([][]func(), len(stacks))
	b.parallel(len(work), func(i int) {
		kit.Check(b.api.Create(b.ctx, stacks[i], client.DryRunAll)) // for the defaults that the API server sets
		work[i] = b.requestsFor(stacks[i])
	})
	b.paused(func() {
		began := time.Now()
		b.parallel(len(work), func(i int) {
			for _, send := range work[i] {
				send()
			}
		})
		took = time.Since(began)
	})
	return took
}

// wipe removes the stacks of the namespaces and their children, as no garbage collector runs.
func (b *bench) wipe(stacks []*obsv1.ObservabilityStack) {
	for i := 0; i < len(stacks); i += perNamespace {
		for _, kind := range append([]schema.GroupVersionKind{stackKind}, childKinds...) {
			kit.Check(b.api.DeleteAllOf(b.ctx, metadata.Of(kind), client.InNamespace(stacks[i].Namespace)))
		}
	}
}

var (
	stackKind = obsv1.GroupVersion.WithKind("ObservabilityStack")
	// childKinds are the kinds of a full stack's children.
	childKinds = []schema.GroupVersionKind{
		metadata.ConfigMap, metadata.Secret, metadata.Service, metadata.Deployment, desired.ServiceMonitorKind,
		desired.PrometheusRuleKind, desired.GrafanaDashboardKind,
	}
)

// steady counts what the operator sends while it looks at every stack again, and measures its
// memory, first beside the stacks and then beside what does not concern it as well.
func (b *bench) steady() {
	b.restart(0)
	stacks := b.newStacks(b.many, false)
	b.converge(stacks)
	alone := b.restarted()
	before := b.metrics()
	// Twice as many passes as stacks: at least one whole resync lies between.
	b.until(pollInterval, "every stack was looked at again", func(s testenv.Samples) bool {
		return s.Passes()-before.Passes() >= float64(2*b.many) && s.Idle()
	})
	after := b.metrics()
	b.Most(fmt.Sprintf("requests of a full resync of %d stacks", b.many), after.Requests()-before.Requests(), "", 0,
		"%.0f passes", after.Passes()-before.Passes())
	b.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "foreign"}})
	b.parallel(b.foreign, func(i int) {
		d := read("deployment.yaml", &appsv1.Deployment{})
		d.Namespace, d.Name = "foreign", fmt.Sprintf("foreign-%05d", i)
		b.create(d)
		content := map[string]string{"content": strings.Repeat("c", 1000)}
		b.secret("foreign", d.Name, content)
		b.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "foreign", Name: d.Name}, Data: content})
	})
	beside := b.restarted()
	b.Note(fmt.Sprintf("resident memory at %d stacks, just restarted, median of 3", b.many), alone, "MiB")
	b.Most(fmt.Sprintf("… beside %d foreign Deployments, Secrets and ConfigMaps each", b.foreign), beside/alone, "times",
		1.3, "%.0f MiB", beside)
}

// restarted is the resident memory of an operator that was just started and has passed over every
// stack: the median of three, as it depends by a quarter on when garbage was last collected.
func (b *bench) restarted() float64 {
	var all []float64
	for range 3 {
		b.restart(b.many, "--resync-period=10s")
		all = append(all, b.memory())
	}
	return kit.Median(all)
}

// drifted is how many children are changed while no operator runs.
const drifted = 50

// restarts counts what a new process sends for stacks and Secrets of their own: where
// nothing changed, and where somebody changed some children while no operator ran.
func (b *bench) restarts() {
	b.renew()
	b.restart(0)
	stacks := b.newStacks(b.many, true)
	for _, stack := range stacks {
		stack.Spec.Dashboards.GrafanaOperator, stack.Spec.Metrics.Monitors = nil, stack.Spec.Metrics.Monitors[:1]
	}
	b.converge(stacks)
	took, s := b.firstPass()
	what := fmt.Sprintf("restart with %d unchanged stacks of %d children: ", b.many, len(b.requestsFor(stacks[0])))
	b.Most(what+"requests until the last is seen", s.Requests(), "", 150, "%.0f passes", s.Passes())
	b.Most(what+"of them writes", writes(s), "", 0)
	b.Most(what+"until the last is seen", took.Seconds(), "s", 10)
	b.Note("… heap", kit.MiB(kit.Must(b.op.Heap(b.ctx))), "MiB", "resident memory %.0f MiB", b.memory())
	b.stopOperator()
	children := b.list(metadata.ConfigMap, stacks)
	for i := range drifted {
		child := &children[i*len(children)/drifted]
		child.SetGroupVersionKind(metadata.ConfigMap)
		kit.Check(b.api.Patch(b.ctx, child, client.RawPatch(types.MergePatchType, []byte(`{"data": null}`))))
	}
	took, s = b.firstPass()
	b.Most(fmt.Sprintf("restart with %d drifted children: writes", drifted), writes(s), "", drifted,
		"the last stack is seen after %.1f s", took.Seconds())
	list := &corev1.ConfigMapList{}
	kit.Check(b.api.List(b.ctx, list, client.MatchingLabels{obsv1.LabelManagedBy: obsv1.ManagedBy}))
	for i := range list.Items {
		if len(list.Items[i].Data) == 0 {
			kit.Check(fmt.Errorf("ConfigMap %s is not repaired", list.Items[i].Name))
		}
	}
}

// firstPass starts the operator anew, and returns how long it took until it had passed over every
// stack, and its metrics.
func (b *bench) firstPass() (time.Duration, testenv.Samples) {
	b.stopOperator()
	began := time.Now()
	b.restart(b.many)
	return time.Since(began), b.metrics()
}

// writes are the requests that changed something or tried to.
func writes(s testenv.Samples) (n float64) {
	for _, method := range []string{"PATCH", "PUT", "POST", "DELETE"} {
		n += s.Sum("rest_client_requests_total", `method="`+method+`"`)
	}
	return n
}

// targetsEach is how many targets each monitor has in the fake Prometheus.
const targetsEach = 10

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
	asked := func(s testenv.Samples) float64 {
		return s.Sum("obstack_proof_rounds_total", `source="prometheus"`, `outcome="succeeded"`)
	}
	rounds := func(n float64) {
		end := asked(b.metrics()) + n
		b.until(time.Second, "Prometheus was asked", func(s testenv.Samples) bool { return asked(s) >= end && s.Idle() })
	}
	rounds(10) // Until every status has what was found: those without a platform have rounds, too.
	b.rest()
	began, before := time.Now(), b.metrics().Requests()
	rounds(4)
	sent, took := b.metrics().Requests()-before, time.Since(began)
	b.Most(fmt.Sprintf("requests of proofs of %d stacks, a minute", b.many), sent/took.Minutes(), "", 20,
		"%.0f requests in %.0f s", sent, took.Seconds())
	b.Most(fmt.Sprintf("… resident memory for %d targets of a fake Prometheus", 2*targetsEach*len(stacks)),
		b.memory()-alone, "MiB more", 64, "%.0f MiB without", alone)
}

//go:embed prometheus.tmpl
var pages string

// fakePrometheus is none: it says that one of the targets of each monitor is down.
func fakePrometheus(stacks []*obsv1.ObservabilityStack) http.Handler {
	pages := template.Must(template.New("").Parse(pages))
	const discovered = `"__meta_kubernetes_pod_label_app_kubernetes_io_name":"a-value-of-some-length",`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page := pages.Lookup(r.URL.Path)
		if page == nil {
			http.NotFound(w, r)
			return
		}
		_ = page.Execute(w, map[string]any{ // The operator may have gone.
			"Stacks": stacks, "Each": targetsEach, "Others": targetsEach - 1, "Discovered": strings.Repeat(discovered, 25),
			"Up": strings.HasPrefix(r.FormValue("query"), "count_values"),
		})
	})
}
