// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
	"obstack.dev/obstack/controllers/metadata"
)

// stamped lists Pods that stand alone, and no workloads.
type stamped struct {
	*shelf
	pods []metav1.PartialObjectMetadata
}

func (s stamped) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	if pods, ok := list.(*metav1.PartialObjectMetadataList); ok && pods.Kind == metadata.ListOf(metadata.Pod).Kind {
		pods.Items = s.pods
	}
	return nil
}

// A Namespace with lone Pods alone has no workload that would lead to the stack.
func TestNamespaceWakesTheStackOfItsLonePods(t *testing.T) {
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "shop"}}
	stamp := policy.Stamp{Stack: client.ObjectKeyFromObject(stack), ConfigHash: "abc"}
	lone := metav1.ObjectMeta{Namespace: "web", Name: "p", Labels: stamp.Labels()}
	reader := stamped{&shelf{stack: stack}, []metav1.PartialObjectMetadata{{ObjectMeta: lone}}}
	i := &Injector{Reader: &Reader{Main: reader, Workloads: reader, Watched: func(string) bool { return true }}}
	revoked := metadata.Of(metadata.Namespace)
	revoked.Name = "web"
	named := metadata.Of(metadata.Namespace)
	named.Name, named.Labels = "new", map[string]string{obsv1.LabelUseStack: "shop", obsv1.LabelUseNamespace: "team"}
	for _, tc := range []struct {
		what      string
		namespace client.Object
		pods      []metav1.PartialObjectMetadata
	}{{"a Pod in it has", revoked, reader.pods}, {"it names while it is empty", named, nil}} {
		reader.pods = tc.pods
		i.Reader.Main = reader
		woken := i.stacksOfNamespace(t.Context(), tc.namespace)
		if len(woken) != 1 || woken[0].NamespacedName != client.ObjectKeyFromObject(stack) {
			t.Errorf("woken = %v, want the stack that %s", woken, tc.what)
		}
	}
}
