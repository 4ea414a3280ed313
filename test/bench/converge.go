// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
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

// barConverge is how much longer than the bare client the operator may take, and barMemory how much
// larger it may be beside foreign objects.
const barConverge, barMemory = 1.3, 1.3

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
		b.Most(fmt.Sprintf("converge %d stacks, median of %d", n, len(all)), m.ratio(), "times", barConverge,
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

// request is an object as the bare client applies it.
type request struct {
	target *metav1.PartialObjectMetadata
	body   []byte
}

// requestsFor are the children and the settings of a stack, made by the operator's own builders.
func (b *bench) requestsFor(stack *obsv1.ObservabilityStack) (requests []request) {
	in := desired.Inputs{ExporterImage: "exporter", Values: map[desired.KeyRef]desired.Value{}}
	for _, ref := range desired.Refs(stack) {
		secret := &corev1.Secret{Data: map[string][]byte{ref.Key: []byte(secrets[ref.Key])}}
		in.Values[ref.KeyRef] = desired.NewValue(ref, secret, secret.Data, desired.Source{})
	}
	stack = desired.Effective(stack, nil)
	stack.UID = "00000000-0000-4000-8000-000000000000"
	var objects []client.Object
	for _, component := range desired.Components {
		objects = append(objects, component.Build(stack, in).Objects...)
	}
	for _, obj := range objects {
		obj.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(stack, stackKind)})
	}
	for _, settings := range desired.NewSettings(stack, in.Values, nil).Secrets(nil) {
		objects = append(objects, settings)
	}
	for _, obj := range objects {
		kind := kit.Must(apiutil.GVKForObject(obj, b.api.Scheme()))
		obj.GetObjectKind().SetGroupVersionKind(kind)
		target := metadata.Of(kind)
		target.Namespace, target.Name = stack.Namespace, obj.GetName()
		requests = append(requests, request{target, kit.Must(json.Marshal(obj))})
	}
	return requests
}

// applyBare applies what the operator would, which is paused meanwhile: what it makes of the bare
// client's objects is no part of that client's work. The requests are ready before the clock
// starts, and ask for no more than metadata back.
func (b *bench) applyBare(stacks []*obsv1.ObservabilityStack) (took time.Duration) {
	work := make([][]request, len(stacks))
	b.parallel(len(work), func(i int) {
		kit.Check(b.api.Create(b.ctx, stacks[i], client.DryRunAll)) // for the defaults that the API server sets
		work[i] = b.requestsFor(stacks[i])
	})
	b.paused(func() {
		began := time.Now()
		b.parallel(len(work), func(i int) {
			for _, r := range work[i] {
				patch := client.RawPatch(types.ApplyPatchType, r.body)
				kit.Check(b.api.Patch(b.ctx, r.target, patch, client.FieldOwner("bare"), client.ForceOwnership))
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
		barMemory, "%.0f MiB", beside)
	b.wipe(stacks)
}

// restarted is the resident memory of an operator that was just started and has passed over every
// stack: the median of three, as it depends by a quarter on when garbage was last collected.
func (b *bench) restarted() float64 {
	var all []float64
	for range 3 {
		b.restart(b.many, "--resync-period=10s")
		all = append(all, b.memory())
	}
	return kit.MedianBy(all, func(m float64) float64 { return m })
}
