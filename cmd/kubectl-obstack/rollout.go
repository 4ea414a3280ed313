// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

func newRollout(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	a := actor{streams: streams}
	var timeout time.Duration
	command := &cobra.Command{
		Use:   "rollout STACK",
		Short: "Bring the settings of a Manual stack to its workloads",
		Long: `Stamp the Pod templates of the workloads that run other settings than those of their stack, as obstack
does where spec.injection.rollout.policy is Automatic, and wait until Kubernetes has replaced their
Pods. No more than spec.injection.rollout.maxConcurrent roll out at a time, and one that fails stops
the others. A workload that has the settings already is left alone.

The exit status is 0 once all have the settings, and else 1.`,
		Example: `  kubectl obstack rollout shop -n shop
  kubectl obstack rollout shop --dry-run    # which would roll out?
  kubectl obstack rollout shop --timeout=10m`,
		Args: exactlyOne("STACK", "shop"),
		RunE: func(command *cobra.Command, args []string) error {
			return limited(command.Context(), timeout, func(ctx context.Context) error { return a.rollOut(ctx, flags, args[0]) })
		},
		ValidArgsFunction: completeStacks(flags),
	}
	a.addFlags(command)
	command.Flags().DurationVar(&timeout, "timeout", 0, "how long to wait; without it until Ctrl-C")
	return command
}

// rollOut brings the settings of a stack to its workloads.
func (a *actor) rollOut(ctx context.Context, flags *genericclioptions.ConfigFlags, name string) error {
	namespace, err := a.prepare(flags)
	if err != nil {
		return err
	}
	stacks, err := findStacks(ctx, a.api, namespace, name)
	if err != nil {
		return err
	}
	rollout, err := newRolloutOf(a, &stacks[0])
	if err != nil {
		return err
	}
	if err := rollout.run(ctx); err != nil {
		return err
	}
	return a.finish()
}

// rolloutPoll is the time between two looks at the workloads.
const rolloutPoll = time.Second

// rollout of the settings that the status of a stack names.
type rollout struct {
	*actor
	stack *obsv1.ObservabilityStack
	began time.Time
	// of what this process stamped, and of what cannot be stamped, by the workload's name.
	stamped, failed map[policy.Key]bool
	histories       map[policy.Key]policy.History
}

// newRolloutOf a stack, unless somebody else brings its settings to workloads, or nobody may.
func newRolloutOf(a *actor, stack *obsv1.ObservabilityStack) (*rollout, error) {
	name := stack.Namespace + "/" + stack.Name
	switch status := &stack.Status; {
	case stack.Spec.Suspend:
		return nil, fmt.Errorf("stack %s is paused: kubectl obstack resume %s -n %s", name, stack.Name, stack.Namespace)
	case policy.RolloutSpec(stack).Policy != obsv1.RolloutManual:
		return nil, fmt.Errorf("stack %s rolls out by itself, because spec.injection.rollout.policy is not Manual: see its "+
			"workloads with kubectl obstack status %s -n %s", name, stack.Name, stack.Namespace)
	case status.ObservedGeneration < stack.Generation:
		return nil, fmt.Errorf("the operator has not looked at the newest spec of stack %s yet: wait, or see "+
			"kubectl -n obstack-system get pods", name)
	case status.ConfigHash == "" && len(status.Projects) == 0:
		return nil, fmt.Errorf("stack %s has no settings for workloads: see kubectl obstack status %s -n %s", name,
			stack.Name, stack.Namespace)
	}
	automatic := stack.DeepCopy()
	automatic.Spec.Injection.Rollout.Policy = obsv1.RolloutAutomatic
	if a.dryRun != dryRunNone { // It shows all, and nothing rolls.
		automatic.Spec.Injection.Rollout.MaxConcurrent = 1 << 30
	}
	return &rollout{
		actor: a, stack: automatic, began: time.Now(), stamped: map[policy.Key]bool{}, failed: map[policy.Key]bool{},
		histories: map[policy.Key]policy.History{},
	}, nil
}

// run until all workloads have the settings, or some cannot get them.
func (r *rollout) run(ctx context.Context) error {
	for first := true; ; first = false {
		state, err := r.observe(ctx, first)
		if err != nil {
			return interrupted(ctx, err)
		}
		if r.stopped(&state) {
			return r.conclude(&state)
		}
		plan := policy.NewPlan(r.stack, state, r.version)
		for i := range plan.Patches {
			if err := r.stamp(ctx, &plan.Patches[i]); err != nil {
				return interrupted(ctx, err)
			}
		}
		if r.dryRun != dryRunNone || len(plan.Patches)+plan.Waiting == 0 && !r.rolling(&state) {
			return r.conclude(&state)
		}
		if !pause(ctx, rolloutPoll) {
			return interrupted(ctx, ctx.Err())
		}
	}
}

// interrupted says what an error means that comes when the time is over, or after Ctrl-C.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("not all workloads have the settings yet: start it again to go on")
	}
	return err
}

// observe the workloads that are to get the settings.
func (r *rollout) observe(ctx context.Context, first bool) (policy.State, error) {
	reader := workloadReader{api: r.api, now: time.Now()}
	state, err := reader.observe(ctx, r.stack)
	if err != nil {
		return state, err
	}
	if first {
		for _, unread := range reader.unread {
			say(r.streams.ErrOut, "not seen: %s", unread)
		}
	}
	candidates := state.Candidates
	state.Candidates = nil
	for i := range candidates {
		c := &candidates[i]
		// A Job keeps what it started with, and who is released is the operator's to see to.
		if c.Release || c.Kind == policy.KindJob || r.failed[c.Key()] {
			continue
		}
		if _, seen := r.histories[c.Key()]; !seen {
			missing, err := r.missing(ctx, c)
			if err != nil {
				return state, err
			}
			if missing != "" {
				r.fail(c, missing)
				continue
			}
		}
		c.History = r.histories[c.Key()].Seen(c, reader.now, r.began)
		r.histories[c.Key()] = c.History
		c.Want.ConfigHash = r.version(c)
		state.Candidates = append(state.Candidates, *c)
	}
	return state, nil
}

// version of the settings that a workload should have.
func (r *rollout) version(c *policy.Candidate) string {
	return r.stack.Status.Version(c.Variant.Project, c.Variant.Env)
}
