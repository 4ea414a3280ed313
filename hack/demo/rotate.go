// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// rotatedDSN is an example, as that of the samples: no such Sentry project exists.
const rotatedDSN = "https://rotatedPublicKey@o0.ingest.sentry.io/1"

// rotateDSN changes the DSN in the user's Secret, prints how the workloads get it,
// and shows the Pods when all have it.
func (d *demo) rotateDSN(ctx context.Context, stack *obsv1.ObservabilityStack) error {
	source := stack.Spec.Sentry.DSNFrom.SecretKeyRef
	say(d.out, "")
	d.says("rotating the DSN in the Secret %s/%s", stack.Namespace, source.Name)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: source.Name}}
	change := client.MergeFrom(secret.DeepCopy())
	secret.Data = map[string][]byte{source.Key: []byte(rotatedDSN)}
	rollout := &rollout{d: d, before: stack.Status.ConfigHash, started: time.Now()}
	if err := rollout.look(ctx, stack); err != nil {
		return err
	}
	if err := d.api.Patch(ctx, secret, change); err != nil {
		return fmt.Errorf("rotate the DSN: %w", err)
	}
	if err := rollout.follow(ctx, stack); err != nil {
		return err
	}
	say(d.out,
		"      Ready again, %s later: configuration %s became %s, at most %d of %d workloads at a time (maxConcurrent is %d)",
		time.Since(rollout.started).Round(time.Second), rollout.before, stack.Status.ConfigHash, rollout.most,
		len(rollout.phases[through]), maxConcurrent(stack))
	return errors.Join(rollout.check(stack), d.checkSettings(ctx, stack), d.showPods(ctx, stack))
}

func maxConcurrent(stack *obsv1.ObservabilityStack) int {
	if stack.Spec.Injection == nil ||
		stack.Spec.Injection.Rollout == nil || stack.Spec.Injection.Rollout.MaxConcurrent == 0 {
		return 5 // What the API says of the field's absence.
	}
	return int(stack.Spec.Injection.Rollout.MaxConcurrent)
}

// checkSettings compares what Pods read with what the user wrote; neither is printed.
func (d *demo) checkSettings(ctx context.Context, stack *obsv1.ObservabilityStack) error {
	settings := &corev1.Secret{}
	key := client.ObjectKey{
		Namespace: stack.Namespace, Name: obsv1.SettingsName(stack.Namespace, stack.Name, stack.Status.ConfigHash),
	}
	if err := d.api.Get(ctx, key, settings); err != nil {
		return fmt.Errorf("read the settings: %w", err)
	}
	if string(settings.Data["SENTRY_DSN"]) != rotatedDSN {
		return fmt.Errorf("the Secret %s has not got the new DSN", key)
	}
	return nil
}

// phase is how far a workload is in a rollout.
type phase string

// The values of phase, in their order.
const (
	waiting phase = "waiting"
	rolling phase = "rolling"
	through phase = "through"
)

// rollout follows the workloads of a stack while they change their configuration.
type rollout struct {
	d       *demo
	before  string
	started time.Time
	phases  map[phase][]string // the names of the workloads
	said    string
	most    int // how many rolled out at a time
}

// follow prints what changes until the stack is Ready with another configuration.
func (r *rollout) follow(ctx context.Context, stack *obsv1.ObservabilityStack) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	err := r.d.operator.WaitFor(ctx, func(ctx context.Context) (bool, error) {
		if err := r.look(ctx, stack); err != nil {
			return false, err
		}
		if err := r.d.api.Get(ctx, client.ObjectKeyFromObject(stack), stack); err != nil {
			return false, fmt.Errorf("read the stack: %w", err)
		}
		status, _, _ := conditionOf(stack, obsv1.Ready)
		return status == "True" && stack.Status.ConfigHash != r.before, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		_, reason, message := conditionOf(stack, obsv1.Ready)
		return fmt.Errorf("the new DSN did not reach all workloads within %s: %s: %s", readyTimeout, reason, message)
	}
	if err != nil {
		return err
	}
	return r.look(ctx, stack)
}

// look reads the workloads once, all at the same moment, and prints what is new.
func (r *rollout) look(ctx context.Context, stack *obsv1.ObservabilityStack) error {
	deployments := &appsv1.DeploymentList{}
	if err := r.d.api.List(ctx, deployments, client.InNamespace(stack.Namespace)); err != nil {
		return fmt.Errorf("list workloads: %w", err)
	}
	r.phases = map[phase][]string{}
	for i := range deployments.Items {
		if d := &deployments.Items[i]; d.Spec.Template.Labels[obsv1.StampStack] == stack.Name {
			phase := r.phaseOf(d)
			r.phases[phase] = append(r.phases[phase], d.Name)
		}
	}
	r.most = max(r.most, len(r.phases[rolling]))
	var parts []string
	for _, phase := range []phase{waiting, rolling, through} {
		parts = append(parts, fmt.Sprintf("%s: %s", phase, cmp.Or(strings.Join(r.phases[phase], ", "), "none")))
	}
	if now := strings.Join(parts, "; "); now != r.said {
		say(r.d.out, "      %4.1f s  %s", time.Since(r.started).Seconds(), now)
		r.said = now
	}
	return nil
}

// phaseOf a Deployment, as kubectl rollout status sees it.
func (r *rollout) phaseOf(d *appsv1.Deployment) phase {
	switch status := d.Status; {
	case d.Spec.Template.Annotations[obsv1.StampConfigHash] == r.before:
		return waiting
	case status.ObservedGeneration < d.Generation, status.UpdatedReplicas < *d.Spec.Replicas,
		status.Replicas > status.UpdatedReplicas, status.AvailableReplicas < status.UpdatedReplicas:
		return rolling
	default:
		return through
	}
}

// check fails if a workload is not through, or too many rolled out at a time.
func (r *rollout) check(stack *obsv1.ObservabilityStack) error {
	switch late := append(r.phases[waiting], r.phases[rolling]...); {
	case len(late) > 0:
		return fmt.Errorf("the stack is Ready, but not through are: %s", strings.Join(late, ", "))
	case r.most > maxConcurrent(stack):
		return fmt.Errorf("%d workloads rolled out at a time, and maxConcurrent is %d", r.most, maxConcurrent(stack))
	}
	return nil
}
