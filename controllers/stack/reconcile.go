// SPDX-License-Identifier: Apache-2.0

// Package stack is the pass over one ObservabilityStack: observe reads, plan decides,
// apply writes the children, rollout patches the workloads, and report writes the status.
package stack

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/apply"
	"obstack.dev/obstack/controllers/capabilities"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/platform"
	"obstack.dev/obstack/controllers/proof/judge"
	"obstack.dev/obstack/controllers/settings"
)

// Reconciler keeps the children and the status of ObservabilityStacks.
type Reconciler struct {
	// Client reads through the cache and writes.
	client.Client
	// Engine applies and prunes the children.
	Engine *apply.Engine
	// Platforms finds what stands behind stacks.
	Platforms platform.Resolver
	// Settings keeps the versions of the settings.
	Settings *settings.Keeper
	// Values reads what stacks refer to.
	Values *ValueReader
	// Kinds knows which kinds the cluster serves.
	Kinds *capabilities.Kinds
	// Events records for users the conditions that change.
	Events events.EventRecorder
	// Cluster reads what selects the children of stacks; nil if nothing does.
	Cluster Cluster
	// Injection brings settings to workloads; nil if it is off.
	Injection Injection
	// Proofs are what was found out beside the passes.
	Proofs Proofs
	// Now is the time, for the date of what was seen to work.
	Now func() time.Time
	// ExporterImage is the task exporter's image where a broker names none.
	ExporterImage string
	// Operator is whom the NetworkPolicies of task exporters let in; nil if that is not known.
	Operator *networkingv1.NetworkPolicyPeer

	// written holds, by UID, the resource version over which a stack's status was written last.
	written sync.Map
}

// Cluster is what a pass needs of what reads the cluster's own objects.
type Cluster interface {
	// Observe reads, from memory, what they say about a stack.
	Observe(ctx context.Context, stack *obsv1.ObservabilityStack) (judge.Cluster, error)
}

// Injection is what a pass needs of what brings settings to workloads.
type Injection interface {
	// Observe finds the workloads that name a stack. It writes nothing.
	Observe(ctx context.Context, stack *obsv1.ObservabilityStack) (policy.State, error)
	// Rollout carries out a plan, and adds to it what failed.
	Rollout(ctx context.Context, stack types.NamespacedName, plan *policy.Plan) error
	// Forget drops what is stored of a stack that is gone.
	Forget(stack types.NamespacedName)
}

// Proofs is what a pass needs of what asks whether the stack works.
type Proofs interface {
	// Evidence is what is known of a stack. It asks nobody.
	Evidence(stack *obsv1.ObservabilityStack) judge.Evidence
}

// Reconcile makes the cluster match one stack.
func (r *Reconciler) Reconcile(ctx context.Context, stack *obsv1.ObservabilityStack) (ctrl.Result, error) {
	if !stack.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // The children go with garbage collection.
	}
	platform, err := r.Platforms.For(ctx, stack)
	if err != nil {
		return ctrl.Result{}, err
	}
	wanted := desired.Effective(stack, platform.Spec)
	observed, err := r.observe(ctx, wanted, platform)
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("observe: %w", err)
	}
	written := r.writeSettings(ctx, wanted, observed)
	plan := newPlan(wanted, observed, written)
	applied := r.apply(ctx, wanted, plan)
	rolledOut, rolloutErr := r.rollout(ctx, wanted, plan, applied)
	reportErr := r.report(ctx, stack, plan, rolledOut)
	return next(rolledOut, errors.Join(observed.unread, rolloutErr, reportErr))
}

const (
	// recheckAfter is how long obstack waits for a change that it has no watch for,
	// such as the deletion of an unmanaged object whose name it needs.
	recheckAfter = time.Minute
	// againAfter is how soon obstack looks again at what it knows to be outdated.
	againAfter = time.Second
)

// next is when the stack is looked at again though no event asks for it. The jitter
// keeps many stacks from being looked at at the same time.
func next(done outcome, err error) (ctrl.Result, error) {
	var soonest time.Duration
	errs := []error{err}
	for _, result := range append(done.results, done.elsewhere) {
		errs = append(errs, result.retry)
		after := result.recheck
		if result.raced {
			after = againAfter
		}
		if after > 0 && (soonest == 0 || after < soonest) {
			soonest = after
		}
	}
	err = errors.Join(errs...)
	if apierrors.IsConflict(err) {
		// The cache is behind the stack, or a child was replaced meanwhile: look again.
		return ctrl.Result{RequeueAfter: againAfter}, nil
	}
	return ctrl.Result{RequeueAfter: wait.Jitter(soonest, 0.5)}, err
}
