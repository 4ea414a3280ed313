// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

type annotations = map[string]string

// workload of a kind in the namespace "shop", with annotations of its own and of its template.
func workload(kind string, own, template annotations) *Workload {
	w := &Workload{}
	w.Kind, w.Namespace, w.Name, w.Annotations = kind, "shop", "api", own
	w.Spec.Template = &Template{Metadata: TemplateMeta{Annotations: template}}
	return w
}

func namespaceMeta(labels map[string]string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: labels}}
}

// named is the claim of something in the namespace shop.
func named(namespace, name string) Claim {
	return Claim{
		Stack: types.NamespacedName{Namespace: namespace, Name: name}, Variant: Variant{Env: namespace == "shop"},
		Python: namespace == "shop",
	}
}

// withoutPython is the claim of a Pod that does not ask for it.
func withoutPython(claim Claim) Claim {
	claim.Python = false
	return claim
}

func TestClaimOfPrecedence(t *testing.T) {
	on := func(stack string) annotations { return annotations{obsv1.AnnotationStack: stack} }
	uses := func(stack string) annotations { return annotations{obsv1.LabelUseStack: stack} }
	inherited := func(claim Claim) Claim {
		claim.Inherited = true
		return claim
	}
	optOut := annotations{obsv1.AnnotationInject: "false"}
	for name, tc := range map[string]struct {
		template, own, namespace annotations
		want                     Claim
	}{
		"nothing":         {},
		"the Namespace's": {namespace: uses("ns"), want: inherited(named("shop", "ns"))},
		"the Namespace's, of another's stack": {
			namespace: annotations{obsv1.LabelUseStack: "ns", obsv1.LabelUseNamespace: "team"},
			want:      inherited(named("team", "ns")),
		},
		"annotations of the Namespace are nobody's": {namespace: on("ns")},
		"the workload's over the Namespace's":       {own: on("own"), namespace: uses("ns"), want: named("shop", "own")},
		"the Pod's over the workload's": {
			template: on("pod"), own: on("own"), namespace: uses("ns"), want: named("shop", "pod"),
		},
		"another namespace's stack":         {own: on("team/own"), want: named("team", "own")},
		"opted out by the workload":         {own: optOut, namespace: uses("ns")},
		"opted out by the Pod":              {template: optOut, own: on("own")},
		"opted out though the Pod asks":     {template: on("pod"), own: optOut},
		"an opt-out is not the Namespace's": {own: on("own"), namespace: optOut, want: named("shop", "own")},
		"opted in": {
			own: annotations{obsv1.AnnotationStack: "own", obsv1.AnnotationInject: "true"}, want: named("shop", "own"),
		},
		"containers of the Namespace are nobody's": {
			own: on("own"), namespace: annotations{obsv1.AnnotationContainers: "api"}, want: named("shop", "own"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := ClaimOf(workload(KindDeployment, tc.own, tc.template), namespaceMeta(tc.namespace))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("claim (-want +got):\n%s", diff)
			}
		})
	}
}

func TestClaimOfWhatIsNoWorkloadOfItsOwn(t *testing.T) {
	own := annotations{obsv1.AnnotationStack: "shop"}
	ours := workload(KindDeployment, own, nil)
	ours.Labels = map[string]string{obsv1.LabelManagedBy: obsv1.ManagedBy}
	controlled := workload(KindJob, own, nil)
	controlled.OwnerReferences = []metav1.OwnerReference{{Kind: KindCronJob, Name: "nightly", Controller: new(true)}}
	finished := workload(KindJob, own, nil)
	finished.Status.Conditions = []Condition{{Type: "Complete", Status: corev1.ConditionTrue}}
	for name, w := range map[string]*Workload{
		"an exporter of ours": ours, "a Job of a CronJob": controlled, "a finished Job": finished,
	} {
		if claim := ClaimOf(w, nil); claim.Made() {
			t.Errorf("%s claims %v", name, claim.Stack)
		}
	}
}

func TestClaimOfExplainsWrongAnnotations(t *testing.T) {
	for name, tc := range map[string]struct {
		annotation, value, want string
	}{
		"empty":                {obsv1.AnnotationStack, "", `"" is not accepted: write the NAME of an ObservabilityStack`},
		"blank":                {obsv1.AnnotationStack, " ", "write the NAME"},
		"three parts":          {obsv1.AnnotationStack, "a/b/c", "or NAMESPACE/NAME"},
		"no name":              {obsv1.AnnotationStack, "shop/", "or NAMESPACE/NAME"},
		"upper case":           {obsv1.AnnotationStack, "Shop", "write the NAME"},
		"10 kB":                {obsv1.AnnotationStack, strings.Repeat("x", 10_000), "x...\" is not accepted"},
		"line breaks":          {obsv1.AnnotationStack, "shop\nshop", `"shop\nshop" is not accepted`},
		"opt-out, misspelt":    {obsv1.AnnotationInject, "no", `write "false" to opt out`},
		"no container":         {obsv1.AnnotationContainers, "", "write the names of containers"},
		"containers, unclosed": {obsv1.AnnotationContainers, "api,", "write the names of containers"},
		"too many containers":  {obsv1.AnnotationContainers, manyNames, "write less than 16384 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			given := annotations{obsv1.AnnotationStack: "shop"}
			given[tc.annotation] = tc.value
			got := ClaimOf(workload(KindDeployment, given, nil), nil)
			if got.Made() || !strings.Contains(got.Problem, tc.want) ||
				!strings.Contains(got.Problem, tc.annotation) || len(got.Problem) > 300 {
				t.Errorf("claim = %+v, want the problem %q", got, tc.want)
			}
		})
	}
}

// manyNames are more than is kept of an annotation, and end with the first by name.
var manyNames = strings.Repeat("worker,", 3000) + "api"

// What the cache keeps of a workload asks for the same as what the webhook sees: by another choice,
// each would undo what the other did.
func TestClaimOfIsThatOfWhatIsKept(t *testing.T) {
	for name, containers := range map[string]string{
		"a choice": "worker,api", "as many as are kept": strings.Repeat("worker,", 2000) + "api", "more": manyNames,
	} {
		full := workload(KindDeployment, annotations{
			obsv1.AnnotationStack: "shop", obsv1.AnnotationContainers: containers,
		}, nil)
		kept := full.DeepCopy()
		kept.Keep()
		if diff := cmp.Diff(ClaimOf(full, nil), ClaimOf(kept, nil)); diff != "" {
			t.Errorf("%s (-seen +kept):\n%s", name, diff)
		}
	}
}

func TestClaimOfSortsContainers(t *testing.T) {
	got := ClaimOf(workload(KindDeployment,
		annotations{obsv1.AnnotationStack: "shop", obsv1.AnnotationContainers: "worker, api,api"}, nil), nil)
	if diff := cmp.Diff([]string{"api", "worker"}, got.Containers); diff != "" {
		t.Errorf("containers (-want +got):\n%s", diff)
	}
}

func TestPodClaim(t *testing.T) {
	stamped := map[string]string{obsv1.StampStack: "shop", obsv1.StampNamespace: "team"}
	for name, tc := range map[string]struct {
		labels, annotations map[string]string
		want                Claim
	}{
		"nothing":   {},
		"stamped":   {labels: stamped, want: named("team", "shop")},
		"annotated": {annotations: annotations{obsv1.AnnotationStack: "own"}, want: withoutPython(named("shop", "own"))},
		"stamped, and annotated since for another stack": {
			labels: stamped, annotations: annotations{obsv1.AnnotationStack: "own"},
		},
		"stamped and opted out": {labels: stamped, annotations: annotations{obsv1.AnnotationInject: "false"}},
		"stamped with a choice": {
			labels:      stamped,
			annotations: annotations{obsv1.StampContainers: "api"},
			want:        Claim{Stack: named("team", "shop").Stack, Containers: []string{"api"}},
		},
		"the Pod's choice": {
			labels:      stamped,
			annotations: annotations{obsv1.StampContainers: "api", obsv1.AnnotationContainers: "web"},
			want:        Claim{Stack: named("team", "shop").Stack, Containers: []string{"web"}},
		},
		"labelled by hand": {
			labels: map[string]string{obsv1.StampStack: "own"}, want: withoutPython(named("shop", "own")),
		},
		"half a stamp names nobody": {labels: map[string]string{obsv1.StampNamespace: "team"}},
		"a mirror": {labels: stamped, annotations: annotations{
			obsv1.AnnotationStack: "team/shop", corev1.MirrorPodAnnotationKey: "7c9d",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: tc.labels, Annotations: tc.annotations}}
			if diff := cmp.Diff(tc.want, PodClaim(pod, "shop", &metav1.ObjectMeta{})); diff != "" {
				t.Errorf("claim (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzClaim(f *testing.F) {
	f.Add("shop", "false", "api,worker")
	f.Add("team/shop", "true", "")
	f.Add("a/b/c", "", ",")
	f.Fuzz(func(t *testing.T, stack, inject, containers string) {
		given := annotations{
			obsv1.AnnotationStack: stack, obsv1.AnnotationInject: inject, obsv1.AnnotationContainers: containers,
		}
		claim := ClaimOf(workload(KindDeployment, given, nil), nil)
		if claim.Made() && claim.Problem != "" || len(claim.Problem) > 1000 {
			t.Errorf("claim = %+v", claim)
		}
		if claim.Made() && inject == "false" {
			t.Error("opted out and claimed all the same")
		}
	})
}
