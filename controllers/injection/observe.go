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
	state := policy.State{Now: i.Now()}
	workloads, err := i.Reader.Concerning(ctx, key)
	if err != nil {
		return state, err
	}
	pods, err := i.pods(ctx, key, &state)
	if err != nil {
		return state, err
	}
	for _, w := range workloads {
		claim, namespace, err := i.Reader.Claim(ctx, w)
		if err != nil {
			return state, err
		}
		if w.DeletionTimestamp.IsZero() {
			state.Add(stack, w, claim, namespace, pods[w.Key()])
		}
	}
	released, err := i.absent(ctx, key, state.Candidates)
	if err != nil {
		return state, err
	}
	others, refused, err := i.otherPods(ctx, stack, pods)
	if err != nil {
		return state, err
	}
	for _, c := range others {
		state.Need(c.Namespace, c.Variant)
		state.NeedPython(c.Namespace, c.Python)
	}
	state.Refused = append(state.Refused, refused...)
	if err := i.Reader.asking(ctx, stack, &state); err != nil {
		return state, err
	}
	state.Candidates = slices.Concat(state.Candidates, released, others)
	i.load(key, &state)
	i.judge(ctx, key, &state)
	return state, nil
}

// kindStack is that of the controller of Pods by which somebody tries a stack, as kubectl obstack
// verify does. They are injected like any other, and are no workload of the stack.
const kindStack = "ObservabilityStack"

// otherPods are the stamped Pods that no workload made which obstack knows: those that stand
// alone, and those of other controllers; and of them, those that ask for what the stack does not
// give any more. A stamp can be written by anybody, so those of namespaces that are not admitted
// do not count.
func (i *Injector) otherPods(ctx context.Context, stack *obsv1.ObservabilityStack,
	pods map[policy.Key][]policy.Pod) (others []policy.Candidate, refused []policy.Refusal, err error) {
	want := policy.Stamp{Stack: client.ObjectKeyFromObject(stack)}
	for key, of := range pods {
		if _, err := policy.KindOf(key.Kind); err == nil || key.Kind == kindStack ||
			!slices.ContainsFunc(of, func(pod policy.Pod) bool { return !pod.Deleting }) {
			continue
		}
		namespace, err := i.Reader.namespace(ctx, key.Namespace)
		if err != nil {
			return nil, nil, err
		}
		if namespace.Name == "" || !namespace.DeletionTimestamp.IsZero() ||
			!policy.Admits(stack, key.Namespace, namespace.Labels) {
			continue
		}
		w := &policy.Workload{}
		w.Kind, w.Namespace, w.Name = key.Kind, key.Namespace, key.Name
		accepts := policy.Acceptance{Env: true, Python: true}
		if key.Namespace != stack.Namespace {
			accepts, _ = policy.AcceptedBy(namespace)
		}
		variant := policy.Variant{Project: of[0].Project, Env: accepts.Env}
		claim := policy.Claim{Stack: want.Stack, Variant: variant, Python: accepts.Python}
		if decision := policy.Decide(claim, key.Namespace, namespace.Labels, stack); !decision.Granted {
			refused = append(refused, policy.Refusal{Namespace: key.Namespace, Reason: decision.Reason})
			continue
		}
		others = append(others, policy.Candidate{
			Workload: w, Want: want, Variant: variant, Python: claim.WantsPython(stack), Pods: of,
		})
	}
	return others, refused, nil
}
