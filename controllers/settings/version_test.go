// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

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

func TestVersionOfBelievesTheNameAndTheLabelsTogether(t *testing.T) {
	want := Version{Stack: types.NamespacedName{Namespace: "shop", Name: "shop"}, Namespace: "web", Hash: "0f"}
	for name, ok := range map[string]bool{
		"obstack.shop.shop.0f": true, "obstack.shop.shop.1f": false, "obstack.shop.other.0f": false,
		"obstack.shop-tasks-main": false, "mine": false,
	} {
		secret := secretOf("web", name, "0f")
		if got, is := VersionOf(&secret); is != ok || is && got != want {
			t.Errorf("%s is a version: %v, %+v, want %v", name, is, got, ok)
		}
		if stack, is := StackOf(&secret); is && stack.Namespace != "shop" {
			t.Errorf("%s is of the stack %s", name, stack)
		}
	}
	unlabelled := metav1.ObjectMeta{Name: "obstack.shop.shop.0f"}
	if stack, ok := StackOf(&unlabelled); !ok || stack != want.Stack {
		t.Errorf("what lost its labels is of the stack %s, %v", stack, ok)
	}
	for _, name := range []string{"obstack.shop-tasks-main", "mine.a.b.c", "obstack.a.b.c.d"} {
		if stack, ok := StackOf(&metav1.ObjectMeta{Name: name}); ok {
			t.Errorf("%s is of the stack %s", name, stack)
		}
	}
}

// listed is a reader that lists these.
type listed struct {
	client.Reader
	items []metav1.PartialObjectMetadata
}

func (l listed) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*metav1.PartialObjectMetadataList).Items = l.items
	return nil
}

// Who may write Secrets in a namespace can make a version there that looks like ours, under a hash
// of their choice. Of equal ones the first keeps its hash, so theirs must not come first.
func TestListHasForgedVersionsLast(t *testing.T) {
	at := func(second int64, secret metav1.PartialObjectMetadata) metav1.PartialObjectMetadata {
		secret.CreationTimestamp = metav1.NewTime(time.Unix(second, 0))
		return secret
	}
	got, err := List(t.Context(), listed{items: []metav1.PartialObjectMetadata{
		at(3, secretOf("web", "obstack.shop.shop.00", "00")),
		at(2, secretOf("zoo", "obstack.shop.shop.0f", "0f")),
		at(9, secretOf("shop", "obstack.shop.shop.0f", "0f")),
	}}, types.NamespacedName{Namespace: "shop", Name: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"shop", "zoo", "web"} {
		if got[i].Namespace != want {
			t.Errorf("version %d is that of %s, want that of %s", i, got[i].Namespace, want)
		}
	}
}
