// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/test/bench/kit"
	"obstack.dev/obstack/test/testenv"
)

const (
	// barRestart is how many requests the first pass over all stacks may send in all, and
	// barRestartSeconds how long it may take from the start of the process.
	barRestart, barRestartSeconds = 150, 10
	// drifted is how many children are changed while no operator runs.
	drifted = 50
)

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
	b.Most(what+"requests until the last is seen", s.Requests(), "", barRestart, "%.0f passes", s.Passes())
	b.Most(what+"of them writes", writes(s), "", 0)
	b.Most(what+"until the last is seen", took.Seconds(), "s", barRestartSeconds)
	b.Note("… heap", mib(kit.Must(b.op.Heap(b.ctx))), "MiB", "resident memory %.0f MiB", b.memory())
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
	b.wipe(stacks)
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
