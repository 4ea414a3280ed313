// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/apply"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/injection"
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

// Survey is what was found of a stack's workloads.
type Survey struct {
	injection.Plan
	// ConfigHash of the configuration that they should have; empty if there is none.
	ConfigHash string
	// Namespaces other than the stack's with workloads whose claim is granted, sorted.
	Namespaces []string
	// NextHeal is the time until which a workload has to wait for being rolled again; zero if none has.
	NextHeal time.Time

	// written tells that the settings were written to every Secret.
	written bool
}

// Survey finds the workloads of a stack and plans what to do about them. Without a
// configuration there is nothing to plan.
func (r *Roller) Survey(ctx context.Context, stack *obsv1.ObservabilityStack, configHash string) (*Survey, error) {
	key := client.ObjectKeyFromObject(stack)
	workloads, err := r.Reader.Concerning(ctx, key)
	if err != nil {
		return nil, err
	}
	pods, err := r.Reader.Pods(ctx, key)
	if err != nil {
		return nil, err
	}
	survey := &Survey{ConfigHash: configHash}
	granted := map[string]bool{}
	var candidates []injection.Candidate
	refused := int32(0)
	for _, w := range workloads {
		claim, namespace, err := r.Reader.Claim(ctx, w)
		if err != nil {
			return nil, err
		}
		if claim.Stack != key || !w.DeletionTimestamp.IsZero() {
			continue
		}
		if !decide(w, claim, namespace, stack).Granted {
			refused++
			continue
		}
		granted[w.Namespace] = granted[w.Namespace] || namespace.DeletionTimestamp.IsZero()
		candidates = append(candidates, injection.Candidate{
			Workload: w, Want: injection.StampFor(claim, configHash), Pods: pods[w.String()],
		})
	}
	alone, err := r.lonePods(ctx, stack, configHash, pods)
	if err != nil {
		return nil, err
	}
	for _, c := range alone {
		granted[c.Namespace] = true
	}
	candidates = append(candidates, alone...)
	r.recall(key, candidates, survey)
	if configHash != "" {
		survey.Plan = injection.Make(candidates, rolloutSpec(stack))
	} else {
		survey.Status.Annotated, survey.Status.Pending = int32(len(candidates)), int32(len(candidates))
	}
	survey.Status.Annotated += refused
	survey.Status.Refused = refused
	survey.Status.Summary = fmt.Sprintf("%d/%d", survey.Status.Injected, survey.Status.Annotated)
	for namespace, alive := range granted {
		if alive && namespace != stack.Namespace {
			survey.Namespaces = append(survey.Namespaces, namespace)
		}
	}
	slices.Sort(survey.Namespaces)
	return survey, nil
}

// decide about the claim of a workload that exists.
func decide(w *injection.Workload, claim injection.Claim, namespace *metav1.PartialObjectMetadata, stack *obsv1.ObservabilityStack) injection.Decision {
	decision := injection.Decide(claim, w.Namespace, namespace.Labels, stack).Check(claim, w.PodTemplate().ContainerNames())
	if stamp, _ := w.Stamp(); decision.Granted && w.Kind == injection.KindJob && stamp.Stack != claim.Stack {
		return injection.Decision{Reason: obsv1.ReasonJobNotInjected, Message: "the Job started without the settings of ObservabilityStack " +
			claim.Stack.String() + ", and its template cannot be changed any more: delete the Job and create it anew"}
	}
	return decision
}

// lonePods are the stamped Pods that no workload made. A stamp can be written by
// anybody, so those of namespaces that are not admitted do not count.
func (r *Roller) lonePods(ctx context.Context, stack *obsv1.ObservabilityStack, configHash string, pods map[string][]injection.Pod) ([]injection.Candidate, error) {
	var alone []injection.Candidate
	want := injection.Stamp{Stack: client.ObjectKeyFromObject(stack), ConfigHash: configHash}
	for owner, of := range pods {
		name, ok := strings.CutPrefix(owner, injection.KindPod+" ")
		if !ok || of[0].Leaving {
			continue
		}
		w := &injection.Workload{}
		w.Kind = injection.KindPod
		w.Namespace, w.Name, _ = strings.Cut(name, "/")
		_, namespace, err := r.Reader.Claim(ctx, w)
		if err != nil {
			return nil, err
		}
		if namespace.DeletionTimestamp.IsZero() && injection.Admits(stack, w.Namespace, namespace.Labels) {
			alone = append(alone, injection.Candidate{Workload: w, Want: want, Pods: of})
		}
	}
	return alone, nil
}

func rolloutSpec(stack *obsv1.ObservabilityStack) obsv1.RolloutSpec {
	if stack.Spec.Injection == nil || stack.Spec.Injection.Rollout == nil {
		return obsv1.RolloutSpec{}
	}
	return *stack.Spec.Injection.Rollout
}

// recall adds what is remembered of the candidates, and forgets all others of the stack.
func (r *Roller) recall(stack types.NamespacedName, candidates []injection.Candidate, survey *Survey) {
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
		case c.Progress() == injection.Injected && c.MayHeal:
			continue // Healed long enough ago to begin anew.
		case c.Progress() == injection.Missed && !c.MayHeal && (survey.NextHeal.IsZero() || memory.next.Before(survey.NextHeal)):
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
func (r *Roller) Roll(ctx context.Context, stack types.NamespacedName, plan injection.Plan) (silent []string, err error) {
	var failures []error
	for _, order := range plan.Orders {
		answered, err := r.probe(ctx, order.Workload)
		if err == nil && answered {
			err = r.stamp(ctx, stack, order)
		}
		switch {
		case gone(err):
		case err != nil:
			r.Events.Eventf(order.Workload.Reference(), nil, corev1.EventTypeWarning, obsv1.ReasonInjectionFailed, "Stamp",
				"the Pod template could not be changed (%s): obstack tries again, and its log has the details", apierrors.ReasonForError(err))
			failures = append(failures, fmt.Errorf("stamp %s: %w", order.Workload, err))
		case !answered:
			silent = append(silent, order.Workload.String())
		}
	}
	return silent, errors.Join(failures...)
}

// gone tells that the workload was deleted since it was read, or is about to be.
func gone(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

// probe asks, in a dry run on the workload itself, whether the webhook answers.
func (r *Roller) probe(ctx context.Context, w *injection.Workload) (bool, error) {
	answer, err := r.patch(ctx, w, map[string]any{
		"metadata": map[string]any{"annotations": map[string]any{obsv1.Probe: "asked"}},
	}, client.DryRunAll)
	return err == nil && answer.Annotations[obsv1.Probe] == obsv1.ProbeAnswer, err
}

func (r *Roller) stamp(ctx context.Context, stack types.NamespacedName, order injection.Order) error {
	answer, err := r.patch(ctx, order.Workload, stampPatch(order.Workload, order.Stamp.Labels(), order.Stamp.Annotations()))
	if err != nil {
		return err
	}
	r.remember(stack, order, answer.Generation)
	return nil
}

func (r *Roller) remember(stack types.NamespacedName, order injection.Order, generation int64) {
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
func (r *Roller) Release(ctx context.Context, w *injection.Workload) error {
	if w.Kind == injection.KindJob {
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
func stampPatch(w *injection.Workload, labels, annotations map[string]string) map[string]any {
	template := map[string]any{"metadata": map[string]any{
		"labels":      exactly(labels, injection.StampLabels),
		"annotations": exactly(annotations, injection.StampAnnotations),
	}}
	if w.Kind == injection.KindCronJob {
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
func (r *Roller) patch(ctx context.Context, w *injection.Workload, content map[string]any, opts ...client.PatchOption) (*metav1.PartialObjectMetadata, error) {
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

// inputs are what the builders need to know of the survey.
func (s *Survey) inputs() *desired.Workloads {
	return &desired.Workloads{
		Namespaces: s.Namespaces, Status: s.Status, Rolling: s.By[injection.Rolling],
		Outdated: s.By[injection.Outdated], Missed: s.By[injection.Missed], Stale: s.By[injection.Stale],
	}
}

// webhookRecheck is how soon the webhook is asked again after it did not answer.
const webhookRecheck = 15 * time.Second

// roll carries out the survey's plan once the settings are written, and puts what
// became of it into the result of injection.
func (r *StackReconciler) roll(ctx context.Context, stack *obsv1.ObservabilityStack, survey *Survey, results []result) error {
	if survey == nil || results == nil {
		return nil
	}
	var of *result
	survey.written = !stack.Spec.Suspend
	for i := range results {
		switch results[i].component.Condition {
		case obsv1.InjectionReady:
			of = &results[i]
			fallthrough
		case obsv1.SentryReady:
			// What waits for somebody is not written either, and the last good settings stay.
			survey.written = survey.written && results[i].retry == nil && results[i].recheck == 0
		}
	}
	switch {
	case of == nil || !of.requested:
		return nil
	case stack.Spec.Suspend:
		of.Output = suspended(of.Output, survey.changes())
		return nil
	case !survey.written:
		return nil
	}
	if !survey.NextHeal.IsZero() {
		of.recheck = max(time.Second, survey.NextHeal.Sub(r.Roller.Now()))
	}
	silent, err := r.Roller.Roll(ctx, client.ObjectKeyFromObject(stack), survey.Plan)
	if len(silent) > 0 {
		of.Output, of.recheck = desired.WebhookSilent(silent), webhookRecheck
	}
	return err
}

// changes are what a stack that is not suspended would do to its workloads.
func (s *Survey) changes() []apply.Change {
	var changes []apply.Change
	for _, order := range s.Orders {
		changes = append(changes, apply.Change{Verb: "stamp", Kind: order.Kind, Name: order.Namespace + "/" + order.Name})
	}
	return changes
}
