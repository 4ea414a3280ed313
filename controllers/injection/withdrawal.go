// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// suspectsRecheck is how often the Pods of a workload are looked at that has the bundle for Python
// and is not available: no event comes when a container is restarted.
const suspectsRecheck = 15 * time.Second

// suspect is what was decided about a workload by its Pods, and when.
type suspect struct {
	at     time.Time
	why    policy.Withdrawal
	broken bool
}

// suspects decides about the candidates that have the bundle for Python and are not available
// whether they do not run because of it.
func (i *Injector) suspects(ctx context.Context, stack types.NamespacedName, state *policy.State) error {
	stored, _ := i.looked.Load(stack)
	before, _ := stored.(map[types.UID]suspect) // nil in the first pass
	after := map[types.UID]suspect{}
	for n := range state.Candidates {
		c := &state.Candidates[n]
		if !c.Suspect() {
			continue
		}
		seen, known := before[c.UID]
		if !known || state.Now.Sub(seen.at) >= suspectsRecheck {
			pods, err := i.pythonPods(ctx, c)
			if err != nil {
				return err
			}
			seen.at = state.Now
			seen.why, seen.broken = c.Broken(pods, state.Now)
		}
		if after[c.UID] = seen; seen.broken {
			c.Break(seen.why)
		}
		if state.RetryAfter == 0 || state.RetryAfter > suspectsRecheck {
			state.RetryAfter = suspectsRecheck
		}
	}
	i.looked.Store(stack, after)
	return nil
}

// pythonPods are those of a candidate with the bundle of its template, which the caches do not hold
// in full. Where one works, the others say nothing.
func (i *Injector) pythonPods(ctx context.Context, c *policy.Candidate) (pods []policy.PythonPod, err error) {
	stamp, _ := c.Stamp()
	page, works := &corev1.PodList{}, false
	for more := true; more && !works; more = page.Continue != "" {
		opts := []client.ListOption{
			client.InNamespace(c.Namespace), client.Limit(startsPage), client.Continue(page.Continue), client.MatchingLabels{
				obsv1.StampStack: stamp.Stack.Name, obsv1.StampNamespace: stamp.Stack.Namespace, obsv1.StampPython: stamp.Python,
			}}
		page = &corev1.PodList{}
		if err := i.Live.List(ctx, page, opts...); err != nil {
			return nil, fmt.Errorf("list Pods with the bundle for Python: %w", err)
		}
		for n := range page.Items {
			pod := &page.Items[n]
			if policy.OwnerOf(&pod.ObjectMeta) == c.Key() && pod.DeletionTimestamp.IsZero() {
				p := policy.PythonPodOf(pod)
				pods, works = append(pods, p), works || p.Works()
			}
		}
	}
	return pods, nil
}
