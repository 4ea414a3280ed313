// SPDX-License-Identifier: Apache-2.0

package capabilities

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/metadata"
)

// Reconciler notices when the CustomResourceDefinition of an optional kind
// is installed or removed, starts or stops watching its objects, and has every
// stack looked at again.
type Reconciler struct {
	client.Client
	// Live reads from the API server, children in Namespace if it may read them nowhere else.
	Live      client.Reader
	Namespace string
	Kinds     *Kinds
	// Watch starts watching the objects of a kind, and Stop stops it.
	Watch, Stop func(context.Context, schema.GroupVersionKind) error
	// Requests takes the stacks to look at again.
	Requests chan event.GenericEvent
}

// SetupWithManager registers the controller. What is served already is known before
// the first pass, so that a restart does not report MissingAPI for a moment.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	for name, kind := range r.Kinds.all() {
		if err := r.watchInstalled(ctx, name, kind); err != nil {
			// The manager would wait for this kind and then end. The controller tries it again.
			mgr.GetLogger().Error(err, "Could not start watching a kind", "kind", kind.Kind)
		}
	}
	optional := predicate.NewPredicateFuncs(func(obj client.Object) bool {
		_, ok := r.Kinds.all()[obj.GetName()]
		return ok
	})
	err := ctrl.NewControllerManagedBy(mgr).
		Named("kind").
		WatchesMetadata(metadata.Of(metadata.Definition), &handler.EnqueueRequestForObject{},
			builder.WithPredicates(optional)).
		Complete(r)
	if err != nil {
		return fmt.Errorf("build the kind controller: %w", err)
	}
	return nil
}

// servingDelay is how long a new CustomResourceDefinition is given to be served.
const servingDelay = time.Second

// Reconcile looks at one CustomResourceDefinition.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	kind, ok := r.Kinds.all()[req.Name]
	if !ok {
		return ctrl.Result{}, nil
	}
	exists, err := isInstalled(ctx, r.Client, req.Name)
	if err != nil || exists == r.Kinds.Serves(kind) {
		return ctrl.Result{}, err
	}
	if !exists {
		return ctrl.Result{}, r.stop(ctx, kind)
	}
	if err := r.watchServed(ctx, kind); err != nil {
		return ctrl.Result{}, err
	}
	if !r.Kinds.Serves(kind) {
		return ctrl.Result{RequeueAfter: servingDelay}, nil
	}
	ctrl.LoggerFrom(ctx).Info("Started watching a kind that was installed", "kind", kind.Kind)
	return ctrl.Result{}, r.requestAll(ctx)
}

// isInstalled reports whether there is a CustomResourceDefinition that nobody deletes.
func isInstalled(ctx context.Context, reader client.Reader, name string) (bool, error) {
	definition, err := metadata.Find(ctx, reader, metadata.Definition, client.ObjectKey{Name: name})
	return definition != nil && definition.DeletionTimestamp.IsZero(), err
}

// watchInstalled is watchServed for a kind whose definition is there. For a moment the API server
// still serves one whose definition is gone, and of that no event would come.
func (r *Reconciler) watchInstalled(ctx context.Context, name string, kind schema.GroupVersionKind) error {
	installed, err := isInstalled(ctx, r.Live, name)
	if err != nil || !installed {
		return err
	}
	return r.watchServed(ctx, kind)
}

// watchServed starts watching the objects of a kind if the cluster serves it, and lets obstack
// list it.
func (r *Reconciler) watchServed(ctx context.Context, kind schema.GroupVersionKind) error {
	namespace := r.Namespace
	if r.Kinds.IsRead(kind) {
		namespace = metav1.NamespaceAll
	}
	err := r.Live.List(ctx, metadata.ListOf(kind), client.Limit(1), client.InNamespace(namespace))
	switch {
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err): // Of a kind that is gone the client still knows the path.
		return nil
	case err != nil:
		return fmt.Errorf("list %s: %w", kind.Kind, err)
	}
	if err := r.Watch(ctx, kind); err != nil {
		return fmt.Errorf("watch %s: %w", kind.Kind, err)
	}
	r.Kinds.Set(kind, true)
	return nil
}

func (r *Reconciler) stop(ctx context.Context, kind schema.GroupVersionKind) error {
	r.Kinds.Set(kind, false)
	if err := r.Stop(ctx, kind); err != nil {
		return fmt.Errorf("stop watching %s: %w", kind.Kind, err)
	}
	ctrl.LoggerFrom(ctx).Info("Stopped watching a kind that was removed", "kind", kind.Kind)
	return r.requestAll(ctx)
}

// requestAll has every stack reconciled.
func (r *Reconciler) requestAll(ctx context.Context) error {
	stacks := &obsv1.ObservabilityStackList{}
	if err := r.List(ctx, stacks); err != nil {
		return fmt.Errorf("list stacks: %w", err)
	}
	for i := range stacks.Items {
		select {
		case r.Requests <- event.GenericEvent{Object: &stacks.Items[i]}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
