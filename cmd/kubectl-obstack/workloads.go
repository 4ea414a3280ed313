// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/metadata"
)

// workloadKind is the kind that somebody means by a word, as kubectl takes it.
func workloadKind(word string) (policy.Kind, bool) {
	short := map[string]string{
		policy.KindDeployment: "deploy", policy.KindStatefulSet: "sts", policy.KindDaemonSet: "ds", policy.KindCronJob: "cj",
	}
	word = strings.ToLower(word)
	for _, kind := range policy.Kinds {
		long := strings.ToLower(kind.Kind)
		if slices.Contains([]string{long, long + "s", short[kind.Kind]}, word) {
			return kind, true
		}
	}
	return policy.Kind{}, false
}

// workloadReader finds the workloads of a stack with the rights of whoever calls.
type workloadReader struct {
	api client.Reader
	now time.Time
	// unread says which of them could not be read, and why.
	unread []string

	namespaces map[string]*metav1.PartialObjectMetadata
}

// observe the workloads that name a stack, and their Pods: those of its own namespace, and of
// others if it admits any.
func (r *workloadReader) observe(ctx context.Context, stack *obsv1.ObservabilityStack) (policy.State, error) {
	state := policy.State{Now: r.now}
	r.namespaces = map[string]*metav1.PartialObjectMetadata{}
	where := stack.Namespace
	if admitsOthers(stack) {
		where = metav1.NamespaceAll
	}
	for _, kind := range policy.Kinds {
		found, err := r.list(ctx, kind, where)
		if apierrors.IsForbidden(err) && where == metav1.NamespaceAll {
			r.unread = append(r.unread, readError(kind.Kind+"s", where, err).Error())
			found, err = r.list(ctx, kind, stack.Namespace)
		}
		if err != nil {
			return state, readError(kind.Kind+"s", stack.Namespace, err)
		}
		for _, w := range found {
			if err := r.add(ctx, &state, stack, w); err != nil {
				return state, err
			}
		}
	}
	return state, r.addPods(ctx, stack, &state)
}

// admitsOthers reports whether workloads of other namespaces may have the settings of a stack.
func admitsOthers(stack *obsv1.ObservabilityStack) bool {
	injection := stack.Spec.Injection
	return injection != nil && injection.Namespaces != nil && injection.Namespaces.From != obsv1.NamespacesFromSame
}

// list the workloads of a kind, as the operator reads them.
func (r *workloadReader) list(ctx context.Context, kind policy.Kind, namespace string) ([]*policy.Workload, error) {
	var found []*policy.Workload
	var wrong error
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	err := each(ctx, r.api, list, func(object client.Object) {
		w, err := asWorkload(object.(*unstructured.Unstructured), kind)
		found, wrong = append(found, w), errors.Join(wrong, err)
	}, client.InNamespace(namespace))
	if err != nil {
		return nil, err
	}
	return found, wrong
}

// asWorkload keeps of an object what the operator reads of it.
func asWorkload(whole *unstructured.Unstructured, kind policy.Kind) (*policy.Workload, error) {
	object := kind.New()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(whole.Object, object); err != nil {
		return nil, fmt.Errorf("read %s %s/%s: %w", kind.Kind, whole.GetNamespace(), whole.GetName(), err)
	}
	return object.Partial(), nil
}

// add a workload to the state if it has to do with the stack.
func (r *workloadReader) add(ctx context.Context, state *policy.State, stack *obsv1.ObservabilityStack,
	w *policy.Workload) error {
	if !w.DeletionTimestamp.IsZero() {
		return nil
	}
	namespace, known := r.namespaces[w.Namespace]
	if !known {
		namespace = metadata.Of(metadata.Namespace)
		if err := r.api.Get(ctx, client.ObjectKey{Name: w.Namespace}, namespace); client.IgnoreNotFound(err) != nil {
			return readError("Namespace "+w.Namespace, metav1.NamespaceAll, err)
		}
		r.namespaces[w.Namespace] = namespace
	}
	state.Add(stack, w, policy.ClaimOf(w, namespace), namespace, nil)
	return nil
}

// addPods gives the candidates their Pods.
func (r *workloadReader) addPods(ctx context.Context, stack *obsv1.ObservabilityStack, state *policy.State) error {
	pods, stamp := map[policy.Key][]policy.Pod{}, policy.Stamp{Stack: client.ObjectKeyFromObject(stack)}.Labels()
	delete(stamp, obsv1.StampVersion)
	var done []string
	for i := range state.Candidates {
		namespace := state.Candidates[i].Namespace
		if slices.Contains(done, namespace) {
			continue
		}
		done = append(done, namespace)
		list := metadata.ListOf(metadata.Pod)
		if err := r.api.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels(stamp)); err != nil {
			return readError("Pods", namespace, err)
		}
		for n := range list.Items {
			pod := &list.Items[n]
			owner := policy.OwnerOf(&pod.ObjectMeta)
			pods[owner] = append(pods[owner], policy.Pod{
				Mark: pod.Annotations[obsv1.MarkInjected], Deleting: !pod.DeletionTimestamp.IsZero(),
			})
		}
	}
	for i := range state.Candidates {
		state.Candidates[i].Pods = pods[state.Candidates[i].Key()]
	}
	return nil
}
