// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/metadata"
	"obstack.dev/obstack/python"
)

// Bundle is the ConfigMap with the bundle for Python of that hash, which must be carried. It
// belongs to all stacks whose workloads name it, and is found by what it is called.
func Bundle(namespace, hash string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: obsv1.PythonName(hash),
			Labels:      map[string]string{obsv1.LabelManagedBy: obsv1.ManagedBy, obsv1.StampPython: hash},
			Annotations: map[string]string{obsv1.AnnotationContent: hash},
		},
		Immutable: new(true), Data: python.Get(hash),
	}
}

// CurrentBundle is the hash of the bundle that new workloads get.
func CurrentBundle() string { return python.Current() }

// CarriesBundle reports whether the operator has the bundle of that hash.
func CarriesBundle(hash string) bool { return python.Get(hash) != nil }

// BundleOf reads the hash in the name of a ConfigMap with a bundle.
func BundleOf(name string) (hash string, ok bool) {
	hash, ok = strings.CutPrefix(name, obsv1.PythonName(""))
	return hash, ok && hashes.MatchString(hash)
}

// isBundle reports whether a ConfigMap is one that obstack made for a bundle, whatever it holds.
func isBundle(found metav1.Object) bool {
	_, named := BundleOf(found.GetName())
	return named && found.GetLabels()[obsv1.LabelManagedBy] == obsv1.ManagedBy
}

// reconcileBundle looks at one ConfigMap with a bundle.
func (c *Collector) reconcileBundle(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	name := req.NamespacedName
	hash, _ := BundleOf(name.Name)
	found, err := c.cached(ctx, name)
	if found == nil || err != nil || !isBundle(found) || !found.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, err
	}
	used, err := c.Uses.NamesBundle(ctx, name.Namespace, hash)
	if err != nil {
		return ctrl.Result{}, err
	}
	if used || len(c.Wanting(name)) > 0 {
		return ctrl.Result{}, c.mark(ctx, found, "")
	}
	return c.collect(ctx, found, map[string]string{obsv1.StampPython: hash})
}

// Wanting are the stacks whose last pass wanted an object.
func (k *Keeper) Wanting(name types.NamespacedName) (stacks []types.NamespacedName) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for stack, last := range k.wanted {
		if last.objects[name] {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}

// kindOf the object of that name: a bundle, or a version of settings.
func kindOf(name string) schema.GroupVersionKind {
	if _, ok := BundleOf(name); ok {
		return metadata.ConfigMap
	}
	return metadata.Secret
}
