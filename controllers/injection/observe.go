// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// Observe finds the workloads that name a stack, and their Pods.
func (i *Injector) Observe(ctx context.Context, stack *obsv1.ObservabilityStack) (policy.State, error) {
	key := client.ObjectKeyFromObject(stack)
	var state policy.State
	workloads, err := i.Reader.Concerning(ctx, key)
	if err != nil {
		return state, err
	}
	pods, err := i.Reader.Pods(ctx, key)
	if err != nil {
		return state, err
	}
	for _, w := range workloads {
		claim, namespace, err := i.Reader.Claim(ctx, w)
		if err != nil {
			return state, err
		}
		if claim.Stack != key || !w.DeletionTimestamp.IsZero() {
			continue
		}
		decision := policy.DecideWorkload(w, claim, namespace, stack)
		if !decision.Granted {
			if decision.Reason != "" {
				state.Refused++
			}
			continue
		}
		// A namespace that is being deleted takes no more objects.
		if namespace.DeletionTimestamp.IsZero() {
			state.Namespaces = append(state.Namespaces, w.Namespace)
		}
		state.Candidates = append(state.Candidates, policy.Candidate{
			Workload: w, Want: policy.StampFor(claim, stack, w.Name, ""), Pods: pods[w.Key()],
		})
	}
	alone, err := i.lonePods(ctx, stack, pods)
	if err != nil {
		return state, err
	}
	for _, pod := range alone {
		state.Namespaces = append(state.Namespaces, pod.Namespace)
	}
	asking, err := i.Reader.asking(ctx, stack)
	if err != nil {
		return state, err
	}
	state.Namespaces = append(state.Namespaces, asking...)
	slices.Sort(state.Namespaces)
	state.Namespaces = slices.Compact(state.Namespaces)
	state.Candidates = append(state.Candidates, alone...)
	i.load(key, state.Candidates)
	return state, nil
}

// lonePods are the stamped Pods that no workload made. A stamp can be written by
// anybody, so those of namespaces that are not admitted do not count.
func (i *Injector) lonePods(ctx context.Context, stack *obsv1.ObservabilityStack,
	pods map[policy.Key][]policy.Pod) ([]policy.Candidate, error) {
	var alone []policy.Candidate
	want := policy.Stamp{Stack: client.ObjectKeyFromObject(stack)}
	for key, of := range pods {
		if key.Kind != policy.KindPod || of[0].Deleting {
			continue
		}
		namespace, err := i.Reader.namespace(ctx, key.Namespace)
		if err != nil {
			return nil, err
		}
		if namespace.DeletionTimestamp.IsZero() && policy.Admits(stack, key.Namespace, namespace.Labels) {
			w := &policy.Workload{}
			w.Kind, w.Namespace, w.Name = key.Kind, key.Namespace, key.Name
			alone = append(alone, policy.Candidate{Workload: w, Want: want, Pods: of})
		}
	}
	return alone, nil
}
