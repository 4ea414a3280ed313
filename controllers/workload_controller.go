// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// workloadRequest names one workload.
type workloadRequest struct {
	Kind string
	types.NamespacedName
}

// WorkloadReconciler looks at one workload: it tells its owner why it gets no
// settings, and releases it from a stamp that it should not have. Stamping is the
// stack's pass, which sees all of them at once.
type WorkloadReconciler struct {
	// Client reads stacks from the cache.
	Client client.Client
	// Workloads reads the lean workloads.
	Workloads client.Reader
	// Reader reads what a workload claims.
	Reader *WorkloadReader
	// Roller releases.
	Roller *Roller
	// Events tells the owners of workloads.
	Events events.EventRecorder
	// Watched tells whether the operator sees the stacks of a namespace.
	Watched func(namespace string) bool

	mu   sync.Mutex
	told map[workloadRequest]string
}

// Reconcile makes one workload's stamp go if its claim is not granted.
func (r *WorkloadReconciler) Reconcile(ctx context.Context, req workloadRequest) (ctrl.Result, error) {
	kind, err := policy.KindOf(req.Kind)
	if err != nil {
		return ctrl.Result{}, err
	}
	obj := kind.New()
	if err := r.Workloads.Get(ctx, req.NamespacedName, obj); err != nil {
		r.remember(req, "")
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	w := obj.Lean()
	w.SetGroupVersionKind(kind.GroupVersionKind)
	stamp, stamped := w.Stamp()
	// What another operator watches is its own to decide; a Job of a CronJob has its stamp.
	if !w.DeletionTimestamp.IsZero() || stamped && !r.Watched(stamp.Stack.Namespace) || metav1.GetControllerOf(w) != nil && w.Kind == policy.KindJob {
		return ctrl.Result{}, nil
	}
	decision, err := r.decide(ctx, w)
	if err != nil {
		return ctrl.Result{}, err
	}
	r.tell(req, w, decision)
	if decision.Granted || !stamped {
		return ctrl.Result{}, nil
	}
	if err := r.Roller.Release(ctx, w); err != nil {
		return ctrl.Result{}, fmt.Errorf("release %s: %w", w, err)
	}
	return ctrl.Result{}, nil
}

func (r *WorkloadReconciler) decide(ctx context.Context, w *policy.Workload) (policy.Decision, error) {
	claim, namespace, err := r.Reader.Claim(ctx, w)
	if err != nil {
		return policy.Decision{}, err
	}
	if !claim.Made() || !r.Watched(claim.Stack.Namespace) {
		return policy.Decide(claim, w.Namespace, namespace.Labels, nil), nil
	}
	stack := &obsv1.ObservabilityStack{}
	if err := r.Client.Get(ctx, claim.Stack, stack); err != nil {
		if client.IgnoreNotFound(err) != nil {
			return policy.Decision{}, fmt.Errorf("read ObservabilityStack %s: %w", claim.Stack, err)
		}
		stack = nil
	}
	return decide(w, claim, namespace, stack), nil
}

// tell emits an event for a decision that is new.
func (r *WorkloadReconciler) tell(req workloadRequest, w *policy.Workload, decision policy.Decision) {
	if r.remember(req, decision.Message) && decision.Message != "" {
		r.Events.Eventf(w.Reference(), nil, corev1.EventTypeWarning, decision.Reason, "Inject", "%s", decision.Message)
	}
}

// remember notes what was told, and returns whether it is news.
func (r *WorkloadReconciler) remember(req workloadRequest, message string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told == nil {
		r.told = map[workloadRequest]string{}
	}
	before := r.told[req]
	if message == "" {
		delete(r.told, req)
	} else {
		r.told[req] = message
	}
	return before != message
}

// CopyReconciler deletes copies of settings whose stack is gone. While it exists,
// its own pass keeps them.
type CopyReconciler struct {
	client.Client
}

// Reconcile looks at one copy.
func (r *CopyReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	secret := metadataOf(secretKind)
	if err := r.Get(ctx, req.NamespacedName, secret); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if len(copiedFrom(secret)) == 0 || !secret.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	stack := &obsv1.ObservabilityStack{}
	err := r.Get(ctx, types.NamespacedName{Namespace: secret.Labels[obsv1.LabelStackNamespace], Name: secret.Labels[obsv1.LabelStack]}, stack)
	if client.IgnoreNotFound(err) != nil || err == nil && stack.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if err := r.Delete(ctx, secret, client.Preconditions{UID: &secret.UID}); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	return ctrl.Result{}, nil
}
