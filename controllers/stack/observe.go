// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/injection/policy"
)

// observation is what was read of the cluster for one stack.
type observation struct {
	// inputs of the builders, without the workloads.
	inputs desired.Inputs
	// workloads that name the stack; nil if injection is off.
	workloads *policy.State
}

// observe reads and writes nothing.
func (r *Reconciler) observe(ctx context.Context, stack *obsv1.ObservabilityStack) (observation, error) {
	in := desired.Inputs{
		ExporterImage: r.ExporterImage,
		Secrets:       map[obsv1.SecretKeySelector]desired.SecretValue{},
		Rollouts:      map[string]desired.Rollout{},
		MissingAPIs:   r.Kinds.Missing(),
	}
	observed := observation{inputs: in}
	for _, ref := range desired.SecretRefs(stack) {
		value, err := r.Secrets.Value(ctx, stack, ref)
		if err != nil {
			return observed, err
		}
		in.Secrets[ref] = value
	}
	for _, name := range desired.ExporterNames(stack) {
		deployment := &appsv1.Deployment{}
		if err := r.Get(ctx, client.ObjectKey{Namespace: stack.Namespace, Name: name}, deployment); err != nil {
			if client.IgnoreNotFound(err) == nil {
				continue
			}
			return observed, fmt.Errorf("read Deployment %s: %w", name, err)
		}
		in.Rollouts[name] = desired.Rollout{Available: rolledOut(deployment)}
	}
	if r.Injection == nil {
		return observed, nil
	}
	workloads, err := r.Injection.Observe(ctx, stack)
	observed.workloads = &workloads
	return observed, err
}

// rolledOut reports whether the newest Pod template of a Deployment is available,
// as kubectl rollout status does.
func rolledOut(deployment *appsv1.Deployment) bool {
	replicas := int32(1)
	if deployment.Spec.Replicas != nil {
		replicas = *deployment.Spec.Replicas
	}
	status := &deployment.Status
	return status.ObservedGeneration >= deployment.Generation &&
		status.UpdatedReplicas >= replicas && status.AvailableReplicas >= replicas
}
