// SPDX-License-Identifier: Apache-2.0

// Package settings keeps the settings of stacks by version, and bundles for Python by their
// content: each configuration is an immutable Secret, in the namespace of its stack and in those of
// its workloads, named by the stamps of the workloads. A version belongs to no stack: it is deleted
// when nothing that lives names it.
package settings

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/metadata"
)

// Version names a version of a stack's settings in a namespace.
type Version struct {
	Stack     types.NamespacedName
	Namespace string
	Hash      string
}

// Secret is the name of the version's Secret.
func (v Version) Secret() types.NamespacedName {
	return types.NamespacedName{
		Namespace: v.Namespace, Name: obsv1.SettingsName(v.Stack.Namespace, v.Stack.Name, v.Hash),
	}
}

// hashes is the form of the hash that names a version.
var hashes = regexp.MustCompile(`^[0-9a-f]{32}$`)

// VersionOf reads the labels of a Secret. It is no version if its name says another thing, or if
// obstack would not give such a name.
func VersionOf(secret metav1.Object) (version Version, ok bool) {
	labels := secret.GetLabels()
	version = Version{
		Stack:     types.NamespacedName{Namespace: labels[obsv1.LabelStackNamespace], Name: labels[obsv1.LabelStack]},
		Namespace: secret.GetNamespace(), Hash: labels[obsv1.StampVersion],
	}
	return version, labels[obsv1.LabelManagedBy] == obsv1.ManagedBy &&
		hashes.MatchString(version.Hash) && secret.GetName() == version.Secret().Name
}

// HoldsEnv reports whether a version is for such namespaces alone as accept the variables of
// others' stacks.
func HoldsEnv(secret metav1.Object, version Version) bool {
	_, env := secret.GetLabels()[obsv1.LabelEnv]
	return env && version.Namespace != version.Stack.Namespace
}

// StackOf reads the name of a version's Secret, which may have lost its labels, or be somebody
// else's.
func StackOf(secret metav1.Object) (stack types.NamespacedName, ok bool) {
	parts := strings.Split(secret.GetName(), ".")
	if len(parts) != 4 || parts[0] != "obstack" {
		return stack, false
	}
	return types.NamespacedName{Namespace: parts[1], Name: parts[2]}, true
}

// indexStack finds versions by NAMESPACE/NAME of their stack, which may be gone.
const indexStack = "obstack.dev/settings"

// Index is the index of Secrets by which List finds versions.
func Index() metadata.Index {
	return metadata.Index{Of: metadata.Of(metadata.Secret), Field: indexStack, Values: func(obj client.Object) []string {
		version, ok := VersionOf(obj)
		if !ok {
			return nil
		}
		return []string{version.Stack.String()}
	}}
}

// List lists the versions of a stack from a cache that has the Index; nobody may change them. Those
// in other namespaces may be anybody's: whoever writes Secrets there can make some that look alike.
// The order is that of age.
func List(ctx context.Context, reader client.Reader,
	stack types.NamespacedName) ([]metav1.PartialObjectMetadata, error) {
	list := metadata.ListOf(metadata.Secret)
	err := reader.List(ctx, list, client.MatchingFields{indexStack: stack.String()}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list the versions of the settings: %w", err)
	}
	slices.SortFunc(list.Items, func(a, b metav1.PartialObjectMetadata) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			strings.Compare(a.Namespace+a.Name, b.Namespace+b.Name))
	})
	return list.Items, nil
}
