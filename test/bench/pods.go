// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/test/bench/kit"
	"obstack.dev/obstack/test/testenv"
)

const (
	// podsAlone are created while the operator stands still.
	podsAlone             = 2000
	podsPerWorkload       = 5
	workloadsPerNamespace = 10
	workloadShare         = 20 // one namespace in so many has annotated workloads
	// none is the engine that injects nothing.
	none = "none"
)

// injecting replaces the API server, starts the operator there, and makes a stack that admits every
// namespace.
func (b *bench) injecting() *obsv1.ObservabilityStack {
	b.renew()
	b.restart(0)
	stack := b.newStacks(1, false)[0]
	stack.Spec.Injection = &obsv1.InjectionSpec{Namespaces: &obsv1.InjectionNamespaces{From: obsv1.NamespacesFromAll}}
	b.create(stack)
	b.wait(pollInterval, "the stack has settings", func(ctx context.Context) bool {
		return b.api.Get(ctx, client.ObjectKeyFromObject(stack), stack) == nil && stack.Status.ConfigHash != ""
	})
	return stack
}

// podRounds are creations of Pods by each engine and by none.
type podRounds []map[string]*turns

// turns are those of an engine in a round: it has two.
type turns struct {
	// took are the seconds, and used those of processor time of the whole machine, of each Pod.
	took, used []float64
	// admission is what a Pod spent with webhooks and policies, as the API server measures it, in
	// seconds.
	admission []float64
	missed    int
}

// median of something of each round: in a single one, a garbage collection of the API server more
// or less decides, and in their sum, what else the machine did in one of them.
func (all podRounds) median(of func(map[string]*turns) float64) float64 {
	var values []float64
	for _, round := range all {
		values = append(values, of(round))
	}
	return kit.Median(values)
}

// rate is how many Pods a second an engine lets through.
func (all podRounds) rate(engine string) float64 {
	return 1 / all.median(func(round map[string]*turns) float64 { return mean(round[engine].took) })
}

// compared is how many times faster one engine is than another.
func (all podRounds) compared(engine, with string) float64 {
	return all.median(func(round map[string]*turns) float64 { return mean(round[with].took) / mean(round[engine].took) })
}

// apart is how far two turns by none are apart in a round at most.
func (all podRounds) apart() (most float64) {
	for _, round := range all {
		took := round[none].took
		most = max(most, slices.Max(took)/slices.Min(took)-1)
	}
	return most
}

// admitted is what an engine costs a Pod in admission, in seconds, beyond what all Pods cost there,
// and the part of the processors' time that is left for the rest.
func (all podRounds) admitted(engine string) (took, left float64) {
	took = all.median(func(round map[string]*turns) float64 {
		return mean(round[engine].admission) - mean(round[none].admission)
	})
	used := all.median(func(round map[string]*turns) float64 { return mean(round[none].used) })
	return took, used / (used + took)
}

// missed is how many Pods were not injected.
func (all podRounds) missed(engine string) (n int) {
	for _, round := range all {
		n += round[engine].missed
	}
	return n
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, value := range values {
		sum += value
	}
	return sum / float64(len(values))
}

// podCreation compares the creation of Pods with the policy, with the webhook and with neither.
func (b *bench) podCreation() {
	stack := b.injecting()
	workload := read("deployment.yaml", &appsv1.Deployment{})
	workload.Namespace, workload.Name = stack.Namespace, "shop"
	plain, stamped := podOf(workload), podOf(workload)
	stamp := policy.Stamp{Stack: client.ObjectKeyFromObject(stack), ConfigHash: stack.Status.ConfigHash}
	maps.Copy(stamped.Labels, stamp.Labels())
	maps.Copy(stamped.Annotations, stamp.Annotations())

	unselected := b.createRounds(plain, stamped)
	b.Note("rate of un-annotated Pods, by none", unselected.rate(none), "a second",
		"two turns of a round are up to %.0f %% apart", 100*unselected.apart())
	for _, engine := range []string{"webhook", "policy"} {
		b.Note("rate of un-annotated Pods, by "+engine, unselected.compared(engine, none), "times",
			"%.0f a second", unselected.rate(engine))
		took, left := unselected.admitted(engine)
		b.Least("… reckoned from the time in admission", left, "times", 0.98, "%.0f µs more a Pod", took*1e6)
	}
	injected := b.createRounds(stamped, stamped)
	for _, engine := range []string{"webhook", "policy"} {
		took, _ := injected.admitted(engine)
		b.Note("rate of injected Pods, by "+engine, injected.compared(engine, none), "times",
			"%.0f a second, %.0f with none; %.0f µs more a Pod in admission; %d missed", injected.rate(engine),
			injected.rate(none), took*1e6, injected.missed(engine))
	}
	b.Least("… by policy, compared with webhook", injected.compared("policy", "webhook"), "times", 1)

	b.inject("policy", stamped)
	b.paused(func() {
		_, injected := b.createPods(stamped, podsAlone)
		b.removePods(stamped.Namespace)
		b.Most("Pods that miss their settings by policy, operator stopped", float64(podsAlone-injected), "", 0,
			"of %d", podsAlone)
	})
	b.inject("webhook", stamped)
}

// createRounds creates Pods by each engine, and by none, in rounds that are mirrored: a machine
// that gets slower or faster meanwhile decides nothing.
func (b *bench) createRounds(pod, stamped *corev1.Pod) (all podRounds) {
	forth := []string{none, "webhook", "policy"}
	back := slices.Clone(forth)
	slices.Reverse(back)
	for range b.rounds {
		round := map[string]*turns{none: {}, "webhook": {}, "policy": {}}
		for _, engine := range slices.Concat(forth, back) {
			b.inject(engine, stamped)
			// The API server compiles new policies once a second, maybe not all at once. What that takes
			// is no cost of the Pods that are created next, nor is the removal of those before.
			kit.Pause(b.ctx, 3*time.Second)
			b.rest()
			before, used := b.apiMetrics(), kit.Busy()
			took, injected := b.createPods(pod, b.pods)
			used = kit.Busy() - used
			after := b.apiMetrics()
			b.removePods(pod.Namespace)
			if injected > 0 && (pod != stamped || engine == none) {
				kit.Check(fmt.Errorf("%d Pods were injected that should not be", injected))
			}
			each := func(total float64) float64 { return total / float64(b.pods) }
			of := round[engine]
			of.took = append(of.took, each(took.Seconds()))
			of.used = append(of.used, each(used.Seconds()))
			of.admission = append(of.admission, each(admission(after)-admission(before)))
			of.missed += b.pods - injected
		}
		all = append(all, round)
	}
	return all
}

// apiMetrics are those of the API server.
func (b *bench) apiMetrics() testenv.Samples {
	api := kit.Must(discovery.NewDiscoveryClientForConfig(b.plane.Config)).RESTClient()
	return testenv.ReadSamples(string(kit.Must(api.Get().AbsPath("/metrics").DoRaw(b.ctx))))
}

// admission is what all creations spent with webhooks and policies, in seconds.
func admission(s testenv.Samples) (took float64) {
	for _, plugin := range []string{"MutatingAdmissionWebhook", "MutatingAdmissionPolicy"} {
		took += s.Sum("apiserver_admission_controller_admission_duration_seconds_sum",
			`name="`+plugin+`"`, `operation="CREATE"`, `type="admit"`)
	}
	return took
}

// inject chooses an engine, or none, and waits until the API server knows.
func (b *bench) inject(engine string, stamped *corev1.Pod) {
	if b.engine == engine {
		return
	}
	awaitMark := func(want bool) {
		b.wait(20*time.Millisecond, "the engine has changed", func(ctx context.Context) bool {
			pod := stamped.DeepCopy()
			pod.Name = "probe"
			kit.Check(b.api.Create(ctx, pod, client.DryRunAll))
			return (pod.Annotations[obsv1.MarkInjected] != "") == want
		})
	}
	policies := kit.Must(testenv.ReadPolicies())
	switch b.engine {
	case "webhook":
		kit.Check(b.webhooks.Remove(b.ctx))
	case "policy":
		kit.Check(policies.Remove(b.ctx, b.api))
	}
	awaitMark(false)
	switch engine {
	case "webhook":
		kit.Check(b.webhooks.Restore(b.ctx))
	case "policy":
		kit.Check(policies.Install(b.ctx, b.api))
	}
	awaitMark(engine != none)
	b.engine = engine
}

// createPods times the creation of n Pods, and counts those that were injected.
func (b *bench) createPods(template *corev1.Pod, n int) (took time.Duration, injected int) {
	began := time.Now()
	var count atomic.Int64
	b.parallel(n, func(i int) {
		pod := template.DeepCopy()
		pod.Name = fmt.Sprintf("pod-%05d", i)
		b.create(pod)
		if pod.Annotations[obsv1.MarkInjected] != "" {
			count.Add(1)
		}
	})
	return time.Since(began), int(count.Load())
}

func (b *bench) removePods(namespace string) {
	all := client.InNamespace(namespace)
	kit.Check(b.api.DeleteAllOf(b.ctx, &corev1.Pod{}, all, client.GracePeriodSeconds(0)))
}

// workloadMemory measures what workloads and Pods cost the operator, of which first none is
// annotated and then some are.
func (b *bench) workloadMemory() {
	stack := b.injecting()
	namespaces := make([]string, b.workloads/workloadsPerNamespace)
	for i := range namespaces {
		namespaces[i] = fmt.Sprintf("load-%04d", i)
		b.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaces[i]}})
	}
	nothing := b.heap("beside no workloads")
	b.makeWorkloads(namespaces, nil)
	workloads := b.heap(fmt.Sprintf("beside %d workloads", b.workloads))
	b.Most("… for each workload", (workloads-nothing)/float64(b.workloads), "B", 677)
	b.makePods(namespaces)
	pods := b.heap(fmt.Sprintf("beside their %d Pods", b.workloads*podsPerWorkload))
	// Nothing that differs from nothing in this measurement.
	b.Most("… for each Pod", (pods-workloads)/float64(b.workloads*podsPerWorkload), "B", 10)
	// Made anew, the webhooks stamp the templates and inject the Pods, as they do anywhere.
	annotated := namespaces[:len(namespaces)/workloadShare]
	b.parallel(len(annotated), func(i int) {
		for _, obj := range []client.Object{&appsv1.Deployment{}, &corev1.Pod{}} {
			kit.Check(b.api.DeleteAllOf(b.ctx, obj, client.InNamespace(annotated[i]), client.GracePeriodSeconds(0)))
		}
	})
	b.makeWorkloads(annotated, map[string]string{obsv1.AnnotationStack: client.ObjectKeyFromObject(stack).String()})
	b.makePods(annotated)
	n := len(annotated) * workloadsPerNamespace
	heap := b.heap(fmt.Sprintf("when %d of them are annotated", n))
	b.Note("… for each of these with its Pods", (heap-pods)/float64(n), "B")
	kit.Check(b.api.Get(b.ctx, client.ObjectKeyFromObject(stack), stack))
	if got := stack.Status.Workloads; got == nil || int(got.Annotated) != n || int(got.Injected) != n {
		kit.Check(fmt.Errorf("the stack counts %+v workloads, want %d annotated and injected", got, n))
	}
}

// heap is what an operator holds that is started anew and has come to rest, in bytes.
func (b *bench) heap(what string) float64 {
	b.restart(1)
	resident, heap := b.memory(), kit.Must(b.op.Heap(b.ctx))
	b.Note("heap "+what, kit.MiB(heap), "MiB", "resident memory %.0f MiB", resident)
	return float64(heap)
}

// makeWorkloads makes Deployments, and reports of them that all their Pods are there, as the
// controller would that does not run.
func (b *bench) makeWorkloads(namespaces []string, annotations map[string]string) {
	b.parallel(len(namespaces)*workloadsPerNamespace, func(i int) {
		d := read("deployment.yaml", &appsv1.Deployment{})
		d.Namespace, d.Name = namespaces[i/workloadsPerNamespace], fmt.Sprintf("shop-%d", i%workloadsPerNamespace)
		d.Annotations = annotations
		b.create(d)
		d.Status = appsv1.DeploymentStatus{
			ObservedGeneration: d.Generation, Replicas: podsPerWorkload, UpdatedReplicas: podsPerWorkload,
			ReadyReplicas: podsPerWorkload, AvailableReplicas: podsPerWorkload,
		}
		kit.Check(b.api.Status().Update(b.ctx, d))
	})
}

// makePods makes the Pods of the workloads, from their templates.
func (b *bench) makePods(namespaces []string) {
	b.parallel(len(namespaces), func(i int) {
		deployments := &appsv1.DeploymentList{}
		kit.Check(b.api.List(b.ctx, deployments, client.InNamespace(namespaces[i])))
		for n := range deployments.Items {
			for i := range podsPerWorkload {
				pod := podOf(&deployments.Items[n])
				pod.Name = fmt.Sprintf("%s-%d", pod.OwnerReferences[0].Name, i)
				b.create(pod)
			}
		}
	})
}
