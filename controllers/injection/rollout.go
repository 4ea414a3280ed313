// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/apply"
	"obstack.dev/obstack/controllers/injection/policy"
)

// Injector brings the settings of stacks to workloads: it observes them, and writes the
// stamps that make Kubernetes replace their Pods.
type Injector struct {
	// Client writes the stamps.
	Client client.Client
	// Reader finds workloads.
	Reader *Reader
	// Events records for the owners of workloads what failed.
	Events events.EventRecorder
	// Now is the clock.
	Now func() time.Time

	workloads cache.Cache // what Reader.Workloads reads, to be watched

	mu      sync.Mutex
	patched map[types.NamespacedName]map[types.UID]record
}

// record is what is stored of a workload after it was patched.
type record struct {
	// generation in the response; the cache is behind while it shows less.
	generation int64
	// retries counts the rollouts for Pods that missed the webhook.
	retries int
	// next is the earliest time of another retry.
	next time.Time
}

// retryBackoff is the time between two rollouts for Pods that missed the webhook; it
// doubles up to maxRetryBackoff. That long after the next one might have been, it begins anew.
const (
	retryBackoff    = time.Minute
	maxRetryBackoff = time.Hour
)

func (r record) expired(now time.Time) bool { return now.After(r.next.Add(maxRetryBackoff)) }

// load adds to the candidates what is stored of them.
func (i *Injector) load(stack types.NamespacedName, candidates []policy.Candidate) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for n := range candidates {
		c := &candidates[n]
		if r, ok := i.patched[stack][c.UID]; ok && !r.expired(i.Now()) {
			c.Patched = c.Generation < r.generation
			c.RetryAfter = max(0, r.next.Sub(i.Now()))
		}
	}
}

func (i *Injector) store(stack types.NamespacedName, patch policy.Patch, generation int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.Now()
	if i.patched == nil {
		i.patched = map[types.NamespacedName]map[types.UID]record{}
	}
	if i.patched[stack] == nil {
		i.patched[stack] = map[types.UID]record{}
	}
	records := i.patched[stack]
	maps.DeleteFunc(records, func(_ types.UID, r record) bool { return r.expired(now) })
	r := records[patch.UID]
	r.generation = generation
	if r.next.Before(now) {
		r.next = now
	}
	if before, _ := patch.Workload.Stamp(); patch.Stamp.Attempt > before.Attempt {
		r.next = now.Add(min(retryBackoff<<min(r.retries, 10), maxRetryBackoff))
		r.retries++
	}
	records[patch.UID] = r
}

// Forget drops what is stored of a stack that is gone.
func (i *Injector) Forget(stack types.NamespacedName) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.patched, stack)
}

// Rollout carries out a plan and returns the workloads for which the webhook does not
// respond: new Pods of those would get nothing, so they are left as they are.
func (i *Injector) Rollout(ctx context.Context, stack types.NamespacedName,
	plan policy.Plan) (unreachable []string, err error) {
	var failures []error
	for _, patch := range plan.Patches {
		responds, err := i.probe(ctx, patch.Workload)
		if err == nil && responds {
			err = i.stamp(ctx, stack, patch)
		}
		switch {
		case gone(err):
		case err != nil:
			i.recordFailure(patch.Workload, err)
			failures = append(failures, fmt.Errorf("stamp %s: %w", patch.Workload, err))
		case !responds:
			unreachable = append(unreachable, patch.String())
		}
	}
	return unreachable, errors.Join(failures...)
}

// recordFailure records for the owner of a workload why its template was not changed. The
// response of an admission policy or a webhook says what to change.
func (i *Injector) recordFailure(w *policy.Workload, err error) {
	why := fmt.Sprintf(" (%s): obstack tries again, and its log has the details", apierrors.ReasonForError(err))
	if apply.Rejected(err) {
		why = ", because the API server refuses it: " + err.Error()
	}
	i.Events.Eventf(w.Reference(), nil, corev1.EventTypeWarning, obsv1.ReasonInjectionFailed, "Stamp",
		"the Pod template could not be changed%s", why[:min(len(why), maxNote)])
}

// maxNote bounds what an event says of an error, in bytes; an event's note has 1024 at most.
const maxNote = 900

// gone reports whether the workload was deleted since it was read, or is about to be.
func gone(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

// probe finds out, by a dry run on the workload itself, whether the webhook responds.
func (i *Injector) probe(ctx context.Context, w *policy.Workload) (bool, error) {
	response, err := i.patch(ctx, w, map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{obsv1.Probe: "asked"}},
	}, client.DryRunAll)
	return err == nil && response.Annotations[obsv1.Probe] == obsv1.ProbeReached, err
}

func (i *Injector) stamp(ctx context.Context, stack types.NamespacedName, patch policy.Patch) error {
	response, err := i.patch(ctx, patch.Workload,
		stampPatch(patch.Workload, patch.Stamp.Labels(), patch.Stamp.Annotations()))
	if err != nil {
		return err
	}
	i.store(stack, patch, response.Generation)
	return nil
}

// Release takes the stamp off a workload that should have none.
func (i *Injector) Release(ctx context.Context, w *policy.Workload) error {
	if w.Kind == policy.KindJob {
		return nil // A Job's template cannot be changed.
	}
	_, err := i.patch(ctx, w, stampPatch(w, nil, nil))
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
		return map[string]any{
			"spec": map[string]any{"jobTemplate": map[string]any{"spec": map[string]any{"template": template}}},
		}
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
func (i *Injector) patch(ctx context.Context, w *policy.Workload, content map[string]any,
	opts ...client.PatchOption) (*metav1.PartialObjectMetadata, error) {
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
	response := &metav1.PartialObjectMetadata{TypeMeta: w.TypeMeta}
	response.Namespace, response.Name = w.Namespace, w.Name
	opts = append(opts, client.FieldOwner(obsv1.FieldManager))
	return response, i.Client.Patch(ctx, response, client.RawPatch(types.MergePatchType, body), opts...)
}
