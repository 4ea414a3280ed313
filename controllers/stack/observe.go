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
	"obstack.dev/obstack/controllers/metadata"
)

// observation is what was read of the cluster for one stack.
type observation struct {
	// inputs of the builders, without the workloads.
	inputs desired.Inputs
	// settings is the version that their Secret shows; zero if there is none, or injection is off.
	settings desired.SettingsVersion
	// workloads that name the stack; nil if injection is off.
	workloads *policy.State
}

// observe reads and writes nothing.
func (r *Reconciler) observe(ctx context.Context, stack *obsv1.ObservabilityStack) (observation, error) {
	secrets, err := r.Secrets.Values(ctx, stack)
	if err != nil {
		return observation{}, err
	}
	observed := observation{inputs: desired.Inputs{
		ExporterImage: r.ExporterImage, Secrets: secrets, Rollouts: map[string]desired.Rollout{}, MissingAPIs: r.Kinds.Missing(),
	}}
	for _, name := range desired.ExporterNames(stack) {
		deployment := &appsv1.Deployment{}
		if err := r.Get(ctx, client.ObjectKey{Namespace: stack.Namespace, Name: name}, deployment); err != nil {
			if client.IgnoreNotFound(err) == nil {
				continue
			}
			return observed, fmt.Errorf("read Deployment %s: %w", name, err)
		}
		observed.inputs.Rollouts[name] = desired.Rollout{Available: rolledOut(deployment)}
	}
	if r.Injection == nil {
		return observed, nil
	}
	settings := metadata.Of(metadata.Secret)
	key := client.ObjectKey{Namespace: stack.Namespace, Name: obsv1.SettingsName(stack.Namespace, stack.Name)}
	if err := r.Get(ctx, key, settings); client.IgnoreNotFound(err) != nil {
		return observed, fmt.Errorf("read metadata of the settings: %w", err)
	}
	observed.settings = desired.SettingsVersionOf(settings.Annotations)
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
