// SPDX-License-Identifier: Apache-2.0

package injection

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection/policy"
)

// shelf is a reader of one stack and of the metadata of one object of each other
// kind. It copies what it returns, as a cache does.
type shelf struct {
	client.Reader
	stack *obsv1.ObservabilityStack
	metas map[string]*metav1.PartialObjectMetadata
}

func (s *shelf) Get(_ context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	switch into := obj.(type) {
	case *obsv1.ObservabilityStack:
		if key == client.ObjectKeyFromObject(s.stack) {
			s.stack.DeepCopyInto(into)
			return nil
		}
	case *metav1.PartialObjectMetadata:
		if meta, ok := s.metas[into.Kind]; ok && key == client.ObjectKeyFromObject(meta) {
			meta.DeepCopyInto(into)
			return nil
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{}, key.String())
}

// BenchmarkPodWebhook is the handler with the encoding of its patch, without HTTP.
func BenchmarkPodWebhook(b *testing.B) {
	stack := &obsv1.ObservabilityStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "shop"},
		Spec: obsv1.ObservabilityStackSpec{
			Environment: "production",
			Sentry:      &obsv1.SentrySpec{Release: obsv1.ReleaseFromImage},
		},
		Status: obsv1.ObservabilityStackStatus{ConfigHash: "abc"},
	}
	reader := &shelf{stack: stack, metas: map[string]*metav1.PartialObjectMetadata{
		"Namespace": {
			ObjectMeta: metav1.ObjectMeta{Name: "team", Labels: map[string]string{"kubernetes.io/metadata.name": "team"}},
		},
	}}
	handler := &PodWebhook{&Reader{Main: reader, Watched: func(string) bool { return true }}}
	for _, containers := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("containers=%d", containers), func(b *testing.B) {
			req := podRequest(b, podOf(containers))
			b.ReportAllocs()
			for b.Loop() {
				response := handler.Handle(b.Context(), req)
				if err := response.Complete(req); err != nil {
					b.Fatal(err)
				}
				// For each container its Secret and its release, and the mark of the Pod.
				if got, want := len(response.Patches), 2*containers+1; got != want || len(response.Patch) == 0 {
					b.Fatalf("%d operations, want %d", got, want)
				}
			}
		})
	}
}

// podOf is a stamped Pod with that many containers.
func podOf(containers int) *corev1.Pod {
	stamp := policy.Stamp{
		Stack: types.NamespacedName{Namespace: "team", Name: "shop"}, ConfigHash: "abc", Workload: "shop",
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: stamp.Labels(), Annotations: stamp.Annotations()}}
	for i := range containers {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
			Name: fmt.Sprintf("c%d", i), Image: "shop:1.4.2", Env: []corev1.EnvVar{{Name: "A", Value: "1"}},
			EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{}}},
		})
	}
	return pod
}

func podRequest(t testing.TB, pod *corev1.Pod) admission.Request {
	t.Helper()
	raw, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	return admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		UID: "1", Operation: admissionv1.Create, Namespace: "team", Object: runtime.RawExtension{Raw: raw},
		Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
	}}
}
