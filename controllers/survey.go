// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/apply"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/injection/policy"
)

// Survey is what was found of a stack's workloads.
type Survey struct {
	policy.Plan
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
	survey := &Survey{ConfigHash: configHash}
	candidates, err := r.candidates(ctx, stack, survey)
	if err != nil {
		return nil, err
	}
	refused := survey.Status.Refused
	r.recall(client.ObjectKeyFromObject(stack), candidates, survey)
	survey.Plan = policy.Make(candidates, rolloutSpec(stack))
	if configHash == "" { // Nothing can be injected, nor is.
		survey.Plan = policy.Plan{Status: obsv1.WorkloadsStatus{Annotated: survey.Status.Annotated, Pending: survey.Status.Annotated}}
	}
	survey.Status.Annotated += refused
	survey.Status.Refused = refused
	survey.Status.Summary = fmt.Sprintf("%d/%d", survey.Status.Injected, survey.Status.Annotated)
	return survey, nil
}

// candidates are the workloads whose claim to the stack is granted. It counts the
// others, and notes the namespaces, in the survey.
func (r *Roller) candidates(ctx context.Context, stack *obsv1.ObservabilityStack, survey *Survey) ([]policy.Candidate, error) {
	key := client.ObjectKeyFromObject(stack)
	workloads, err := r.Reader.Concerning(ctx, key)
	if err != nil {
		return nil, err
	}
	pods, err := r.Reader.Pods(ctx, key)
	if err != nil {
		return nil, err
	}
	var candidates []policy.Candidate
	for _, w := range workloads {
		claim, namespace, err := r.Reader.Claim(ctx, w)
		if err != nil {
			return nil, err
		}
		if claim.Stack != key || !w.DeletionTimestamp.IsZero() {
			continue
		}
		if !decide(w, claim, namespace, stack).Granted {
			survey.Status.Refused++
			continue
		}
		// A namespace that is going takes no more objects.
		if namespace.DeletionTimestamp.IsZero() {
			survey.Namespaces = append(survey.Namespaces, w.Namespace)
		}
		candidates = append(candidates, policy.Candidate{
			Workload: w, Want: policy.StampFor(claim, survey.ConfigHash), Pods: pods[w.String()],
		})
	}
	alone, err := r.lonePods(ctx, stack, survey.ConfigHash, pods)
	if err != nil {
		return nil, err
	}
	for i := range alone {
		survey.Namespaces = append(survey.Namespaces, alone[i].Namespace)
	}
	slices.Sort(survey.Namespaces)
	survey.Namespaces = slices.DeleteFunc(slices.Compact(survey.Namespaces), func(name string) bool { return name == stack.Namespace })
	return append(candidates, alone...), nil
}

// decide about the claim of a workload that exists.
func decide(w *policy.Workload, claim policy.Claim, namespace *metav1.PartialObjectMetadata, stack *obsv1.ObservabilityStack) policy.Decision {
	decision := policy.Decide(claim, w.Namespace, namespace.Labels, stack).Check(claim, w.PodTemplate().ContainerNames())
	if stamp, _ := w.Stamp(); decision.Granted && w.Kind == policy.KindJob && stamp.Stack != claim.Stack {
		return policy.Decision{Reason: obsv1.ReasonJobNotInjected, Message: "the Job started without the settings of ObservabilityStack " +
			claim.Stack.String() + ", and its template cannot be changed any more: delete the Job and create it anew"}
	}
	return decision
}

// lonePods are the stamped Pods that no workload made. A stamp can be written by
// anybody, so those of namespaces that are not admitted do not count.
func (r *Roller) lonePods(ctx context.Context, stack *obsv1.ObservabilityStack, configHash string, pods map[string][]policy.Pod) ([]policy.Candidate, error) {
	var alone []policy.Candidate
	want := policy.Stamp{Stack: client.ObjectKeyFromObject(stack), ConfigHash: configHash}
	for owner, of := range pods {
		name, ok := strings.CutPrefix(owner, policy.KindPod+" ")
		if !ok || of[0].Leaving {
			continue
		}
		w := &policy.Workload{}
		w.Kind = policy.KindPod
		w.Namespace, w.Name, _ = strings.Cut(name, "/")
		_, namespace, err := r.Reader.Claim(ctx, w)
		if err != nil {
			return nil, err
		}
		if namespace.DeletionTimestamp.IsZero() && policy.Admits(stack, w.Namespace, namespace.Labels) {
			alone = append(alone, policy.Candidate{Workload: w, Want: want, Pods: of})
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

// inputs are what the builders need to know of the survey.
func (s *Survey) inputs() *desired.Workloads {
	return &desired.Workloads{
		Namespaces: s.Namespaces, Status: s.Status, Rolling: s.By[policy.Rolling],
		Outdated: s.By[policy.Outdated], Missed: s.By[policy.Missed], Stale: s.By[policy.Stale],
	}
}

// webhookRecheck is how soon the webhook is asked again after it did not answer.
const webhookRecheck = 15 * time.Second

// roll carries out the survey's plan once the settings are written, and puts what
// became of it into the result of injection.
func (r *StackReconciler) roll(ctx context.Context, stack *obsv1.ObservabilityStack, survey *Survey, results []result) error {
	of := resultOf(results, obsv1.InjectionReady)
	if survey == nil || of == nil {
		return nil
	}
	if stack.Spec.Suspend {
		if of.requested {
			of.Output = suspended(of.Output, survey.changes())
		}
		return nil
	}
	// Bad input is no failure: the last good settings stay, and are what workloads get.
	survey.written = !of.failed() && !resultOf(results, obsv1.SentryReady).failed()
	if !survey.written || !of.requested {
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

// resultOf finds the result of a condition; nil if the pass did not get to it.
func resultOf(results []result, condition string) *result {
	for i := range results {
		if results[i].component.Condition == condition {
			return &results[i]
		}
	}
	return nil
}

// changes are what a stack that is not suspended would do to its workloads.
func (s *Survey) changes() []apply.Change {
	var changes []apply.Change
	for _, order := range s.Orders {
		changes = append(changes, apply.Change{Verb: "stamp", Kind: order.Kind, Name: order.Namespace + "/" + order.Name})
	}
	return changes
}
