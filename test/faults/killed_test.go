// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

const (
	killedStacks = 100
	kills        = 20
	// seed of the moments of the kills.
	seed = 20261122
	// firstLife is the longest life of the first operator, enough for a start and a convergence
	// on a slow machine. Each operator that converged before its end shortens the lives after it.
	firstLife = 1500 * time.Millisecond
)

// killed runs the same changes twice in the same namespace, undisturbed and with an operator that
// is killed between them, and compares what is left at the end.
func (p *plane) killed(t *testing.T) {
	namespace := p.namespace(t)
	p.makeStacks(t, namespace)
	op := p.run(t, "operator")
	for round := range kills {
		p.edit(t, namespace, round)
	}
	ready(t, op)
	p.converged(t, op, namespace)
	p.wantChildren(t, namespace)
	want := p.state(t, namespace)
	if err := op.Stop(); err != nil {
		t.Fatal(err)
	}
	p.wipe(t, namespace)

	p.makeStacks(t, namespace)
	random := rand.New(rand.NewPCG(seed, seed))
	busyDeaths, longestLife := 0, firstLife
	for round := range kills {
		victim := p.run(t, "operator")
		p.edit(t, namespace, round)
		life := time.NewTimer(time.Duration(random.Int64N(int64(longestLife))))
		select {
		case <-life.C:
		case <-victim.Done():
			t.Fatalf("the operator ended by itself, exit status %d:\n%s", victim.ExitCode(), victim.Tail())
		}
		if err := victim.Kill(); err != nil {
			t.Fatal(err)
		}
		if p.behind(t.Context(), namespace) != "" {
			busyDeaths++
		} else {
			longestLife = longestLife * 3 / 4
		}
	}
	t.Logf("%d of %d kills came before every stack had converged", busyDeaths, kills)
	if busyDeaths < kills/2 {
		t.Errorf("only %d of %d kills disturbed a convergence: shorten firstLife", busyDeaths, kills)
	}
	last := p.run(t, "operator")
	ready(t, last)
	p.converged(t, last, namespace)
	p.wantChildren(t, namespace)
	wantState(t, want, p.state(t, namespace))
}

func killedStack(namespace string, i int) *obsv1.ObservabilityStack {
	return newStack(namespace, fmt.Sprintf("stack-%03d", i))
}

func (p *plane) makeStacks(t *testing.T, namespace string) {
	t.Helper()
	for i := range killedStacks {
		testenv.Create(t, p.api, killedStack(namespace, i))
	}
}

// edit changes ten stacks in each round, so that every kill has something to
// disturb: children are added, changed and pruned.
func (p *plane) edit(t *testing.T, namespace string, round int) {
	t.Helper()
	for i := round % 10; i < killedStacks; i += 10 {
		stack := &obsv1.ObservabilityStack{}
		if err := p.api.Get(t.Context(), client.ObjectKeyFromObject(killedStack(namespace, i)), stack); err != nil {
			t.Fatal(err)
		}
		err := p.change(t.Context(), stack, func(spec *obsv1.ObservabilityStackSpec) {
			switch (round/10 + i/10) % 3 {
			case 0:
				spec.Metrics.Monitors = append(spec.Metrics.Monitors, monitor(fmt.Sprintf("round-%d", round)))
			case 1:
				spec.Alerts = nil
			case 2:
				spec.Metrics.Monitors[0].Path = fmt.Sprintf("/metrics/%d", round)
				spec.Environment = "staging"
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
