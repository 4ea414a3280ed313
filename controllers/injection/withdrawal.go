// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/metadata"
)

// looked is why a workload on trial is to lose the bundle, by its Pods; nil if it is not.
type looked struct {
	broken *policy.Withdrawal
	// trial, generation and rolling are what this is about, and again is when to look again.
	trial      string
	generation int64
	rolling    bool
	again      time.Time
}

// about reports whether that is about a workload as it is.
func (l looked) about(c *policy.Candidate) bool {
	return l.trial == c.Trial() && l.generation == c.Generation && l.rolling == c.Rolling()
}

// judged is what was found of a stack's workloads, and until when Pods are not listed again that
// could not be.
type judged struct {
	workloads map[types.UID]looked
	unlisted  map[labelled]time.Time
}

// judge the candidates that have the bundle for Python and were not seen to run with it.
func (i *Injector) judge(ctx context.Context, stack types.NamespacedName, state *policy.State) {
	stored, _ := i.judged.Load(stack)
	before, _ := stored.(judged) // empty in the first pass
	after, due := judged{map[types.UID]looked{}, map[labelled]time.Time{}}, map[labelled][]*policy.Candidate{}
	for of, until := range before.unlisted {
		if state.Now.Before(until) {
			after.unlisted[of] = until
		}
	}
	for n := range state.Candidates {
		c := &state.Candidates[n]
		if !c.OnTrial() {
			continue
		}
		seen := before.workloads[c.UID]
		if !seen.about(c) {
			seen = looked{trial: c.Trial(), generation: c.Generation, rolling: c.Rolling()}
		}
		stamp, _ := c.Stamp()
		of := labelled{c.Namespace, policy.Stamp{Stack: stamp.Stack, Python: stamp.Python}}
		if until := after.unlisted[of]; seen.again.Before(until) {
			seen.again = until
		}
		if after.workloads[c.UID] = seen; !state.Now.Before(seen.again) {
			due[of] = append(due[of], c)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	for of, candidates := range due {
		i.look(ctx, of, candidates, state.Now, after)
	}
	for n := range state.Candidates {
		c := &state.Candidates[n]
		if seen, onTrial := after.workloads[c.UID]; onTrial {
			carryOut(seen, c, state)
		}
	}
	i.judged.Store(stack, after)
}

// look at the Pods of some candidates. Where the API server does not list them, what was known
// before holds: that is the trouble of one namespace, and not of the stack.
func (i *Injector) look(ctx context.Context, of labelled, candidates []*policy.Candidate, now time.Time, after judged) {
	pods, err := i.pythonPods(ctx, of, candidates, now)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Could not see whether workloads run with the bundle for Python",
			"namespace", of.namespace)
		after.unlisted[of] = i.Now().Add(listAgainAfter)
	}
	for _, c := range candidates {
		seen := after.workloads[c.UID]
		if seen.again = after.unlisted[of]; err == nil {
			verdict := c.Judge(pods[c.Key()], now)
			c.Proven = verdict.Works
			seen.broken, seen.again = verdict.Broken, i.Now().Add(c.JudgeAfter())
		}
		after.workloads[c.UID] = seen
	}
}

// carryOut what was decided, and look again.
func carryOut(seen looked, c *policy.Candidate, state *policy.State) {
	if seen.broken != nil {
		c.Break(*seen.broken)
	}
	state.Retry(seen.again.Sub(state.Now))
}

// labelled are the Pods of a namespace with the bundle of a stack.
type labelled struct {
	namespace string
	stamp     policy.Stamp
}

// keep on workloads that they were seen to run with the bundle for Python.
func (i *Injector) keep(ctx context.Context, stack types.NamespacedName, proven []*policy.Candidate) {
	for _, c := range proven {
		if _, err := i.patch(ctx, c.Workload, obsv1.AnnotationPythonWorks, c.Trial()); err != nil {
			if !gone(err) {
				ctrl.LoggerFrom(ctx).Error(err, "Could not record that a workload runs with the bundle for Python",
					"workload", c.String())
			}
			continue
		}
		i.store(stack, c, false, func(h policy.History) policy.History {
			h.Works = c.Trial()
			return h
		})
	}
}

// pythonPods are those that run with a bundle and were made from the newest template of some
// candidates, as the API server has them. Where one works, the others say nothing.
func (i *Injector) pythonPods(ctx context.Context, of labelled, candidates []*policy.Candidate,
	now time.Time) (map[policy.Key][]policy.PythonPod, error) {
	labels := client.MatchingLabels{
		obsv1.StampStack: of.stamp.Stack.Name, obsv1.StampNamespace: of.stamp.Stack.Namespace,
		obsv1.StampPython: of.stamp.Python,
	}
	pods, open := map[policy.Key][]policy.PythonPod{}, map[policy.Key]types.UID{}
	for _, c := range candidates {
		open[c.Key()] = c.UID
	}
	newest, err := newestRevisions(ctx, i.Live, open, client.InNamespace(of.namespace), labels, metadata.WholePage)
	if err != nil {
		return nil, err
	}
	for pod, err := range livePods(ctx, i.Live, of.namespace, labels) {
		if err != nil {
			return nil, err
		}
		p, ok := policy.PythonPodOf(pod)
		owner := policy.OwnerOf(&pod.ObjectMeta)
		from := newest[open[owner]]
		if !ok || !policy.MadeFrom(&pod.ObjectMeta, &from.meta) {
			continue
		}
		if pods[owner] = append(pods[owner], p); p.Works(now) {
			delete(open, owner)
		}
		if len(open) == 0 {
			break
		}
	}
	return pods, nil
}
