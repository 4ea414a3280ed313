// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The kinds of workloads whose templates are stamped.
const (
	KindDeployment  = "Deployment"
	KindStatefulSet = "StatefulSet"
	KindDaemonSet   = "DaemonSet"
	KindJob         = "Job"
	KindCronJob     = "CronJob"
)

// KindPod is the kind of a Pod that no controller made.
const KindPod = "Pod"

// Object is a Workload of some kind, for the cache and the client.
type Object interface {
	client.Object
	// Partial returns the workload.
	Partial() *Workload
}

// List is a list of Objects.
type List interface {
	client.ObjectList
	// Each calls f with each workload.
	Each(f func(*Workload))
}

// Kind is one kind of workloads.
type Kind struct {
	schema.GroupVersionKind
	// New and NewList make an empty object and an empty list.
	New     func() Object
	NewList func() List
}

// Kinds are all of them.
var Kinds = []Kind{
	kind[deployment](appsv1.SchemeGroupVersion.WithKind(KindDeployment)),
	kind[statefulSet](appsv1.SchemeGroupVersion.WithKind(KindStatefulSet)),
	kind[daemonSet](appsv1.SchemeGroupVersion.WithKind(KindDaemonSet)),
	kind[job](batchv1.SchemeGroupVersion.WithKind(KindJob)),
	kind[cronJob](batchv1.SchemeGroupVersion.WithKind(KindCronJob)),
}

// KindOf returns the kind of that name.
func KindOf(name string) (Kind, error) {
	for _, k := range Kinds {
		if k.Kind == name {
			return k, nil
		}
	}
	return Kind{}, fmt.Errorf("%s is no kind of workload that can be injected", name)
}

// Scheme knows the partial types instead of the full ones.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, k := range Kinds {
		scheme.AddKnownTypeWithName(k.GroupVersionKind, k.New())
		scheme.AddKnownTypeWithName(k.GroupVersion().WithKind(k.Kind+"List"), k.NewList())
		metav1.AddToGroupVersion(scheme, k.GroupVersion())
	}
	return scheme
}

// Caches and clients know kinds by their Go types. The fields are the same,
// so the types differ in a parameter alone.
type (
	deployment  struct{}
	statefulSet struct{}
	daemonSet   struct{}
	job         struct{}
	cronJob     struct{}
)

func kind[K any](gvk schema.GroupVersionKind) Kind {
	return Kind{
		GroupVersionKind: gvk,
		New:              func() Object { return &object[K]{} },
		NewList:          func() List { return &list[K]{} },
	}
}

type object[K any] struct {
	Workload
}

func (o *object[K]) Partial() *Workload { return &o.Workload }

// DeepCopyObject implements runtime.Object.
func (o *object[K]) DeepCopyObject() runtime.Object {
	c := &object[K]{}
	o.DeepCopyInto(&c.Workload)
	return c
}

type list[K any] struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []object[K] `json:"items"`
}

func (l *list[K]) Each(f func(*Workload)) {
	for i := range l.Items {
		f(&l.Items[i].Workload)
	}
}

// DeepCopyObject implements runtime.Object.
func (l *list[K]) DeepCopyObject() runtime.Object {
	c := &list[K]{TypeMeta: l.TypeMeta, Items: make([]object[K], len(l.Items))}
	l.ListMeta.DeepCopyInto(&c.ListMeta) //nolint:staticcheck // the list's own DeepCopyInto is another
	for i := range l.Items {
		l.Items[i].DeepCopyInto(&c.Items[i].Workload)
	}
	return c
}
