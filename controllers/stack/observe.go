// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"fmt"
	"maps"
	"time"

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

// recheck is after how long to look again at Secrets that were not read; 0 if all were.
func (o *observation) recheck() time.Duration {
	for _, value := range o.inputs.Secrets {
		if value.Accepted {
			return readLater
		}
	}
	return 0
}

// observe reads and writes nothing.
func (r *Reconciler) observe(ctx context.Context, stack *obsv1.ObservabilityStack) (observation, error) {
	observed := observation{inputs: desired.Inputs{
		ExporterImage: r.ExporterImage, Rollouts: map[string]desired.Rollout{}, MissingAPIs: r.Kinds.Missing(),
	}}
	settings := metadata.Of(metadata.Secret)
	key := client.ObjectKey{Namespace: stack.Namespace, Name: obsv1.SettingsName(stack.Namespace, stack.Name)}
	if err := r.Get(ctx, key, settings); client.IgnoreNotFound(err) != nil {
		return observed, fmt.Errorf("read metadata of the settings: %w", err)
	}
	observed.settings = desired.SettingsVersionOf(settings.Annotations)
	sources := desired.Sources{}
	maps.Copy(sources, desired.SourcesOf(settings.Annotations))
	for _, name := range desired.ExporterNames(stack) {
		deployment := &appsv1.Deployment{}
		if err := r.Get(ctx, client.ObjectKey{Namespace: stack.Namespace, Name: name}, deployment); err != nil {
			if client.IgnoreNotFound(err) == nil {
				continue
			}
			return observed, fmt.Errorf("read Deployment %s: %w", name, err)
		}
		observed.inputs.Rollouts[name] = desired.Rollout{Available: rolledOut(deployment)}
		maps.Copy(sources, desired.SourcesOf(deployment.Annotations))
	}
	var err error
	if observed.inputs.Secrets, err = r.Secrets.Values(ctx, stack, sources); err != nil || r.Injection == nil {
		return observed, err
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
