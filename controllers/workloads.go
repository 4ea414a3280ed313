// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

var (
	namespaceKind = corev1.SchemeGroupVersion.WithKind("Namespace")
	podKind       = corev1.SchemeGroupVersion.WithKind("Pod")
)

// newWorkloadCache caches every workload of the cluster but our own, or of the
// namespaces that are watched, by the lean types of package injection.
func newWorkloadCache(mgr ctrl.Manager, namespaces map[string]cache.Config) (cache.Cache, error) {
	strange, err := labels.NewRequirement(obsv1.LabelManagedBy, selection.NotEquals, []string{obsv1.ManagedBy})
	utilruntime.Must(err) // The label is a constant.
	// The lean types have no protobuf.
	config := rest.CopyConfig(mgr.GetConfig())
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	options := cache.Options{
		Scheme: policy.Scheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient(),
		DefaultNamespaces: namespaces, ByObject: map[client.Object]cache.ByObject{}, ReaderFailOnMissingInformer: true,
	}
	for _, kind := range policy.Kinds {
		options.ByObject[kind.New()] = cache.ByObject{Label: labels.NewSelector().Add(*strange), Transform: keepLean(kind)}
	}
	workloads, err := cache.New(config, options)
	if err != nil {
		return nil, fmt.Errorf("make the cache of workloads: %w", err)
	}
	return workloads, mgr.Add(workloads)
}

func keepLean(kind policy.Kind) func(any) (any, error) {
	return func(obj any) (any, error) {
		if o, ok := obj.(policy.Object); ok {
			w := o.Lean()
			w.SetGroupVersionKind(kind.GroupVersionKind)
			w.Keep()
		}
		return obj, nil
	}
}

// stampedPods chooses the Pods that are cached: those that carry a stamp and have not ended.
func stampedPods() cache.ByObject {
	stamped, err := labels.NewRequirement(obsv1.StampStack, selection.Exists, nil)
	utilruntime.Must(err) // The label is a constant.
	return cache.ByObject{
		Label: labels.NewSelector().Add(*stamped),
		Field: fields.AndSelectors(
			fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
			fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed))),
		Transform: keepPod,
	}
}

// keepPod keeps of a Pod what tells to whom it belongs and what it runs.
func keepPod(obj any) (any, error) {
	full, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return obj, nil
	}
	kept, _ := keepName(obj)
	pod := kept.(*metav1.PartialObjectMetadata)
	pod.Labels, pod.Annotations, pod.OwnerReferences = full.Labels, ours(full.Annotations), full.OwnerReferences
	return pod, nil
}

// keepNamespace keeps of a Namespace what consent and precedence ask for.
func keepNamespace(obj any) (any, error) {
	full, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return obj, nil
	}
	kept, _ := keepName(obj)
	namespace := kept.(*metav1.PartialObjectMetadata)
	namespace.Labels, namespace.Annotations = full.Labels, ours(full.Annotations)
	return namespace, nil
}

// ours are the annotations that obstack reads and writes.
func ours(annotations map[string]string) map[string]string {
	kept := maps.Clone(annotations)
	maps.DeleteFunc(kept, func(key, _ string) bool { return !policy.IsOurs(key) })
	return kept
}

// The indexes by which everything that concerns a stack is found. Their values
// are NAMESPACE/NAME of the stack.
const (
	indexClaims = "obstack.dev/claims" // of workloads, by their own annotations and stamp
	indexNamed  = "obstack.dev/named"  // of Namespaces, by their annotation
	indexStamp  = "obstack.dev/stamp"  // of Pods
	indexCopy   = "obstack.dev/copy"   // of copies of the settings
)

func addWorkloadIndexes(ctx context.Context, main, workloads client.FieldIndexer) error {
	for _, kind := range policy.Kinds {
		if err := workloads.IndexField(ctx, kind.New(), indexClaims, claimsOf); err != nil {
			return fmt.Errorf("index %ss by stack: %w", kind.Kind, err)
		}
	}
	for _, index := range []struct {
		of    client.Object
		name  string
		value client.IndexerFunc
	}{
		{metadataOf(namespaceKind), indexNamed, namedByNamespace},
		{metadataOf(podKind), indexStamp, stampedFor},
	} {
		if err := main.IndexField(ctx, index.of, index.name, index.value); err != nil {
			return fmt.Errorf("index %s: %w", index.name, err)
		}
	}
	return nil
}

func claimsOf(obj client.Object) []string {
	o, ok := obj.(policy.Object)
	if !ok {
		return nil
	}
	w := o.Lean()
	var names []string
	if claim := policy.ClaimOf(w, nil); claim.Made() {
		names = append(names, claim.Stack.String())
	}
	if stamp, ok := w.Stamp(); ok {
		names = append(names, stamp.Stack.String())
	}
	return names
}

func namedByNamespace(obj client.Object) []string {
	claim := policy.NamespaceClaim(obj)
	if !claim.Made() {
		return nil
	}
	return []string{claim.Stack.String()}
}

func stampedFor(obj client.Object) []string {
	stamp, _ := policy.StampOf(obj.GetLabels(), nil)
	return []string{stamp.Stack.String()}
}

// copiedFrom names the stack of a copy of its settings in another namespace.
func copiedFrom(obj client.Object) []string {
	stack := types.NamespacedName{Namespace: obj.GetLabels()[obsv1.LabelStackNamespace], Name: obj.GetLabels()[obsv1.LabelStack]}
	if stack.Namespace == obj.GetNamespace() || obj.GetName() != obsv1.SettingsName(stack.Namespace, stack.Name) {
		return nil
	}
	return []string{stack.String()}
}

// WorkloadReader finds workloads, their Namespaces and their Pods in the caches.
type WorkloadReader struct {
	// Main has Namespaces and stamped Pods as metadata; Workloads the lean workloads.
	Main, Workloads client.Reader
	// Watched tells whether the caches hold the objects of a namespace.
	Watched func(namespace string) bool
}

// Concerning lists the workloads that claim a stack or carry its stamp.
func (r *WorkloadReader) Concerning(ctx context.Context, stack types.NamespacedName) ([]*policy.Workload, error) {
	found := map[types.UID]*policy.Workload{}
	collect := func(w *policy.Workload) { found[w.UID] = w }
	if err := r.each(ctx, collect, client.MatchingFields{indexClaims: stack.String()}); err != nil {
		return nil, err
	}
	namespaces := &metav1.PartialObjectMetadataList{}
	namespaces.SetGroupVersionKind(namespaceKind.GroupVersion().WithKind("NamespaceList"))
	if err := r.Main.List(ctx, namespaces, client.MatchingFields{indexNamed: stack.String()}); err != nil {
		return nil, fmt.Errorf("list Namespaces: %w", err)
	}
	for i := range namespaces.Items {
		if !r.Watched(namespaces.Items[i].Name) {
			continue
		}
		if err := r.each(ctx, collect, client.InNamespace(namespaces.Items[i].Name)); err != nil {
			return nil, err
		}
	}
	all := make([]*policy.Workload, 0, len(found))
	for _, w := range found {
		all = append(all, w)
	}
	return all, nil
}

// InNamespace lists the workloads of a namespace.
func (r *WorkloadReader) InNamespace(ctx context.Context, namespace string) ([]*policy.Workload, error) {
	var all []*policy.Workload
	err := r.each(ctx, func(w *policy.Workload) { all = append(all, w) }, client.InNamespace(namespace))
	return all, err
}

func (r *WorkloadReader) each(ctx context.Context, f func(*policy.Workload), opts ...client.ListOption) error {
	for _, kind := range policy.Kinds {
		list := kind.NewList()
		// Nothing here changes a workload, so none needs a copy of its own.
		if err := r.Workloads.List(ctx, list, append(opts, client.UnsafeDisableDeepCopy)...); err != nil {
			return fmt.Errorf("list %ss: %w", kind.Kind, err)
		}
		list.Each(func(w *policy.Workload) {
			if w.Kind == "" { // as the API server sends the items of a list
				w.SetGroupVersionKind(kind.GroupVersionKind)
			}
			f(w)
		})
	}
	return nil
}

// Claim reads what a workload asks for, and the labels of its Namespace.
func (r *WorkloadReader) Claim(ctx context.Context, w *policy.Workload) (policy.Claim, *metav1.PartialObjectMetadata, error) {
	namespace := metadataOf(namespaceKind)
	err := r.Main.Get(ctx, types.NamespacedName{Name: w.Namespace}, namespace)
	if client.IgnoreNotFound(err) != nil {
		return policy.Claim{}, nil, fmt.Errorf("read Namespace %s: %w", w.Namespace, err)
	}
	return policy.ClaimOf(w, namespace), namespace, nil
}

// Pods lists what the stamped Pods of a stack tell, by "kind namespace/name" of the
// workload to which they belong.
func (r *WorkloadReader) Pods(ctx context.Context, stack types.NamespacedName) (map[string][]policy.Pod, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(podKind.GroupVersion().WithKind("PodList"))
	err := r.Main.List(ctx, list, client.MatchingFields{indexStamp: stack.String()}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list Pods: %w", err)
	}
	pods := map[string][]policy.Pod{}
	for i := range list.Items {
		pod := &list.Items[i]
		kind, name := policy.OwnerOf(pod)
		owner := kind + " " + pod.Namespace + "/" + name
		pods[owner] = append(pods[owner], policy.Pod{
			Mark: pod.Annotations[obsv1.MarkInjected], Leaving: !pod.DeletionTimestamp.IsZero(),
		})
	}
	return pods, nil
}
