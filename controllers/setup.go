// SPDX-License-Identifier: Apache-2.0

// Package controllers wires the controllers, and does nothing else.
package controllers

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/apply"
	"obstack.dev/obstack/controllers/capabilities"
	"obstack.dev/obstack/controllers/injection"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/controllers/platform"
	"obstack.dev/obstack/controllers/proof"
	"obstack.dev/obstack/controllers/settings"
	"obstack.dev/obstack/controllers/stack"
)

// Options of the controllers.
type Options struct {
	// ExporterImage is the task exporter's image where a broker names none.
	ExporterImage string
	// MaxConcurrentReconciles is how many stacks are reconciled at a time.
	MaxConcurrentReconciles int
	// MaxConcurrentRollouts is how many workloads roll out at a time, of all stacks together.
	MaxConcurrentRollouts int
	// Webhooks and Policy turn on what brings settings to workloads: Pods get them by the webhooks,
	// of which AddWebhooks is the other half, or by the MutatingAdmissionPolicy of that name.
	Webhooks bool
	Policy   string
	// Namespace of the operator, which has the credentials of platforms; empty if it is not known.
	Namespace string
	// Proofs say whom the operator asks beside the passes.
	Proofs ProofOptions
	// Namespaces are those that the manager's cache holds; nil if all.
	Namespaces map[string]cache.Config
	// Wrap decorates the stack reconciler, for reporting its failures.
	Wrap func(reconcile.Reconciler) reconcile.Reconciler
}

// CacheOptions say what of each kind is kept in memory: our own kind in full,
// children by label, and of Secrets and CustomResourceDefinitions, of which the
// cluster may hold thousands that do not concern us, next to nothing.
func CacheOptions() cache.Options {
	cached := map[client.Object]cache.ByObject{
		metadata.Of(metadata.Definition): {Label: labels.Everything(), Transform: metadata.KeepName},
	}
	maps.Copy(cached, stack.Cached())
	maps.Copy(cached, injection.Cached())
	return cache.Options{
		// The default, because a kind that is not installed yet cannot be named in ByObject.
		DefaultLabelSelector: labels.SelectorFromSet(labels.Set{obsv1.LabelManagedBy: obsv1.ManagedBy}),
		DefaultTransform:     stack.DropBookkeeping,
		ByObject:             cached,
		// A read that nobody set up a watch for is a bug, not a reason to cache a whole kind.
		ReaderFailOnMissingInformer: true,
	}
}

// Setup registers the controllers with a manager whose cache was made with CacheOptions.
func Setup(ctx context.Context, mgr ctrl.Manager, opts Options) error {
	if err := metadata.AddIndexes(ctx, mgr.GetFieldIndexer(), stack.Indexes()...); err != nil {
		return err
	}
	namespaces := slices.Sorted(maps.Keys(opts.Namespaces))
	kinds := &capabilities.Reconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(),
		Kinds: stack.NewKinds(), Requests: make(chan event.GenericEvent),
	}
	if len(namespaces) > 0 {
		kinds.Namespace = namespaces[0]
	}
	store := &proof.Store{Changed: make(chan event.GenericEvent), Off: opts.Proofs.off()}
	selecting, asked, err := selecting(mgr, kinds.Kinds, opts)
	if err != nil {
		return err
	}
	stacks := newStacks(mgr, namespaces, opts)
	stacks.Kinds, stacks.Proofs, stacks.Cluster = kinds.Kinds, store, selecting
	injector, err := newInjector(ctx, mgr, opts)
	if err != nil {
		return err
	}
	if injector != nil {
		stacks.Injection = injector
	}
	controller, err := stacks.SetupWithManager(mgr, stack.Options{
		MaxConcurrentReconciles: opts.MaxConcurrentReconciles, Wrap: opts.Wrap,
		Requests: []chan event.GenericEvent{kinds.Requests, store.Changed, asked.changed},
	})
	if err != nil {
		return err
	}
	if injector != nil {
		err := errors.Join(injector.Watch(mgr, controller), injector.SetupWithManager(mgr, opts.MaxConcurrentReconciles),
			collect(mgr, stacks.Settings, injector))
		if err != nil {
			return err
		}
	}
	if err := follow(mgr, kinds, stacks, selecting, controller); err != nil {
		return err
	}
	if err := proofs(mgr, opts, store, asked, injector); err != nil {
		return err
	}
	stack.RegisterMetrics(mgr.GetClient())
	store.Register()
	return kinds.SetupWithManager(ctx, mgr)
}

// newInjector brings settings to workloads; nil if nothing does.
func newInjector(ctx context.Context, mgr ctrl.Manager, opts Options) (*injection.Injector, error) {
	if !opts.Webhooks && opts.Policy == "" {
		return nil, nil
	}
	engine := &injection.Engine{
		Live: mgr.GetAPIReader(), Policy: opts.Policy, Webhooks: opts.Webhooks, Now: time.Now,
	}
	return injection.New(ctx, mgr, engine, opts.Namespaces, opts.MaxConcurrentRollouts)
}

// newStacks makes the reconciler of stacks in those namespaces, all if there are none.
func newStacks(mgr ctrl.Manager, namespaces []string, opts Options) *stack.Reconciler {
	return &stack.Reconciler{
		Client: mgr.GetClient(),
		Engine: &apply.Engine{
			Client: mgr.GetClient(), Live: mgr.GetAPIReader(),
			Children: stack.CachedChildren(mgr.GetCache()), FieldManager: obsv1.FieldManager,
			HashAnnotation: obsv1.AnnotationApplied, Labels: map[string]string{obsv1.LabelManagedBy: obsv1.ManagedBy},
			Namespaces: namespaces,
		},
		Platforms: platform.Resolver{Reader: mgr.GetClient()},
		Settings: &settings.Keeper{
			Client: mgr.GetClient(), Cache: mgr.GetCache(), Live: mgr.GetAPIReader(), Now: time.Now,
		},
		Values: &stack.ValueReader{
			Metadata: mgr.GetCache(), Live: mgr.GetAPIReader(), Namespaces: namespaces,
		},
		Now:           time.Now,
		Events:        mgr.GetEventRecorder("obstack"),
		ExporterImage: opts.ExporterImage,
		Operator:      operatorPeer(opts),
	}
}

// platforms keeps the status of platforms, and returns whom they name.
func platforms(mgr ctrl.Manager, opts Options) (*platform.Backends, error) {
	secrets := mgr.GetAPIReader()
	_, watched := opts.Namespaces[opts.Namespace]
	if watched = watched || len(opts.Namespaces) == 0; watched {
		secrets = mgr.GetCache()
	}
	backends := &platform.Backends{
		Live: mgr.GetAPIReader(), Secrets: secrets, Namespace: opts.Namespace, Now: time.Now,
	}
	reconciler := &platform.Reconciler{
		Client: mgr.GetClient(), Resolver: platform.Resolver{Reader: mgr.GetClient()}, Backends: backends,
		Events: mgr.GetEventRecorder("obstack"),
	}
	return backends, reconciler.SetupWithManager(mgr, watched)
}

// collect deletes the versions of settings that nothing uses. Without injection nobody knows what
// uses one, and all stay.
func collect(mgr ctrl.Manager, keeper *settings.Keeper, injector *injection.Injector) error {
	collector := &settings.Collector{Keeper: keeper, Uses: injection.Uses{Reader: injector.Reader}}
	controller, err := collector.SetupWithManager(mgr)
	if err != nil {
		return err
	}
	return injector.WatchUses(mgr, controller, collector.InNamespace)
}

// AddWebhooks registers the webhooks of injection with a server.
func AddWebhooks(mgr ctrl.Manager, server webhook.Server, namespaces map[string]cache.Config) {
	injection.AddWebhooks(mgr, server, namespaces)
}
