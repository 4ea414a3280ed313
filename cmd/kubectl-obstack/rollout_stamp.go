// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/controllers/settings"
)

// missing says what of a workload's settings is not there: Pods would start without them.
func (r *rollout) missing(ctx context.Context, c *policy.Candidate) (string, error) {
	version := settings.Version{Stack: c.Want.Stack, Namespace: c.Namespace, Hash: r.version(c)}
	status := fmt.Sprintf("see kubectl obstack status %s -n %s", r.stack.Name, r.stack.Namespace)
	switch {
	case version.Hash == "":
		return "the stack has no settings for it yet: " + status, nil
	case version.Namespace == version.Stack.Namespace:
		return "", nil // The status names none that is not there.
	}
	err := r.api.Get(ctx, version.Secret(), metadata.Of(metadata.Secret))
	switch {
	case err == nil:
		return "", nil
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("Secret %s is not in its namespace yet: %s", version.Secret().Name, status), nil
	case apierrors.IsForbidden(err):
		return readError("Secrets", c.Namespace, err).Error(), nil
	default:
		return "", readError("Secrets", c.Namespace, err)
	}
}

// stamp a template.
func (r *rollout) stamp(ctx context.Context, patch *policy.Patch) error {
	c := patch.Candidate
	body, err := patch.MergePatch()
	if err != nil {
		return err
	}
	written, err := r.patch(ctx, c.GroupVersionKind(), c.Key().NamespacedName, body)
	switch {
	case apierrors.IsNotFound(err):
		return nil // It was deleted since it was read.
	case ctx.Err() != nil:
		return err
	case err != nil:
		r.fail(c, err.Error())
		return nil
	}
	if written != nil {
		kind, err := policy.KindOf(c.Kind)
		if err != nil {
			return err
		}
		w, err := asWorkload(written, kind)
		if err != nil {
			return err
		}
		if stamp, _ := w.Stamp(); stamp != *patch.Stamp {
			r.fail(c, "something at the API server keeps the settings "+stamp.ConfigHash+" on its template: the stack may "+
				"have changed meanwhile, so start it again")
			return nil
		}
		r.histories[c.Key()] = c.Wrote(*patch, written.GetGeneration())
	}
	r.stamped[c.Key()] = true
	says := "Kubernetes replaces its Pods"
	if !patch.RollsPods {
		says = "no Pod restarts"
	}
	r.did(c.GroupVersionKind(), c.Key().NamespacedName, doneStamped, says)
	return nil
}

func (r *rollout) fail(c *policy.Candidate, says string) {
	r.failed[c.Key()] = true
	r.did(c.GroupVersionKind(), c.Key().NamespacedName, doneFailed, says)
}

// stopped reports whether a workload that was stamped fares badly: others would as well.
func (r *rollout) stopped(state *policy.State) bool {
	return slices.ContainsFunc(state.Candidates, func(c policy.Candidate) bool {
		progress := c.Progress(state.Now)
		return r.stamped[c.Key()] && progress != policy.Injected && progress != policy.Rolling && progress != policy.Stale
	})
}

// rolling reports whether some of the workloads that were stamped roll out.
func (r *rollout) rolling(state *policy.State) bool {
	return slices.ContainsFunc(state.Candidates, func(c policy.Candidate) bool {
		return r.stamped[c.Key()] && c.Progress(state.Now) == policy.Rolling
	})
}

// conclude says which workloads have the settings, and what is wrong with the others.
func (r *rollout) conclude(state *policy.State) error {
	if r.dryRun != dryRunNone {
		return nil
	}
	slices.SortFunc(state.Candidates, func(a, b policy.Candidate) int { return strings.Compare(a.String(), b.String()) })
	injected, total := 0, len(state.Candidates)+len(r.failed)
	for i := range state.Candidates {
		c := &state.Candidates[i]
		switch progress := c.Progress(state.Now); progress {
		case policy.Injected:
			injected++
		case policy.Rolling:
			r.did(c.GroupVersionKind(), c.Key().NamespacedName, doneUnchanged, "it is rolling out already")
		default:
			r.fail(c, lacks(c, progress))
		}
	}
	done := doneFinished
	switch {
	case injected < total:
		done = doneFailed
	case len(r.stamped) == 0:
		done = doneUnchanged
	}
	r.did(stackKind, client.ObjectKeyFromObject(r.stack), done,
		fmt.Sprintf("%d of %d workloads have the settings", injected, total))
	return nil
}

// lacks says why a workload does not have the settings.
func lacks(c *policy.Candidate, progress policy.Progress) string {
	which := fmt.Sprintf("%s/%s -n %s", strings.ToLower(c.Kind), c.Name, c.Namespace)
	switch progress {
	case policy.Stale:
		return "Kubernetes keeps Pods with other settings: delete them, or resume it if it is paused"
	case policy.Missed, policy.Blocked:
		return "its Pods started without the settings: see kubectl obstack explain " + which
	case policy.Contested:
		return "somebody else changes the labels of its Pod template: the events on it say who"
	case policy.Stuck:
		return "its rollout makes no progress: see kubectl rollout status " + which
	default:
		return "it has other settings: another workload failed first, or somebody changed it meanwhile"
	}
}
