// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/bench/machine"
	"obstack.dev/obstack/test/testenv"
)

// pair is one comparison of the operator with the bare client, and with one that is tuned.
type pair struct {
	Operator, Bare, Tuned time.Duration
	// Stolen are the shares of the processors' time that the host took away meanwhile.
	OperatorStolen, BareStolen, TunedStolen float64
}

// Ratio is what the operator costs more than the bare client; 1 is nothing.
func (p pair) Ratio() float64 { return p.Operator.Seconds() / p.Bare.Seconds() }

// TunedRatio is what it costs more than a client that spares the API server what the operator does.
func (p pair) TunedRatio() float64 { return p.Operator.Seconds() / p.Tuned.Seconds() }

// medianBy returns what picks the pair with the median of a ratio; of an even number the worse one.
func medianBy(ratio func(pair) float64) func([]pair) pair {
	return func(pairs []pair) pair {
		sorted := slices.SortedFunc(slices.Values(pairs), func(a, b pair) int { return cmp.Compare(ratio(a), ratio(b)) })
		return sorted[len(sorted)/2]
	}
}

func (b *bench) compareFew(ctx context.Context) error {
	for i := range b.pairs {
		p, stacks, err := b.compare(ctx, b.few, i)
		if err != nil {
			return err
		}
		b.Few = append(b.Few, p)
		if err := b.wipe(ctx, stacks); err != nil {
			return err
		}
	}
	return nil
}

// compareMany leaves the stacks of its last comparison for what follows.
func (b *bench) compareMany(ctx context.Context) error {
	for i := range b.manyPairs {
		p, stacks, err := b.compare(ctx, b.many, i)
		if err != nil {
			return err
		}
		b.Many = append(b.Many, p)
		if i == b.manyPairs-1 {
			b.stacks = stacks
		} else if err := b.wipe(ctx, stacks); err != nil {
			return err
		}
	}
	resident, err := b.memory(ctx)
	b.MemoryStacks.Running = resident
	return err
}

// compare times the operator and both clients, in namespaces of their own. Which of them is
// the first goes round. It returns the operator's stacks.
func (b *bench) compare(ctx context.Context, n, round int) (pair, []*obsv1.ObservabilityStack, error) {
	var p pair
	var stacks [3][]*obsv1.ObservabilityStack
	for i := range stacks {
		var err error
		if stacks[i], err = b.newStacks(ctx, n); err != nil {
			return p, nil, err
		}
	}
	turns := [3]func() error{
		func() (err error) { p.Operator, p.OperatorStolen, err = b.converge(ctx, stacks[0]); return err },
		func() (err error) { p.Bare, p.BareStolen, err = b.applyBare(ctx, stacks[1]); return err },
		func() (err error) {
			p.Tuned, p.TunedStolen, err = b.applyBare(ctx, stacks[2], client.FieldValidation(metav1.FieldValidationIgnore))
			return err
		},
	}
	for i := range turns {
		if err := turns[(i+round)%len(turns)](); err != nil {
			return p, nil, err
		}
	}
	progress("%d stacks: operator %.1f s, bare client %.1f s, ratio %.2f, tuned client %.1f s, ratio %.2f; %.2f passes and %.2f requests a stack",
		n, p.Operator.Seconds(), p.Bare.Seconds(), p.Ratio(), p.Tuned.Seconds(), p.TunedRatio(), b.PassesPerStack, b.RequestsPerStack)
	return p, stacks[0], errors.Join(b.wipe(ctx, stacks[1]), b.wipe(ctx, stacks[2]))
}

// How often it is asked whether stacks have converged, for each of them: an answer has series for each, and making it and
// reading it takes processor time that the operator needs. That is seldom, and more often only when the end is near.
const (
	seldomEach = 2 * time.Millisecond
	oftenEach  = 500 * time.Microsecond
)

// converge makes the stacks and waits until the operator has made all children
// and written all statuses. The operator is halted while the stacks are made,
// which is not its work, and the time begins when it may go on.
func (b *bench) converge(ctx context.Context, stacks []*obsv1.ObservabilityStack) (took time.Duration, stolen float64, err error) {
	if err := b.rested(ctx); err != nil {
		return 0, 0, err
	}
	before, err := b.op.Metrics(ctx)
	if err != nil {
		return 0, 0, err
	}
	err = b.halted(func() error {
		return parallel(ctx, len(stacks), func(ctx context.Context, i int) error { return b.api.Create(ctx, stacks[i]) })
	})
	start, processors := time.Now(), machine.Now()
	if err != nil {
		return 0, 0, fmt.Errorf("make stacks: %w", err)
	}
	n := float64(len(stacks))
	reported := func(s testenv.Samples) float64 {
		return s.Sum("obstack_stacks") - s.Sum("obstack_stacks", `ready="Unknown"`)
	}
	err = errors.Join(
		b.until(ctx, time.Duration(n)*seldomEach, "most stacks have a status", func(s testenv.Samples) bool { return reported(s) >= 0.95*n }),
		b.until(ctx, time.Duration(n)*oftenEach, "all stacks have a status", func(s testenv.Samples) bool {
			return reported(s) >= n && s.Passes()-before.Passes() >= n && s.Idle()
		}))
	took, stolen = time.Since(start), machine.Now().StolenSince(processors)
	if err != nil {
		return 0, 0, err
	}
	after, err := b.op.Metrics(ctx)
	b.PassesPerStack = (after.Passes() - before.Passes()) / n
	b.RequestsPerStack = (after.Requests() - before.Requests()) / n
	return took, stolen, errors.Join(err, b.verify(ctx, stacks))
}

// verify asks the API server, not the operator, whether all is there.
func (b *bench) verify(ctx context.Context, stacks []*obsv1.ObservabilityStack) error {
	expected, err := b.requestsFor(stacks[0])
	if err != nil {
		return err
	}
	children := 0
	for i := 0; i < len(stacks); i += perNamespace {
		namespace := client.InNamespace(stacks[i].Namespace)
		list := &obsv1.ObservabilityStackList{}
		if err := b.api.List(ctx, list, namespace); err != nil {
			return fmt.Errorf("list stacks: %w", err)
		}
		for _, stack := range list.Items {
			if stack.Status.ObservedGeneration != stack.Generation {
				return fmt.Errorf("stack %s has no status of its generation", stack.Name)
			}
		}
		for _, kind := range childKinds {
			list := &metav1.PartialObjectMetadataList{}
			list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
			if err := b.api.List(ctx, list, namespace, client.MatchingLabels{obsv1.LabelManagedBy: obsv1.ManagedBy}); err != nil {
				return fmt.Errorf("list %ss: %w", kind.Kind, err)
			}
			children += len(list.Items)
		}
	}
	if want := len(stacks) * len(expected); children != want {
		return fmt.Errorf("%d stacks have %d children, want %d", len(stacks), children, want)
	}
	b.Children = len(expected)
	return nil
}

// applyBare applies what the operator would, which is halted meanwhile: what it makes
// of the bare client's objects is no part of that client's work. The requests are
// ready before the clock starts.
func (b *bench) applyBare(ctx context.Context, stacks []*obsv1.ObservabilityStack, opts ...client.PatchOption) (took time.Duration, stolen float64, err error) {
	work := make([][]request, len(stacks))
	err = parallel(ctx, len(work), func(ctx context.Context, i int) (err error) {
		// A dry run, for the defaults that the API server sets.
		if err := b.api.Create(ctx, stacks[i], client.DryRunAll); err != nil {
			return fmt.Errorf("default a stack: %w", err)
		}
		work[i], err = b.requestsFor(stacks[i])
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	err = b.halted(func() error {
		start, processors := time.Now(), machine.Now()
		defer func() { took, stolen = time.Since(start), machine.Now().StolenSince(processors) }()
		return parallel(ctx, len(work), func(ctx context.Context, i int) error {
			for _, r := range work[i] {
				if err := b.apply(ctx, r, opts...); err != nil {
					return err
				}
			}
			return nil
		})
	})
	return took, stolen, err
}
