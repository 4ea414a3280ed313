// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// Roller brings the settings of a stack to its workloads: it finds them, plans,
// and writes the stamps that make Kubernetes roll them.
type Roller struct {
	// Client writes the stamps.
	Client client.Client
	// Reader finds workloads.
	Reader *WorkloadReader
	// Events tells the owners of workloads what failed.
	Events events.EventRecorder
	// Now is the clock.
	Now func() time.Time

	mu     sync.Mutex
	memory map[types.NamespacedName]map[types.UID]stamped
}

// stamped is what is remembered of a workload after its stamp was written.
type stamped struct {
	// generation that the API server answered; the cache is behind while it shows less.
	generation int64
	// heals counts the rollouts for Pods that missed the webhook, since there were none.
	heals int
	// next is the earliest time of another one.
	next time.Time
}

// healBackoff is the time between two rollouts for Pods that missed the webhook; it
// doubles up to healBackoffMax.
const (
	healBackoff    = time.Minute
	healBackoffMax = time.Hour
)

// recall adds what is remembered of the candidates, and forgets all others of the stack.
func (r *Roller) recall(stack types.NamespacedName, candidates []policy.Candidate, survey *Survey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := map[types.UID]stamped{}
	for i := range candidates {
		c := &candidates[i]
		memory, ok := r.memory[stack][c.UID]
		c.Started = ok && c.Generation < memory.generation
		c.MayHeal = !r.Now().Before(memory.next)
		switch {
		case !ok || c.UID == "":
			continue
		case c.Progress() == policy.Injected && c.MayHeal:
			continue // Healed long enough ago to begin anew.
		case c.Progress() == policy.Missed && !c.MayHeal && (survey.NextHeal.IsZero() || memory.next.Before(survey.NextHeal)):
			survey.NextHeal = memory.next
		}
		kept[c.UID] = memory
	}
	if r.memory == nil {
		r.memory = map[types.NamespacedName]map[types.UID]stamped{}
	}
	r.memory[stack] = kept
}

// Forget drops what is remembered for a stack that is gone.
func (r *Roller) Forget(stack types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.memory, stack)
}

// Roll carries out a plan and returns the workloads for which the webhook did not
// answer: rolling those would inject nothing, so they are left as they are.
func (r *Roller) Roll(ctx context.Context, stack types.NamespacedName, plan policy.Plan) (silent []string, err error) {
	var failures []error
	for _, order := range plan.Orders {
		answered, err := r.probe(ctx, order.Workload)
		if err == nil && answered {
			err = r.stamp(ctx, stack, order)
		}
		switch {
		case gone(err):
		case err != nil:
			r.Events.Eventf(order.Reference(), nil, corev1.EventTypeWarning, obsv1.ReasonInjectionFailed, "Stamp",
				"the Pod template could not be changed (%s): obstack tries again, and its log has the details", apierrors.ReasonForError(err))
			failures = append(failures, fmt.Errorf("stamp %s: %w", order.Workload, err))
		case !answered:
			silent = append(silent, order.String())
		}
	}
	return silent, errors.Join(failures...)
}

// gone tells that the workload was deleted since it was read, or is about to be.
func gone(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

// probe asks, in a dry run on the workload itself, whether the webhook answers.
func (r *Roller) probe(ctx context.Context, w *policy.Workload) (bool, error) {
	answer, err := r.patch(ctx, w, map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{obsv1.Probe: "asked"}},
	}, client.DryRunAll)
	return err == nil && answer.Annotations[obsv1.Probe] == obsv1.ProbeAnswer, err
}

func (r *Roller) stamp(ctx context.Context, stack types.NamespacedName, order policy.Order) error {
	answer, err := r.patch(ctx, order.Workload, stampPatch(order.Workload, order.Stamp.Labels(), order.Stamp.Annotations()))
	if err != nil {
		return err
	}
	r.remember(stack, order, answer.Generation)
	return nil
}

func (r *Roller) remember(stack types.NamespacedName, order policy.Order, generation int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	memory := r.memory[stack][order.UID]
	memory.generation = generation
	if before, _ := order.Workload.Stamp(); order.Stamp.Attempt > before.Attempt {
		memory.next = r.Now().Add(min(healBackoff<<min(memory.heals, 10), healBackoffMax))
		memory.heals++
	}
	if r.memory[stack] == nil {
		r.memory[stack] = map[types.UID]stamped{} // Forgotten meanwhile.
	}
	r.memory[stack][order.UID] = memory
}

// Release takes the stamp off a workload that should have none.
func (r *Roller) Release(ctx context.Context, w *policy.Workload) error {
	if w.Kind == policy.KindJob {
		return nil // A Job's template cannot be changed.
	}
	_, err := r.patch(ctx, w, stampPatch(w, nil, nil))
	if gone(err) {
		return nil
	}
	return err
}

// stampPatch makes the template's stamp be exactly the given labels and
// annotations. Keys that are not wanted are removed by name, because those that
// the webhook added belong to no field manager and would survive an apply without them.
func stampPatch(w *policy.Workload, labels, annotations map[string]string) map[string]any {
	template := map[string]any{"metadata": map[string]any{
		"labels":      exactly(labels, policy.StampLabels),
		"annotations": exactly(annotations, policy.StampAnnotations),
	}}
	if w.Kind == policy.KindCronJob {
		return map[string]any{"spec": map[string]any{"jobTemplate": map[string]any{"spec": map[string]any{"template": template}}}}
	}
	return map[string]any{"spec": map[string]any{"template": template}}
}

func exactly(want map[string]string, keys []string) map[string]any {
	patch := map[string]any{}
	for _, key := range keys {
		patch[key] = nil
		if value, ok := want[key]; ok {
			patch[key] = value
		}
	}
	return patch
}

// patch sends a merge patch, which never creates, for this very workload: the API
// server refuses one with another UID.
func (r *Roller) patch(ctx context.Context, w *policy.Workload, content map[string]any, opts ...client.PatchOption) (*metav1.PartialObjectMetadata, error) {
	meta, _ := content["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
		content["metadata"] = meta
	}
	meta["uid"] = w.UID
	body, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	answer := &metav1.PartialObjectMetadata{TypeMeta: w.TypeMeta}
	answer.Namespace, answer.Name = w.Namespace, w.Name
	opts = append(opts, client.FieldOwner(obsv1.FieldManager))
	return answer, r.Client.Patch(ctx, answer, client.RawPatch(types.MergePatchType, body), opts...)
}
