// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"fmt"

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
	"obstack.dev/obstack/controllers/metadata"
)

// Cached is what the manager's cache keeps of the kinds that injection reads as metadata.
func Cached() map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		metadata.Of(metadata.Namespace): {Label: labels.Everything(), Transform: keepNamespace},
		metadata.Of(metadata.Pod):       stampedPods(),
	}
}

// newWorkloadCache caches every workload of the cluster but our own, or of the
// namespaces that are watched, by the partial types of package
func newWorkloadCache(mgr ctrl.Manager, namespaces map[string]cache.Config) (cache.Cache, error) {
	unmanaged, err := labels.NewRequirement(obsv1.LabelManagedBy, selection.NotEquals, []string{obsv1.ManagedBy})
	utilruntime.Must(err) // The label is a constant.
	// The partial types have no protobuf.
	config := rest.CopyConfig(mgr.GetConfig())
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	options := cache.Options{
		Scheme: policy.Scheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient(),
		DefaultNamespaces: namespaces, ByObject: map[client.Object]cache.ByObject{}, ReaderFailOnMissingInformer: true,
	}
	for _, kind := range policy.Kinds {
		options.ByObject[kind.New()] = cache.ByObject{
			Label: labels.NewSelector().Add(*unmanaged), Transform: keepPartial(kind),
		}
	}
	workloads, err := cache.New(config, options)
	if err != nil {
		return nil, fmt.Errorf("make the cache of workloads: %w", err)
	}
	return workloads, mgr.Add(workloads)
}

func keepPartial(kind policy.Kind) func(any) (any, error) {
	var meta metav1.TypeMeta // Made once, so that all share its strings.
	meta.SetGroupVersionKind(kind.GroupVersionKind)
	return func(obj any) (any, error) {
		if o, ok := obj.(policy.Object); ok {
			w := o.Partial()
			w.TypeMeta = meta
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

// keepPod keeps of a Pod to whom it belongs, what it runs and since when.
func keepPod(obj any) (any, error) {
	full, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return obj, nil
	}
	kept, _ := metadata.KeepName(obj)
	pod := kept.(*metav1.PartialObjectMetadata)
	pod.Labels, pod.Annotations, pod.OwnerReferences = full.Labels, policy.OnlyOurs(full.Annotations), full.OwnerReferences
	pod.CreationTimestamp = full.CreationTimestamp
	return pod, nil
}

// keepNamespace keeps of a Namespace what consent and precedence ask for.
func keepNamespace(obj any) (any, error) {
	full, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return obj, nil
	}
	kept, _ := metadata.KeepName(obj)
	namespace := kept.(*metav1.PartialObjectMetadata)
	namespace.Labels, namespace.Annotations = full.Labels, policy.OnlyOurs(full.Annotations)
	return namespace, nil
}

// The indexes by which everything that concerns a stack is found. Their values
// are NAMESPACE/NAME of the stack.
const (
	indexClaims = "obstack.dev/claims" // of workloads, by their own annotations and stamp
	indexNamed  = "obstack.dev/named"  // of Namespaces, by the labels that name a stack
	indexStamp  = "obstack.dev/stamp"  // of Pods
)

// stacksOf are the stacks that an object concerns.
type stacksOf func(client.Object) []types.NamespacedName

// index makes an index of the stacks that objects concern.
func index(of client.Object, field string, stacks stacksOf) metadata.Index {
	return metadata.Index{Of: of, Field: field, Values: func(obj client.Object) []string {
		var names []string
		for _, stack := range stacks(obj) {
			names = append(names, stack.String())
		}
		return names
	}}
}

// Indexes of the manager's cache.
func Indexes() []metadata.Index {
	return []metadata.Index{
		index(metadata.Of(metadata.Namespace), indexNamed, namedByNamespace),
		index(metadata.Of(metadata.Pod), indexStamp, stampedFor),
	}
}

// WorkloadIndexes are the indexes of the cache of workloads.
func WorkloadIndexes() []metadata.Index {
	var indexes []metadata.Index
	for _, kind := range policy.Kinds {
		indexes = append(indexes, index(kind.New(), indexClaims, claimedBy))
	}
	return indexes
}

func claimedBy(obj client.Object) []types.NamespacedName {
	w := partial(obj)
	var stacks []types.NamespacedName
	if claim := policy.ClaimOf(w, nil); claim.Made() {
		stacks = append(stacks, claim.Stack)
	}
	if stamp, ok := w.Stamp(); ok {
		stacks = append(stacks, stamp.Stack)
	}
	return stacks
}

func namedByNamespace(obj client.Object) []types.NamespacedName {
	claim := policy.NamespaceClaim(obj)
	if !claim.Made() {
		return nil
	}
	return []types.NamespacedName{claim.Stack}
}

func stampedFor(obj client.Object) []types.NamespacedName {
	stamp, _ := policy.StampOf(obj.GetLabels(), nil)
	return []types.NamespacedName{stamp.Stack}
}
