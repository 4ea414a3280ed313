// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"obstack.dev/obstack/controllers/injection/policy"
)

// WorkloadReconciler looks at one workload, and records for its owner why it gets no settings.
// What is done about workloads is in the stack's pass, which sees all of them at once.
type WorkloadReconciler struct {
	*Injector

	mu       sync.Mutex
	recorded map[policy.Key]string
}

// Reconcile records why one workload's claim is not granted.
func (r *WorkloadReconciler) Reconcile(ctx context.Context, key policy.Key) (ctrl.Result, error) {
	w, err := r.Reader.Workload(ctx, key)
	if w == nil || err != nil {
		r.isNew(key, "")
		return ctrl.Result{}, err
	}
	if !w.DeletionTimestamp.IsZero() || r.decidedElsewhere(w) {
		return ctrl.Result{}, nil
	}
	decision, err := r.decide(ctx, w)
	if err != nil {
		return ctrl.Result{}, err
	}
	if r.isNew(key, decision.Message) && decision.Message != "" {
		r.record(w, decision.Reason, decision.Message)
	}
	return ctrl.Result{}, nil
}

// decidedElsewhere reports whether another operator watches the stack of the stamp, or a
// CronJob has the stamp of its Job.
func (r *WorkloadReconciler) decidedElsewhere(w *policy.Workload) bool {
	stamp, stamped := w.Stamp()
	return stamped && !r.Reader.Watched(stamp.Stack.Namespace) ||
		metav1.GetControllerOf(w) != nil && w.Kind == policy.KindJob
}

func (r *WorkloadReconciler) decide(ctx context.Context, w *policy.Workload) (policy.Decision, error) {
	claim, namespace, err := r.Reader.Claim(ctx, w)
	if err != nil {
		return policy.Decision{}, err
	}
	stack, err := r.Reader.stack(ctx, claim)
	return policy.DecideWorkload(w, claim, namespace, stack), err
}

// isNew reports whether the message about a workload is another than the one recorded last.
func (r *WorkloadReconciler) isNew(key policy.Key, message string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.recorded == nil {
		r.recorded = map[policy.Key]string{}
	}
	before := r.recorded[key]
	if message == "" {
		delete(r.recorded, key)
	} else {
		r.recorded[key] = message
	}
	return before != message
}
