// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// stored is what this process stores of a workload.
type stored struct {
	policy.History
	key policy.Key
	// released reports whether the last patch removed the stamp, so that nothing else shows
	// whose rollout it is.
	released bool
}

// load adds to the candidates what is stored of them, and stores what is seen of them now.
func (i *Injector) load(stack types.NamespacedName, state *policy.State) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.began.IsZero() {
		i.began = state.Now
	}
	all := i.stored[stack]
	if all == nil {
		all = map[types.UID]*stored{}
	}
	for n := range state.Candidates {
		c := &state.Candidates[n]
		s := &stored{key: c.Key()}
		if had := all[c.UID]; had != nil {
			*s = *had
			s.released = had.released && c.Release
		}
		s.History = s.Seen(c, state.Now, i.began)
		c.History = s.History
		if c.UID != "" && !s.Empty(c.Workload, state.Now) {
			all[c.UID] = s
		} else {
			delete(all, c.UID)
		}
	}
	i.replace(stack, all)
}

// replace what is stored of a stack; nothing of one that is gone.
func (i *Injector) replace(stack types.NamespacedName, all map[types.UID]*stored) {
	if i.stored == nil {
		i.stored = map[types.NamespacedName]map[types.UID]*stored{}
	}
	if len(all) == 0 {
		delete(i.stored, stack)
		return
	}
	i.stored[stack] = all
}

// store changes what is stored of a candidate.
func (i *Injector) store(stack types.NamespacedName, c *policy.Candidate, released bool,
	change func(policy.History) policy.History) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.stored[stack][c.UID]
	if s == nil {
		s = &stored{History: c.History, key: c.Key()}
		all := i.stored[stack]
		if all == nil {
			all = map[types.UID]*stored{}
		}
		all[c.UID] = s
		i.replace(stack, all)
	}
	s.History, s.released = change(s.History), released
}

// absent goes through what is stored of workloads that are no candidates. It drops that of one
// that is gone, and keeps the rest: a selector that is mistyped for a moment gives no new budget.
// Those of which the stamp was removed are listed, as the caches show them: while they roll, they
// take a place.
func (i *Injector) absent(ctx context.Context, stack types.NamespacedName,
	candidates []policy.Candidate) ([]policy.Candidate, error) {
	known := map[types.UID]bool{}
	for n := range candidates {
		known[candidates[n].UID] = true
	}
	i.mu.Lock()
	all := map[types.UID]stored{}
	for uid, s := range i.stored[stack] {
		if !known[uid] {
			all[uid] = *s
		}
	}
	i.mu.Unlock()
	var rolling []policy.Candidate
	for uid, s := range all {
		w, err := i.Reader.Workload(ctx, s.key)
		if err != nil {
			return nil, err
		}
		if w == nil || w.UID != uid {
			i.drop(stack, uid)
			continue
		}
		// One that has a stamp again is another stack's, or is refused.
		if _, stamped := w.Stamp(); s.released && !stamped {
			rolling = append(rolling, policy.Candidate{Workload: w, Release: true})
		} else if s.Empty(w, i.Now()) {
			i.drop(stack, uid)
		}
	}
	return rolling, nil
}

// drop what is stored of a workload.
func (i *Injector) drop(stack types.NamespacedName, uid types.UID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.stored[stack], uid)
	i.replace(stack, i.stored[stack])
}

// releasedFrom returns the stack whose stamp was removed from a workload.
func (i *Injector) releasedFrom(w *policy.Workload) (types.NamespacedName, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for stack, all := range i.stored {
		if s := all[w.UID]; s != nil && s.released {
			return stack, true
		}
	}
	return types.NamespacedName{}, false
}

// take places for a plan, and returns how many more rollouts it may start.
func (i *Injector) take(ctx context.Context, stack types.NamespacedName, plan *policy.Plan) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.places == nil {
		if err := i.countPlaces(ctx); err != nil {
			return 0, err
		}
	}
	more := 0
	for _, patch := range plan.Patches {
		if patch.RollsPods {
			more++
		}
	}
	return i.places.Take(stack, plan.Rolling, more), nil
}

// countPlaces finds the rollouts that former processes started, of which other stacks' passes
// would not know before each had its own.
func (i *Injector) countPlaces(ctx context.Context) error {
	now, rolling := i.Now(), map[types.NamespacedName][]policy.Candidate{}
	err := i.Reader.each(ctx, func(w *policy.Workload) {
		stamp, _ := w.Stamp()
		c := policy.Candidate{Workload: w, Want: stamp}
		if c.History = c.Seen(&c, now, now); c.TakesPlace(now) {
			rolling[stamp.Stack] = append(rolling[stamp.Stack], c)
		}
	})
	if err != nil {
		return err
	}
	i.places = policy.NewPlaces(i.MaxConcurrentRollouts)
	for key, candidates := range rolling {
		stack := &obsv1.ObservabilityStack{}
		if !i.Reader.Watched(key.Namespace) || i.Reader.Main.Get(ctx, key, stack) != nil {
			continue
		}
		n := 0
		for _, c := range candidates {
			namespace, err := i.Reader.namespace(ctx, c.Namespace)
			if err != nil {
				return err
			}
			if policy.Admits(stack, c.Namespace, namespace.Labels) {
				n++
			}
		}
		i.places.Take(key, min(n, policy.MaxConcurrent(stack)), 0)
	}
	return nil
}

// free gives back places that were not used, and asks for the stacks whose turn has come.
func (i *Injector) free(stack types.NamespacedName, unused int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.places.Return(stack, unused)
	i.callNext()
}

func (i *Injector) callNext() {
	for _, next := range i.places.Next() {
		if i.queue != nil {
			i.queue.Add(reconcile.Request{NamespacedName: next})
		}
	}
}

// Forget drops what is stored of a stack that is gone.
func (i *Injector) Forget(stack types.NamespacedName) {
	i.starts.Delete(stack)
	i.judged.Delete(stack)
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.stored, stack)
	if i.places != nil {
		i.places.Forget(stack)
		i.callNext()
	}
}
