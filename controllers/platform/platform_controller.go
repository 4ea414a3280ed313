// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/metadata"
)

// lookAgainAfter is how often the servers of a platform are asked, and its stacks counted.
const lookAgainAfter = time.Minute

// Reconciler keeps the status of ObservabilityPlatforms.
type Reconciler struct {
	// Client reads through the cache and writes.
	client.Client
	// Resolver knows which stacks have which platform.
	Resolver Resolver
	// Backends are the servers.
	Backends *Backends
	// Events records for users the conditions that change.
	Events events.EventRecorder

	mu sync.Mutex
	// failed are the conditions that were found to be False once, by platform.
	failed map[string]map[string]bool
}

// backend is a kind of server.
type backend struct {
	condition string
	endpoints func(context.Context, *obsv1.ObservabilityPlatform) ([]Endpoint, error)
	ask       func(context.Context, Endpoint) (version string, problem *Problem)
}

// finding is what was found of one kind of server; nil if it is not to be asked.
type finding struct {
	version string
	problem *Problem
	// asked is set if the problem is what a server did.
	asked bool
}

// Reconcile asks the servers of one platform and says in its status what they did.
func (r *Reconciler) Reconcile(ctx context.Context, platform *obsv1.ObservabilityPlatform) (ctrl.Result, error) {
	if !platform.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	before := platform.DeepCopy()
	backends := r.backends(platform)
	findings, err := r.look(ctx, platform, backends)
	if err != nil {
		return ctrl.Result{}, err
	}
	stacks, err := r.Resolver.Stacks(ctx, platform)
	if err != nil {
		return ctrl.Result{}, err
	}
	status := &platform.Status
	status.ObservedGeneration, status.Stacks = platform.Generation, new(int32(len(stacks))) // #nosec G115 -- a count
	status.MissingSecrets = nil
	for i, backend := range backends {
		r.set(platform, backend.condition, findings[i])
	}
	setVersions(status, findings)
	setReady(platform)
	after := ctrl.Result{RequeueAfter: wait.Jitter(lookAgainAfter, 0.2)}
	if equality.Semantic.DeepEqual(before.Status, platform.Status) {
		return after, nil
	}
	if err := r.Status().Update(ctx, platform); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	r.recordEvents(platform, before.Status.Conditions)
	return after, nil
}

func (r *Reconciler) backends(platform *obsv1.ObservabilityPlatform) []backend {
	organization := ""
	if platform.Spec.Sentry != nil {
		organization = platform.Spec.Sentry.Organization
	}
	return []backend{
		{obsv1.PrometheusReachable, r.Backends.Prometheus, askPrometheus},
		{obsv1.GrafanaReachable, r.Backends.Grafana, askGrafana},
		{obsv1.SentryReachable, r.Backends.Sentry, askSentry(organization)},
	}
}

// look asks all servers at the same time, so that a slow one does not delay another.
func (r *Reconciler) look(
	ctx context.Context, platform *obsv1.ObservabilityPlatform, backends []backend,
) ([]*finding, error) {
	findings, errs := make([]*finding, len(backends)), make([]error, len(backends))
	var all sync.WaitGroup
	for i, backend := range backends {
		all.Go(func() { findings[i], errs[i] = backend.look(ctx, platform) })
	}
	all.Wait()
	return findings, errors.Join(errs...)
}

// look asks every server of a kind.
func (b backend) look(ctx context.Context, platform *obsv1.ObservabilityPlatform) (*finding, error) {
	endpoints, err := b.endpoints(ctx, platform)
	problem := &Problem{}
	switch {
	case errors.As(err, &problem):
		return &finding{problem: problem}, nil
	case err != nil || len(endpoints) == 0:
		return nil, err
	}
	found := make([]finding, len(endpoints))
	var all sync.WaitGroup
	for i, endpoint := range endpoints {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, probeTimeout)
			defer cancel()
			found[i].version, found[i].problem = b.ask(ctx, endpoint)
			found[i].asked = true
		})
	}
	all.Wait()
	if i := slices.IndexFunc(found, func(f finding) bool { return f.problem != nil }); i >= 0 {
		return &found[i], nil
	}
	return &found[0], nil
}

// set writes the condition of a kind of server. What a server does must be found twice before it
// replaces that it was reached: a single request may be lost.
func (r *Reconciler) set(platform *obsv1.ObservabilityPlatform, condition string, found *finding) {
	status := &platform.Status
	if found == nil {
		meta.RemoveStatusCondition(&status.Conditions, condition)
		return
	}
	failed := found.problem != nil && found.asked
	again := r.failedBefore(platform.Name, condition, failed)
	now := metav1.Condition{
		Type: condition, Status: metav1.ConditionTrue, Reason: obsv1.ReasonReachable, Message: "it responds",
		ObservedGeneration: platform.Generation,
	}
	if found.problem != nil {
		now.Status, now.Reason, now.Message = metav1.ConditionFalse, found.problem.Reason, found.problem.Message
		if found.problem.Secret != "" && !slices.Contains(status.MissingSecrets, found.problem.Secret) {
			status.MissingSecrets = append(status.MissingSecrets, found.problem.Secret)
		}
	}
	last := meta.FindStatusCondition(status.Conditions, condition)
	if failed && !again && last != nil && last.Status == metav1.ConditionTrue &&
		last.ObservedGeneration == platform.Generation {
		return
	}
	meta.SetStatusCondition(&status.Conditions, now)
}

// failedBefore notes whether a server failed, and reports whether it did the last time.
func (r *Reconciler) failedBefore(platform, condition string, failed bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = map[string]map[string]bool{}
	}
	if r.failed[platform] == nil {
		r.failed[platform] = map[string]bool{}
	}
	before := r.failed[platform][condition]
	r.failed[platform][condition] = failed
	return before
}

// setVersions keeps the version of a server that does not respond.
func setVersions(status *obsv1.ObservabilityPlatformStatus, findings []*finding) {
	for i, version := range []*string{&status.Versions.Prometheus, &status.Versions.Grafana} {
		switch found := findings[i]; {
		case found == nil:
			*version = ""
		case found.problem == nil:
			*version = found.version
		}
	}
}

// setReady summarises the other conditions.
func setReady(platform *obsv1.ObservabilityPlatform) {
	ready := metav1.Condition{
		Type: obsv1.Ready, Status: metav1.ConditionTrue, Reason: obsv1.ReasonAvailable,
		Message: "everything that is asked responds", ObservedGeneration: platform.Generation,
	}
	for _, condition := range platform.Status.Conditions {
		if condition.Type != obsv1.Ready && condition.Status != metav1.ConditionTrue {
			ready.Status, ready.Reason = metav1.ConditionFalse, condition.Reason
			ready.Message = condition.Type + ": " + condition.Message
			break
		}
	}
	if from := platform.Spec.Namespaces; from != nil && from.Selector != nil {
		if _, err := metav1.LabelSelectorAsSelector(from.Selector); err != nil {
			ready.Status, ready.Reason = metav1.ConditionFalse, obsv1.ReasonInvalidSelector
			ready.Message = fmt.Sprintf("spec.namespaces.selector chooses no namespace, because it is not valid: %v", err)
		}
	}
	meta.SetStatusCondition(&platform.Status.Conditions, ready)
}

// recordEvents emits an event for each condition whose status or reason changed, but for what is
// well from the beginning.
func (r *Reconciler) recordEvents(platform *obsv1.ObservabilityPlatform, before []metav1.Condition) {
	for _, now := range platform.Status.Conditions {
		was := meta.FindStatusCondition(before, now.Type)
		well := now.Status == metav1.ConditionTrue
		same := was == nil && well || was != nil && was.Status == now.Status && was.Reason == now.Reason
		if same || now.Type == obsv1.Ready {
			continue
		}
		eventType := corev1.EventTypeWarning
		if well {
			eventType = corev1.EventTypeNormal
		}
		r.Events.Eventf(platform, nil, eventType, now.Reason, now.Type, "%s", metadata.Note(now.Type+": "+now.Message))
	}
}
