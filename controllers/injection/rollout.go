// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/apply"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/metadata"
)

// Injector brings the settings of stacks to workloads: it observes them, and writes the
// stamps that make Kubernetes replace their Pods.
type Injector struct {
	// Client writes the stamps.
	Client client.Client
	// Live reads of Pods what the caches do not hold.
	Live client.Reader
	// Reader finds workloads.
	Reader *Reader
	// Engine injects their Pods.
	Engine *Engine
	// Events records for the owners of workloads what failed.
	Events events.EventRecorder
	// Now is the clock.
	Now func() time.Time
	// MaxConcurrentRollouts bounds the rollouts of all stacks together.
	MaxConcurrentRollouts int

	workloads cache.Cache                                             // what Reader.Workloads reads, to be watched
	queue     workqueue.TypedRateLimitingInterface[reconcile.Request] // of stacks to look at

	starts sync.Map // by stack: a map from the UIDs of Pods to start
	judged sync.Map // by stack

	mu     sync.Mutex
	stored map[types.NamespacedName]map[types.UID]*stored
	places *policy.Places
	began  time.Time // when it first looked; what others wrote before is a former process's
}

const (
	// refusedBackoff, unreachableBackoff and failedBackoff are how long a workload waits after the
	// first failure, while others take their turns.
	refusedBackoff     = time.Minute
	unreachableBackoff = 15 * time.Second
	failedBackoff      = 5 * time.Second
	// placesRecheck is how soon a stack asks again for places that it did not get, if nobody
	// calls it before.
	placesRecheck = 10 * time.Minute
)

// Rollout carries out a plan and adds to it what failed. A workload that fails goes to the back,
// and keeps no other waiting.
func (i *Injector) Rollout(ctx context.Context, stack types.NamespacedName, plan *policy.Plan) error {
	granted, err := i.take(ctx, stack, plan)
	if err != nil {
		return err
	}
	defer func() { i.free(stack, granted) }()
	i.keep(ctx, stack, plan.Proven)
	i.explain(ctx, stack, plan.Left)
	for _, patch := range plan.Patches {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stamp workloads: %w", err)
		}
		if patch.RollsPods && granted == 0 {
			plan.Retry(placesRecheck)
			continue
		}
		failure := i.write(ctx, stack, patch)
		switch {
		case failure != nil:
			i.store(stack, patch.Candidate, false, func(h policy.History) policy.History {
				h.Failure = failure
				return h
			})
			plan.AddFailure(*failure)
		case patch.RollsPods:
			granted--
		}
	}
	if granted > 0 && plan.Waiting > 0 {
		plan.Retry(time.Second) // There are others for the places that were not used.
	}
	return nil
}

// write one patch, unless it would do nothing or harm.
func (i *Injector) write(ctx context.Context, stack types.NamespacedName, patch policy.Patch) *policy.Failure {
	var err error
	now, responds := i.Now(), true
	if patch.Stamp != nil { // A stamp that is removed asks nothing of the webhook.
		responds, err = i.probe(ctx, patch.Workload)
	}
	if err == nil && responds {
		err = i.stamp(ctx, stack, patch)
	}
	switch {
	case !responds && err == nil:
		return patch.NewFailure(obsv1.ReasonWebhookUnavailable, "", unreachableBackoff, now)
	case err == nil || gone(err):
		return nil
	case patch.Breaks != nil && apierrors.IsConflict(err):
		// After the others, and soon: a workload whose Pods crash changes its status all the time.
		failure := patch.NewFailure(obsv1.ReasonApplyFailed, "", failedBackoff, now)
		failure.Times, failure.After = 1, now.Add(failedBackoff)
		return failure
	case apply.Rejected(err):
		i.record(patch.Workload, obsv1.ReasonInjectionFailed,
			"the Pod template could not be changed, because the API server refuses it: "+err.Error())
		return patch.NewFailure(obsv1.ReasonRejected, err.Error(), refusedBackoff, now)
	default:
		ctrl.LoggerFrom(ctx).Error(err, "Could not stamp a workload", "workload", patch.String())
		i.record(patch.Workload, obsv1.ReasonInjectionFailed, fmt.Sprintf(
			"the Pod template could not be changed (%s): obstack tries again, and its log has the details",
			apierrors.ReasonForError(err)))
		return patch.NewFailure(obsv1.ReasonApplyFailed, "", failedBackoff, now)
	}
}

// record an event for the owner of a workload.
func (i *Injector) record(w *policy.Workload, reason, message string) {
	i.Events.Eventf(w.Reference(), nil, corev1.EventTypeWarning, reason, "Inject", "%s", metadata.Note(message))
}

// gone reports whether the workload was deleted or replaced since it was read, or is about to be:
// what is new has an event of its own.
func gone(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	replaced := details != nil && slices.ContainsFunc(details.Causes, func(cause metav1.StatusCause) bool {
		return cause.Field == "metadata.uid"
	})
	return replaced || apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

// explain records for owners, once, why their workloads are left alone.
func (i *Injector) explain(ctx context.Context, stack types.NamespacedName, all []policy.Left) {
	for _, left := range all {
		c, reason, message := left.Candidate, obsv1.ReasonInjectionBlocked, blocked
		record := c.Record
		if left.Cause != "" {
			reason, message = obsv1.ReasonInjectionFailed, fmt.Sprintf(unwritten, left.Message)
		}
		if left.Progress == policy.Contested {
			if record.By == "" {
				if c.Recorded == obsv1.ReasonStampContested {
					continue
				}
				record = i.askWho(ctx, c, record)
			}
			reason, message = obsv1.ReasonStampContested, fmt.Sprintf(contested, record.By)
		}
		if c.Recorded == reason+left.Cause && c.Record.By == record.By {
			continue
		}
		i.record(c.Workload, reason, message)
		i.store(stack, c, false, func(h policy.History) policy.History {
			if h.Recorded = reason + left.Cause; record.ContestedSoon(i.Now()) {
				h.Record.By, h.Record.Generation = record.By, record.Generation
			}
			return h
		})
	}
}

// What owners of workloads that are left alone are to do.
const (
	blocked = "Pods start without the settings, and restarting them did not help, although obstack's policy is there or " +
		"its webhook responds: see in the log of the API server what fails for these Pods, and whether something else " +
		"removes what is added; then restart the workload"
	contested = "%s changes the labels and annotations inject.obstack.dev/* of the Pod template: have it leave them " +
		"alone, or take them out of its manifests, and restart the workload; or opt out with the annotation " +
		obsv1.AnnotationInject + `: "false"`
	unwritten = "its settings could not be written to this namespace, so it keeps those that it has, if any: %s"
)
