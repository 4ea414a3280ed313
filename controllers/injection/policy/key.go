// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Key names a workload, or a Pod that no controller made.
type Key struct {
	Kind string
	types.NamespacedName
}

// String names the workload for people.
func (k Key) String() string { return k.Kind + " " + k.NamespacedName.String() }

// Key of the workload.
func (w *Workload) Key() Key {
	return Key{w.Kind, types.NamespacedName{Namespace: w.Namespace, Name: w.Name}}
}

// String names the workload for people.
func (w *Workload) String() string { return w.Key().String() }

// OwnerOf returns the workload to which a Pod belongs: that whose template it was
// made from, or the Pod itself. A kind that has the name of one of ours in another API group, as
// others have a StatefulSet too, is named with its group.
func OwnerOf(pod *metav1.ObjectMeta) Key {
	key := func(kind, name string) Key {
		return Key{kind, types.NamespacedName{Namespace: pod.Namespace, Name: name}}
	}
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return key(KindPod, pod.Name)
	}
	group, _, _ := strings.Cut(owner.APIVersion, "/")
	// The ReplicaSet of a Deployment is named for it and for the hash of its template.
	if hash := pod.Labels["pod-template-hash"]; owner.Kind == "ReplicaSet" && group == appsv1.GroupName && hash != "" {
		if deployment, ok := strings.CutSuffix(owner.Name, "-"+hash); ok {
			return key(KindDeployment, deployment)
		}
	}
	if kind, err := KindOf(owner.Kind); err == nil && kind.Group != group {
		return key(owner.Kind+"."+group, owner.Name)
	}
	return key(owner.Kind, owner.Name)
}

// MadeFrom reports whether a Pod was made from a revision of its workload's template: that is the
// ReplicaSet of a Deployment, and the ControllerRevision of others, whose name or hash the Pod has.
func MadeFrom(pod, revision *metav1.ObjectMeta) bool {
	if owner := metav1.GetControllerOf(pod); owner != nil && owner.Kind == "ReplicaSet" {
		return owner.Name == revision.Name
	}
	hash := pod.Labels[appsv1.ControllerRevisionHashLabelKey]
	return hash != "" && (hash == revision.Name || hash == revision.Labels[appsv1.ControllerRevisionHashLabelKey])
}

// Reference is what an event about the workload refers to.
func (w *Workload) Reference() *corev1.ObjectReference {
	return &corev1.ObjectReference{
		APIVersion: w.APIVersion, Kind: w.Kind, Namespace: w.Namespace, Name: w.Name, UID: w.UID,
		ResourceVersion: w.ResourceVersion,
	}
}
