// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	ctrl "sigs.k8s.io/controller-runtime"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/controllers/settings"
)

// Uses finds in the caches what names a version of settings.
type Uses struct {
	*Reader
}

// Named reports whether the template of a workload that has not ended names a version.
func (u Uses) Named(ctx context.Context, version settings.Version) (named bool, err error) {
	err = u.each(ctx, func(w *policy.Workload) {
		stamp, _ := w.Stamp()
		named = named || !w.Finished() && names(stamp, version)
	}, client.InNamespace(version.Namespace), client.MatchingFields{indexClaims: version.Stack.String()})
	return named, err
}

// Running reports whether a live Pod names a version.
func (u Uses) Running(ctx context.Context, version settings.Version) (bool, error) {
	list := metadata.ListOf(metadata.Pod)
	err := u.Main.List(ctx, list, client.InNamespace(version.Namespace), client.UnsafeDisableDeepCopy,
		client.MatchingFields{indexStamp: version.Stack.String()})
	if err != nil {
		return false, fmt.Errorf("list Pods: %w", err)
	}
	for i := range list.Items {
		if stamp, _ := policy.StampOf(list.Items[i].Labels, list.Items[i].Annotations); names(stamp, version) {
			return true, nil
		}
	}
	return false, nil
}

// NamesBundle reports whether the template of a workload that has not ended, or a live Pod, names
// the bundle for Python of that hash in a namespace, of whatever stack.
func (u Uses) NamesBundle(ctx context.Context, namespace, hash string) (named bool, err error) {
	err = u.each(ctx, func(w *policy.Workload) {
		stamp, _ := w.Stamp()
		named = named || !w.Finished() && stamp.Python == hash
	}, client.InNamespace(namespace))
	if named || err != nil {
		return named, err
	}
	list := metadata.ListOf(metadata.Pod)
	err = u.Main.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy)
	if err != nil {
		return false, fmt.Errorf("list Pods: %w", err)
	}
	for i := range list.Items {
		if list.Items[i].Labels[obsv1.StampPython] == hash {
			return true, nil
		}
	}
	return false, nil
}

func names(stamp policy.Stamp, version settings.Version) bool {
	return stamp.Stack == version.Stack && stamp.ConfigHash == version.Hash
}

// Revoked reports whether a stack's selector is valid and does not admit a namespace that exists.
func (u Uses) Revoked(ctx context.Context, stack *obsv1.ObservabilityStack, namespace string) (bool, error) {
	meta, err := u.namespace(ctx, namespace)
	if err != nil || meta.Name == "" { // The cache is behind, and what is not known is not revoked.
		return false, err
	}
	return policy.Revokes(stack, namespace, meta.Labels), nil
}

// Accepts reports whether a namespace accepts the variables of others' stacks. What the cache does
// not know yet is not taken back.
func (u Uses) Accepts(ctx context.Context, namespace string) (bool, error) {
	meta, err := u.namespace(ctx, namespace)
	if err != nil || meta.Name == "" {
		return true, err
	}
	accepts, _ := policy.AcceptedBy(meta)
	return accepts.Env, nil
}

// Watched reports whether the caches hold the objects of a namespace.
func (u Uses) Watched(namespace string) bool { return u.Reader.Watched(namespace) }

// WatchUses has a controller of versions look again at those that something begins or ceases to
// name, and at those of a Namespace whose labels change.
func (i *Injector) WatchUses(mgr ctrl.Manager, c controller.Controller, inNamespace handler.MapFunc) error {
	main := mgr.GetCache()
	sources := []source.Source{
		source.Kind(main, client.Object(metadata.Of(metadata.Namespace)),
			handler.EnqueueRequestsFromMapFunc(inNamespace), metadataChanged),
		source.Kind(main, client.Object(metadata.Of(metadata.Pod)),
			handler.EnqueueRequestsFromMapFunc(namedByPod), metadataChanged),
	}
	for _, kind := range policy.Kinds {
		sources = append(sources, source.Kind(i.workloads, client.Object(kind.New()),
			handler.EnqueueRequestsFromMapFunc(namedByWorkload), specChanged))
	}
	for _, s := range sources {
		if err := c.Watch(s); err != nil {
			return fmt.Errorf("watch what names settings: %w", err)
		}
	}
	return nil
}

func namedByPod(_ context.Context, pod client.Object) []reconcile.Request {
	stamp, _ := policy.StampOf(pod.GetLabels(), pod.GetAnnotations())
	return versionNamed(stamp, pod)
}

func namedByWorkload(_ context.Context, obj client.Object) []reconcile.Request {
	stamp, _ := partial(obj).Stamp()
	return versionNamed(stamp, obj)
}

func versionNamed(stamp policy.Stamp, by metav1.Object) []reconcile.Request {
	var requests []reconcile.Request
	if stamp.ConfigHash != "" {
		version := settings.Version{Stack: stamp.Stack, Namespace: by.GetNamespace(), Hash: stamp.ConfigHash}
		requests = append(requests, reconcile.Request{NamespacedName: version.Secret()})
	}
	if stamp.Python != "" {
		requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{
			Namespace: by.GetNamespace(), Name: obsv1.PythonName(stamp.Python),
		}})
	}
	return requests
}
