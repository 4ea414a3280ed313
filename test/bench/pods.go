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

// podCreation compares the creation of Pods with the policy, with the webhook and with neither, by
// the median of all rounds: in a single one, a garbage collection of the API server more or less
// decides, and in their sum, what else the machine did in one of them.
func (b *bench) podCreation() {
	stack := b.injecting()
	workload := read("deployment.yaml", &appsv1.Deployment{})
	workload.Namespace, workload.Name = stack.Namespace, "shop"
	plain, stamped := podOf(workload), podOf(workload)
	stamp := policy.Stamp{Stack: client.ObjectKeyFromObject(stack), ConfigHash: stack.Status.ConfigHash}
	maps.Copy(stamped.Labels, stamp.Labels())
	maps.Copy(stamped.Annotations, stamp.Annotations())

	rates, _ := b.podRates(plain, stamped)
	for _, engine := range []string{"webhook", "policy"} {
		b.Least("rate of un-annotated Pods, by "+engine, rates[engine]/rates["none"], "times", 0.98,
			"%.0f a second, %.0f with none", rates[engine], rates["none"])
	}
	rates, missed := b.podRates(stamped, stamped)
	for _, engine := range []string{"webhook", "policy"} {
		b.Note("rate of injected Pods, by "+engine, rates[engine]/rates["none"], "times",
			"%.0f a second, %.0f with none; %d missed", rates[engine], rates["none"], missed[engine])
	}
	b.Least("… by policy, compared with webhook", rates["policy"]/rates["webhook"], "times", 1)

	b.inject("policy", stamped)
	b.paused(func() {
		_, injected := b.createPods(stamped, podsAlone)
		b.Most("Pods that miss their settings by policy, operator stopped", float64(podsAlone-injected), "", 0,
			"of %d", podsAlone)
	})
	b.inject("webhook", stamped)
}

// podRates are the Pods a second that are created with each engine, and those that should have been
// injected and were not.
func (b *bench) podRates(pod, stamped *corev1.Pod) (rates map[string]float64, missed map[string]int) {
	took := map[string][]float64{} // seconds of each round
	rates, missed = map[string]float64{}, map[string]int{}
	turns := []string{"policy", "none", "webhook"}
	for range b.rounds {
		for _, engine := range turns {
			b.inject(engine, stamped)
			b.rest()
			t, injected := b.createPods(pod, b.pods)
			took[engine] = append(took[engine], t.Seconds())
			missed[engine] += b.pods - injected
			if injected > 0 && (pod != stamped || engine == "none") {
				kit.Check(fmt.Errorf("%d Pods were injected that should not be", injected))
			}
		}
		slices.Reverse(turns) // What comes first of a round does not always come first.
	}
	for engine, all := range took {
		rates[engine] = float64(b.pods) / kit.Median(all)
	}
	return rates, missed
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
	awaitMark(engine != "none")
	// The API server compiles new policies once a second, maybe not all at once. What that takes is
	// no cost of the Pods that are created next.
	kit.Pause(b.ctx, 3*time.Second)
	b.engine = engine
}

// createPods times the creation of n Pods, counts those that were injected, and removes all.
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
	took = time.Since(began)
	all := client.InNamespace(template.Namespace)
	kit.Check(b.api.DeleteAllOf(b.ctx, &corev1.Pod{}, all, client.GracePeriodSeconds(0)))
	return took, int(count.Load())
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
