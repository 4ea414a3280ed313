// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// holder has the template where Path says.
type holder struct {
	Template *corev1.PodTemplateSpec `json:"template"`
}

func template(image string, stamp *Stamp) *corev1.PodTemplateSpec {
	tpl := &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "shop"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "api", Image: image}}},
	}
	if stamp != nil {
		maps.Copy(tpl.Labels, stamp.Labels())
		tpl.Annotations = stamp.Annotations()
	}
	return tpl
}

func TestTemplatePatch(t *testing.T) {
	old := &Stamp{Stack: named("team", "shop").Stack, ConfigHash: "old", Containers: "api", Attempt: 2}
	want := &Stamp{Stack: named("team", "shop").Stack, ConfigHash: "new"}
	retried := &Stamp{Stack: want.Stack, ConfigHash: "new", Attempt: 1}
	halfDropped := template("shop:1", old)
	halfDropped.Annotations = nil
	for name, tc := range map[string]struct {
		before, after *corev1.PodTemplateSpec
		want          *Stamp
		claimed, hold bool
		stamp         *Stamp
	}{
		"created and granted":                      {after: template("shop:1", nil), want: want, stamp: want},
		"created with another's stamp":             {after: template("shop:1", old), want: want, stamp: want},
		"created with a stamp that is not granted": {after: template("shop:1", old)},
		"created, granted nothing":                 {after: template("shop:1", nil)},
		"changed by its owner": {
			before: template("shop:1", old), after: template("shop:2", old), want: want, stamp: want,
		},
		"changed by its owner, who drops the stamp": {
			before: template("shop:1", old), after: template("shop:2", nil), want: want, stamp: want,
		},
		"changed by its owner, granted no more": {before: template("shop:1", old), after: template("shop:2", old)},
		"replaced without the stamp": {
			before: template("shop:1", old), after: template("shop:1", nil), want: want, stamp: old,
		},
		"replaced with half of the stamp": {
			before: template("shop:1", old), after: halfDropped, want: want, stamp: old,
		},
		"untouched": {
			before: template("shop:1", old), after: template("shop:1", old), want: want, stamp: old,
		},
		"dropped by its owner while the stack is gone": {
			before: template("shop:1", old), after: template("shop:1", nil), claimed: true, stamp: old,
		},
		"an older stamp from Git": {
			before: template("shop:1", want), after: template("shop:1", old), want: want, stamp: want,
		},
		"an older stamp from Git, where the operator retried": {
			before: template("shop:1", retried), after: template("shop:1", old), want: want, stamp: retried,
		},
		"the wanted stamp from Git, where the operator retried": {
			before: template("shop:1", retried), after: template("shop:1", want), want: want, stamp: retried,
		},
		"a stamp from Git that is not granted": {
			before: template("shop:1", nil), after: template("shop:1", old), claimed: true,
		},
		"a stamp from Git that is not the one to come": {
			before: template("shop:1", nil), after: template("shop:1", old), want: want,
		},
		"changed by its owner, and nobody can say": {
			before: template("shop:1", old), after: template("shop:2", nil), hold: true, stamp: old,
		},
		"created, and nobody can say": {after: template("shop:1", old), hold: true, stamp: old},
		"annotated, template untouched": {
			before: template("shop:1", nil), after: template("shop:1", nil), want: want,
		},
		"stamped by the controller": {
			before: template("shop:1", old), after: template("shop:1", want), want: want, stamp: want,
		},
		"stamped by the controller for the first time": {
			before: template("shop:1", nil), after: template("shop:1", want), want: want, stamp: want,
		},
		"released by the controller": {before: template("shop:1", old), after: template("shop:1", nil)},
		"annotation removed, left to the controller": {
			before: template("shop:1", old), after: template("shop:1", old), stamp: old,
		},
		"changed by its owner, where the operator retried": {
			before: template("shop:1", retried), after: template("shop:2", retried), want: want, stamp: retried,
		},
		// What another webhook adds later looks like a change.
		"replaced without the stamp, where the operator retried": {
			before: template("shop:2", retried), after: template("shop:1", nil), want: want, stamp: retried,
		},
		"rolled back to a template with an older stamp": {
			before: template("shop:2", want), after: template("shop:1", old), want: want, stamp: want,
		},
		"rolled back to a template that was never stamped": {
			before: template("shop:2", want), after: template("shop:1", nil), want: want, stamp: want,
		},
	} {
		t.Run(name, func(t *testing.T) {
			change := TemplateChange{
				Path: "/template", Old: tc.before, New: tc.after, Want: tc.want, Claimed: tc.claimed, Hold: tc.hold,
			}
			ops := TemplatePatch(change)
			got := patched(t, &holder{tc.after}, ops).Template
			stamp, ok := StampOf(got.Labels, got.Annotations)
			if ok != (tc.stamp != nil) {
				t.Fatalf("stamp = %+v, want %+v", stamp, tc.stamp)
			}
			if tc.stamp != nil {
				if diff := cmp.Diff(*tc.stamp, stamp); diff != "" {
					t.Errorf("stamp (-want +got):\n%s", diff)
				}
			}
			if got.Labels["app"] != "shop" || got.Spec.Containers[0].Image != tc.after.Spec.Containers[0].Image {
				t.Errorf("the owner's own fields became %+v", got)
			}
			// The API server may call again, with what came of the first time.
			change.New = got
			if again := TemplatePatch(change); len(again) > 0 {
				t.Errorf("repeated on its own result it does %+v", again)
			}
		})
	}
}

func TestTemplatePatchOfATemplateWithoutMetadata(t *testing.T) {
	want := Stamp{Stack: named("team", "shop").Stack, ConfigHash: "new"}
	bare := &corev1.PodTemplateSpec{}
	got := patched(t, &holder{bare}, TemplatePatch(TemplateChange{Path: "/template", New: bare, Want: &want})).Template
	if stamp, _ := StampOf(got.Labels, got.Annotations); stamp != want {
		t.Errorf("stamp = %+v, want %+v", stamp, want)
	}
}

// kubectl says that it rolled back, though the revision before differs in the settings alone.
func TestTemplateChangeWarnsOfAnUndoInVain(t *testing.T) {
	stack := stackWith(func(stack *obsv1.ObservabilityStack) {
		stack.Status.ConfigHash, stack.Status.ConfigHashWithoutEnv = "new", "new"
	})
	of := func(hash string) *Stamp { return &Stamp{Stack: named("team", "shop").Stack, ConfigHash: hash} }
	for name, tc := range map[string]struct {
		before, after *corev1.PodTemplateSpec
		want          bool
	}{
		"created":                 {after: template("shop:1", of("old"))},
		"untouched":               {before: template("shop:1", of("old")), after: template("shop:1", of("old"))},
		"dropped":                 {before: template("shop:1", of("new")), after: template("shop:1", nil)},
		"brought to the new one":  {before: template("shop:1", of("old")), after: template("shop:1", of("new"))},
		"undone to another image": {before: template("shop:2", of("new")), after: template("shop:1", of("old"))},
		"undone": {
			before: template("shop:1", of("new")), after: template("shop:1", of("old")), want: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := workload(KindDeployment, nil, nil)
			w.Namespace = stack.Namespace
			change := TemplateChange{Path: "/template", Old: tc.before, New: tc.after}
			decision := change.Decide(w, named("team", "shop"), nil, stack)
			if got := strings.Contains(decision.Message, "--to-revision"); got != tc.want {
				t.Errorf("message %q, want advice: %v", decision.Message, tc.want)
			}
		})
	}
}
