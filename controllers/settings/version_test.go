// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// secretOf is a Secret with the labels of a version of the stack shop/shop.
func secretOf(namespace, name, hash string) metav1.PartialObjectMetadata {
	return metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, Labels: map[string]string{
			obsv1.LabelManagedBy: obsv1.ManagedBy, obsv1.LabelStack: "shop", obsv1.LabelStackNamespace: "shop",
			obsv1.StampVersion: hash,
		},
	}}
}

func isVersion(secret *metav1.PartialObjectMetadata) bool {
	_, ok := VersionOf(secret)
	return ok
}

func TestVersionOfBelievesTheNameAndTheLabelsTogether(t *testing.T) {
	const hash = "0123456789abcdef0123456789abcdef"
	want := Version{Stack: types.NamespacedName{Namespace: "shop", Name: "shop"}, Namespace: "web", Hash: hash}
	for name, ok := range map[string]bool{
		"obstack.shop.shop." + hash: true, "obstack.shop.shop.1" + hash[1:]: false, "obstack.shop.other." + hash: false,
		"obstack.shop-tasks-main": false, "mine": false,
	} {
		secret := secretOf("web", name, hash)
		if got, is := VersionOf(&secret); is != ok || is && got != want {
			t.Errorf("%s is a version: %v, %+v, want %v", name, is, got, ok)
		}
		if stack, is := StackOf(&secret); is && stack.Namespace != "shop" {
			t.Errorf("%s is of the stack %s", name, stack)
		}
	}
}

func TestVersionOfKnowsHashesAlone(t *testing.T) {
	const hash = "0123456789abcdef0123456789abcdef"
	for _, wrong := range []string{"0f", "a.b", hash + "0", strings.ToUpper(hash)} {
		if secret := secretOf("web", "obstack.shop.shop."+wrong, wrong); isVersion(&secret) {
			t.Errorf("%s is the hash of a version", wrong)
		}
	}
}

func TestStackOfReadsTheNameAlone(t *testing.T) {
	want := types.NamespacedName{Namespace: "shop", Name: "shop"}
	unlabelled := metav1.ObjectMeta{Name: "obstack.shop.shop.0f"}
	if stack, ok := StackOf(&unlabelled); !ok || stack != want {
		t.Errorf("what lost its labels is of the stack %s, %v", stack, ok)
	}
	for _, name := range []string{"obstack.shop-tasks-main", "mine.a.b.c", "obstack.a.b.c.d"} {
		if stack, ok := StackOf(&metav1.ObjectMeta{Name: name}); ok {
			t.Errorf("%s is of the stack %s", name, stack)
		}
	}
}
