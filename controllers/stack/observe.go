// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/controllers/proof/judge"
	"obstack.dev/obstack/controllers/settings"
)

// observation is what was read of the cluster for one stack.
type observation struct {
	// inputs of the builders, without the workloads.
	inputs desired.Inputs
	// unread says which Secrets and ConfigMaps could not be read.
	unread error
	// versions of the settings that exist.
	versions []metav1.PartialObjectMetadata
	// workloads that name the stack; nil if injection is off.
	workloads *policy.State
	// evidence says which parts of the stack work.
	evidence judge.Evidence
	// cluster is what objects of the cluster select; nil if nobody reads it.
	cluster *judge.Cluster
}

// observe reads and writes nothing. The stack has the defaults of the platform.
func (r *Reconciler) observe(
	ctx context.Context, stack *obsv1.ObservabilityStack, platform desired.Platform,
) (observation, error) {
	observed := observation{inputs: desired.Inputs{
		ExporterImage: r.ExporterImage, Operator: r.Operator, Platform: platform,
		Available: map[string]bool{}, MissingAPIs: r.Kinds.Missing(),
	}}
	var err error
	if observed.versions, err = settings.List(ctx, r.Settings.Cache, client.ObjectKeyFromObject(stack)); err != nil {
		return observed, err
	}
	sources := desired.Sources{}
	for _, version := range observed.versions {
		if version.Namespace != stack.Namespace {
			continue // Whoever may write Secrets there could name the stack's settings, and date them.
		}
		sources.Add(desired.SourcesOf(version.Annotations))
		observed.inputs.Versions = append(observed.inputs.Versions, desired.SettingsVersion{
			Hash: version.Labels[obsv1.StampVersion], Content: version.Annotations[obsv1.AnnotationContent],
		})
	}
	for _, name := range desired.ExporterNames(stack) {
		key := client.ObjectKey{Namespace: stack.Namespace, Name: desired.SourcesName(name)}
		made, err := metadata.Find(ctx, r, metadata.Secret, key)
		if err != nil {
			return observed, err
		}
		if made != nil {
			sources.Add(desired.SourcesOf(made.Annotations))
		}
		deployment := &appsv1.Deployment{}
		if err := r.Get(ctx, client.ObjectKey{Namespace: stack.Namespace, Name: name}, deployment); err != nil {
			if client.IgnoreNotFound(err) == nil {
				continue
			}
			return observed, fmt.Errorf("read Deployment %s: %w", name, err)
		}
		observed.inputs.Available[name] = rolledOut(deployment)
	}
	if err := r.observeCluster(ctx, stack, &observed); err != nil {
		return observed, err
	}
	observed.evidence = r.Proofs.Evidence(stack)
	observed.inputs.Values, observed.unread = r.Values.Values(ctx, stack, sources)
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
