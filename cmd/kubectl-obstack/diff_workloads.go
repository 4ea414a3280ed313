// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"time"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/injection/policy"
)

// workloads finds those that would take the settings of the stack, and what each namespace needs.
func (c *comparison) workloads(ctx context.Context) (map[string][]desired.Variant, policy.State) {
	state := c.observeWorkloads(ctx, c.stack)
	needed := map[string][]desired.Variant{}
	for namespace, variants := range state.Namespaces {
		for _, variant := range variants {
			needed[namespace] = append(needed[namespace], desired.Variant(variant))
		}
	}
	return needed, state
}

func (c *comparison) observeWorkloads(ctx context.Context, stack *obsv1.ObservabilityStack) policy.State {
	reader := workloadReader{api: c.api, now: time.Now()}
	state, err := reader.observe(ctx, desired.Effective(stack, c.inputs.Platform.Spec))
	if err != nil {
		c.unknown("which workloads roll out: " + err.Error())
		return policy.State{}
	}
	for _, unread := range reader.unread {
		c.unknown("workloads of other namespaces: " + unread)
	}
	return state
}

// rollouts lists the workloads of which Kubernetes would replace the Pods, and would not now.
func (c *comparison) rollouts(ctx context.Context, made *desired.Settings, state policy.State) {
	c.diff.Manual = policy.RolloutSpec(c.stack).Policy == obsv1.RolloutManual
	before := map[policy.Key]string{}
	if c.live != nil {
		now := c.observeWorkloads(ctx, c.live)
		before = rolling(c.live, now, func(candidate *policy.Candidate) string {
			return c.live.Status.Version(candidate.Variant.Project, candidate.Variant.Env)
		})
	}
	for key, hash := range rolling(c.stack, state, c.version(made)) {
		if before[key] != hash {
			c.diff.Rollouts = append(c.diff.Rollouts, key.String())
		}
	}
	slices.Sort(c.diff.Rollouts)
}

// rolling are the workloads that would be replaced at once if nothing bounded them, and the version
// that they would get.
func rolling(stack *obsv1.ObservabilityStack, state policy.State,
	version func(*policy.Candidate) string) map[policy.Key]string {
	unbounded := stack.DeepCopy()
	if unbounded.Spec.Injection == nil {
		unbounded.Spec.Injection = &obsv1.InjectionSpec{}
	}
	unbounded.Spec.Injection.Rollout = &obsv1.RolloutSpec{Policy: obsv1.RolloutAutomatic, MaxConcurrent: 1 << 30}
	found := map[policy.Key]string{}
	for _, patch := range policy.NewPlan(unbounded, state, version).Patches {
		if patch.RollsPods && patch.Stamp != nil {
			found[patch.Key()] = patch.Stamp.ConfigHash
		}
	}
	return found
}

// version of the settings that a workload would have; empty if that is not known. Without the
// values of Secrets it is the one of now where neither the spec nor what it names has changed.
func (c *comparison) version(made *desired.Settings) func(*policy.Candidate) string {
	if c.settled {
		return func(candidate *policy.Candidate) string { return made.Hash(desired.Variant(candidate.Variant)) }
	}
	after := c.assumed(c.stack)
	return func(candidate *policy.Candidate) string {
		variant := desired.Variant(candidate.Variant)
		if c.live != nil && c.assumed(c.live).Hash(variant) == after.Hash(variant) {
			return c.live.Status.Version(variant.Project, variant.Env)
		}
		c.unknown("which workloads roll out: their settings depend on Secrets that you may not read in namespace " +
			c.stack.Namespace)
		return ""
	}
}

// assumed are the settings where every key holds a value of its own.
func (c *comparison) assumed(stack *obsv1.ObservabilityStack) *desired.Settings {
	effective := desired.Effective(stack, c.inputs.Platform.Spec)
	values := map[desired.KeyRef]desired.Value{}
	for _, ref := range desired.Refs(effective) {
		values[ref.KeyRef] = assumedValue(ref.String())
	}
	return desired.NewSettings(effective, values, nil)
}
