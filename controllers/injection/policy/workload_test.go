// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// TestKeepLeavesLittleOfWhatDoesNotConcernUs: no map and no slice, of which a
// cluster would have thousands.
func TestKeepLeavesLittleOfWhatDoesNotConcernUs(t *testing.T) {
	w := &Workload{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "team", Name: "shop", UID: "1", ResourceVersion: "2", Generation: 3,
			Labels:        map[string]string{"app": "shop", obsv1.LabelManagedBy: "Helm"},
			Annotations:   map[string]string{"deployment.kubernetes.io/revision": "1"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "helm"}},
		},
		Spec: WorkloadSpec{Template: &Template{
			Metadata: TemplateMeta{Labels: map[string]string{"app": "shop"}},
			Spec:     PodSpec{Containers: []Container{{Name: "api"}}},
		}},
		Status: WorkloadStatus{Conditions: []Condition{{Type: "Available", Status: corev1.ConditionTrue}}},
	}
	w.Keep()
	want := &Workload{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "shop", UID: "1", ResourceVersion: "2", Generation: 3},
	}
	if diff := cmp.Diff(want, w); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

func TestOnlyOursBoundsWhatAnybodyMayWrite(t *testing.T) {
	got := OnlyOurs(map[string]string{
		"obstack.dev/of-my-own": "x", "inject.obstack.dev/of-my-own": "x",
		obsv1.AnnotationStack: "shop", obsv1.AnnotationContainers: strings.Repeat("a,", 100_000),
	})
	if len(got) != 2 || got[obsv1.AnnotationStack] != "shop" || len(got[obsv1.AnnotationContainers]) != maxValue {
		t.Errorf("kept %d annotations, of the list of containers %d bytes", len(got), len(got[obsv1.AnnotationContainers]))
	}
}

// TestKeepLeavesWhatDecisionsLookAt: the label of our own, annotations and stamps.
func TestKeepLeavesWhatDecisionsLookAt(t *testing.T) {
	annotations := map[string]string{obsv1.AnnotationStack: "shop", obsv1.AnnotationContainers: "api"}
	w := &Workload{
		ObjectMeta: metav1.ObjectMeta{
			Labels: map[string]string{obsv1.LabelManagedBy: obsv1.ManagedBy, "app": "shop"}, Annotations: annotations,
		},
		Spec: WorkloadSpec{Template: &Template{
			Metadata: TemplateMeta{Labels: map[string]string{"app": "shop", obsv1.StampStack: "shop"}},
			Spec:     PodSpec{Containers: []Container{{Name: "api"}}},
		}},
	}
	w.Keep()
	want := &Workload{
		ObjectMeta: metav1.ObjectMeta{
			Labels: map[string]string{obsv1.LabelManagedBy: obsv1.ManagedBy}, Annotations: annotations,
		},
		Spec: WorkloadSpec{Template: &Template{
			Metadata: TemplateMeta{Labels: map[string]string{obsv1.StampStack: "shop"}},
			Spec:     PodSpec{Containers: []Container{{Name: "api"}}},
		}},
	}
	if diff := cmp.Diff(want, w); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}
