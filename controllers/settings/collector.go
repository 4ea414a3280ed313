// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/apply"
	"obstack.dev/obstack/controllers/metadata"
)

// Uses finds in caches what names versions, and who may have them.
type Uses interface {
	// Named reports whether the Pod template of a workload names a version.
	Named(ctx context.Context, version Version) (bool, error)
	// Running reports whether a live Pod names it.
	Running(ctx context.Context, version Version) (bool, error)
	// Revoked reports whether the selector of a stack is valid and does not admit a namespace that
	// exists.
	Revoked(ctx context.Context, stack *obsv1.ObservabilityStack, namespace string) (bool, error)
	// Accepts reports whether a namespace that exists accepts the variables of others' stacks.
	Accepts(ctx context.Context, namespace string) (bool, error)
	// NamesBundle reports whether the Pod template of a workload, or a live Pod, names the bundle for
	// Python of that hash in a namespace.
	NamesBundle(ctx context.Context, namespace, hash string) (bool, error)
	// Watched reports whether the caches hold the objects of a namespace.
	Watched(namespace string) bool
}

// Collector deletes versions that nothing names any more, and those in namespaces that their stack
// no longer admits. What it waits for is written on the Secret, so that it survives the operator.
type Collector struct {
	*Keeper
	Uses Uses
}

const (
	// unusedGrace is how long a version is kept after the last use.
	unusedGrace = time.Hour
	// defaultRevocationGrace is spec.injection.revocationGrace where it is absent.
	defaultRevocationGrace = time.Hour
)

// Reconcile looks at one version.
func (c *Collector) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	look := c.reconcile
	if _, bundle := BundleOf(req.Name); bundle {
		look = c.reconcileBundle
	}
	result, err := look(ctx, req)
	switch {
	case apierrors.IsConflict(err): // Somebody wrote it meanwhile, of which an event comes.
		return ctrl.Result{}, nil
	case apply.Rejected(err): // What only looks like a version is not for obstack to write.
		ctrl.LoggerFrom(ctx).Info("Could not look after a version of settings", "reason", err.Error())
		return ctrl.Result{RequeueAfter: wait.Jitter(unusedGrace, 0.5)}, nil
	}
	return ctrl.Result{RequeueAfter: wait.Jitter(result.RequeueAfter, 0.01)}, err
}

func (c *Collector) reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	secret, err := c.cached(ctx, req.NamespacedName)
	if secret == nil || err != nil {
		return ctrl.Result{}, err
	}
	version, ok := VersionOf(secret)
	if !ok || !secret.DeletionTimestamp.IsZero() || !c.Uses.Watched(version.Stack.Namespace) {
		return ctrl.Result{}, nil
	}
	stack, err := c.stack(ctx, version.Stack)
	if err != nil {
		return ctrl.Result{}, err
	}
	revoked, err := c.revoked(ctx, stack, secret, version)
	if err != nil || stack != nil && stack.Spec.Suspend && revoked == "" {
		return ctrl.Result{}, err
	}
	if revoked != "" {
		return c.collectRevoked(ctx, secret, version, revoked, revocationGrace(stack))
	}
	return c.collectUnused(ctx, secret, version, stack != nil)
}

// stack is nil if it is gone, or about to be.
func (c *Collector) stack(ctx context.Context, name types.NamespacedName) (*obsv1.ObservabilityStack, error) {
	stack := &obsv1.ObservabilityStack{}
	if err := c.Cache.Get(ctx, name, stack); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	if !stack.DeletionTimestamp.IsZero() {
		return nil, nil
	}
	return stack, nil
}

// revoked is the mark of a version that its namespace does not accept, which holds whatever became
// of the stack, or of one in a namespace that is not admitted; empty if neither is so. A stack that
// is suspended revokes nothing; where it is gone, nobody has admitted the namespace again.
func (c *Collector) revoked(ctx context.Context, stack *obsv1.ObservabilityStack,
	secret *metav1.PartialObjectMetadata, version Version) (mark string, err error) {
	if HoldsEnv(secret, version) {
		if accepts, err := c.Uses.Accepts(ctx, version.Namespace); err != nil || !accepts {
			return obsv1.AnnotationWithdrawnSince, err
		}
	}
	revoked := secret.Annotations[obsv1.AnnotationRevokedSince] != ""
	if stack != nil {
		if revoked, err = c.Uses.Revoked(ctx, stack, secret.Namespace); err != nil || stack.Spec.Suspend {
			return "", err
		}
	}
	if revoked {
		mark = obsv1.AnnotationRevokedSince
	}
	return mark, nil
}

func revocationGrace(stack *obsv1.ObservabilityStack) time.Duration {
	if stack != nil && stack.Spec.Injection != nil {
		if grace, err := time.ParseDuration(string(stack.Spec.Injection.RevocationGrace)); err == nil {
			return grace
		}
	}
	return defaultRevocationGrace
}

// collectRevoked deletes a version when the last Pod that names it has ended, or after the grace.
func (c *Collector) collectRevoked(ctx context.Context, secret *metav1.PartialObjectMetadata, version Version,
	since string, grace time.Duration) (ctrl.Result, error) {
	running, err := c.Uses.Running(ctx, version)
	if err != nil {
		return ctrl.Result{}, err
	}
	if running {
		left, err := c.left(ctx, secret, since, grace)
		if err != nil || left > 0 {
			return ctrl.Result{RequeueAfter: left}, err
		}
	}
	return ctrl.Result{}, c.delete(ctx, secret)
}

// collectUnused deletes a version an hour after the last that lives named it.
func (c *Collector) collectUnused(ctx context.Context, secret *metav1.PartialObjectMetadata, version Version,
	exists bool) (ctrl.Result, error) {
	used, err := c.used(ctx, version)
	if err != nil {
		return ctrl.Result{}, err
	}
	wanted, passed := c.isWanted(version)
	if used || exists && wanted {
		return ctrl.Result{}, c.mark(ctx, secret, "")
	}
	if exists && !passed {
		return ctrl.Result{}, nil // The stack's first pass asks again.
	}
	return c.collect(ctx, secret, map[string]string{
		obsv1.StampStack: version.Stack.Name, obsv1.StampNamespace: version.Stack.Namespace, obsv1.StampVersion: version.Hash,
	})
}

// collect deletes what nothing names, after its grace, unless what has these labels may make Pods
// that name it.
func (c *Collector) collect(ctx context.Context, unused *metav1.PartialObjectMetadata,
	named map[string]string) (ctrl.Result, error) {
	left, err := c.left(ctx, unused, obsv1.AnnotationUnusedSince, unusedGrace)
	if err != nil || left > 0 {
		return ctrl.Result{RequeueAfter: left}, err
	}
	if kept, err := c.kept(ctx, unused.Namespace, named); kept || err != nil {
		return ctrl.Result{RequeueAfter: unusedGrace}, err
	}
	if err := c.delete(ctx, unused); err != nil {
		return ctrl.Result{}, err
	}
	c.forget(client.ObjectKeyFromObject(unused))
	return ctrl.Result{}, nil
}

// used reports whether the caches show anything that names a version.
func (c *Collector) used(ctx context.Context, version Version) (bool, error) {
	if named, err := c.Uses.Named(ctx, version); named || err != nil {
		return named, err
	}
	return c.Uses.Running(ctx, version)
}

// left is what is left of a grace that begins when it is first asked for. A time that is not
// over yet is none that we wrote.
func (c *Collector) left(ctx context.Context, secret *metav1.PartialObjectMetadata, since string,
	grace time.Duration) (time.Duration, error) {
	began, err := time.Parse(time.RFC3339, secret.Annotations[since])
	now := c.Now()
	if err != nil || began.After(now.Add(time.Minute)) {
		return grace, c.mark(ctx, secret, since)
	}
	return max(0, began.Add(grace).Sub(now)), nil
}

// mark annotates a version with since when it is to be deleted, and for one reason only; for none
// if since is empty.
func (c *Collector) mark(ctx context.Context, secret *metav1.PartialObjectMetadata, since string) error {
	annotations := map[string]any{}
	for _, key := range obsv1.DeletionMarks {
		if _, set := secret.Annotations[key]; set {
			annotations[key] = nil
		}
	}
	if since != "" {
		annotations[since] = c.Now().UTC().Format(time.RFC3339)
	}
	if len(annotations) == 0 {
		return nil
	}
	err := c.patch(ctx, secret, map[string]any{"annotations": annotations})
	return client.IgnoreNotFound(err)
}

// kept asks the API server what caches do not hold, which may bring Pods back: ReplicaSets with
// replicas, and the revision from which a StatefulSet with a partition makes its Pods. A
// DaemonSet makes them from its template alone.
func (c *Collector) kept(ctx context.Context, namespace string, labels map[string]string) (bool, error) {
	named := []client.ListOption{client.InNamespace(namespace), client.MatchingLabels(labels), metadata.WholePage}
	replicaSets := func() *appsv1.ReplicaSetList { return &appsv1.ReplicaSetList{} }
	for page, err := range metadata.Pages(ctx, c.Live, replicaSets, named...) {
		if err != nil {
			return false, fmt.Errorf("list ReplicaSets: %w", err)
		}
		for i := range page.Items {
			if replicas := page.Items[i].Spec.Replicas; replicas == nil || *replicas > 0 {
				return true, nil
			}
		}
	}
	revisions := func() *metav1.PartialObjectMetadataList {
		return metadata.ListOf(appsv1.SchemeGroupVersion.WithKind("ControllerRevision"))
	}
	for page, err := range metadata.Pages(ctx, c.Live, revisions, named...) {
		if err != nil {
			return false, fmt.Errorf("list ControllerRevisions: %w", err)
		}
		for i := range page.Items {
			if current, err := c.isCurrent(ctx, &page.Items[i]); current || err != nil {
				return current, err
			}
		}
	}
	return false, nil
}

// isCurrent reports whether a StatefulSet makes Pods from a revision.
func (c *Collector) isCurrent(ctx context.Context, revision *metav1.PartialObjectMetadata) (bool, error) {
	owner := metav1.GetControllerOf(revision)
	if owner == nil || owner.Kind != "StatefulSet" {
		return false, nil
	}
	set := &appsv1.StatefulSet{}
	err := c.Live.Get(ctx, types.NamespacedName{Namespace: revision.Namespace, Name: owner.Name}, set)
	if err != nil {
		return false, client.IgnoreNotFound(err)
	}
	return set.Status.CurrentRevision == revision.Name || set.Status.UpdateRevision == revision.Name, nil
}

// delete removes a version as it was seen: nobody has taken it back since.
func (c *Collector) delete(ctx context.Context, secret *metav1.PartialObjectMetadata) error {
	err := c.Client.Delete(ctx, secret, client.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion})
	return client.IgnoreNotFound(err)
}
