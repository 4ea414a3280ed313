// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// variantStack has projects and variables, admits all, and has a version for each variant.
func variantStack(edit func(*obsv1.ObservabilityStack)) *obsv1.ObservabilityStack {
	stack := stackWith(admitting(obsv1.NamespacesFromAll, nil))
	stack.Spec.Injection.Env = []obsv1.EnvVar{{Name: "FLAGS", Value: "x"}}
	stack.Spec.Sentry = &obsv1.SentrySpec{Projects: []obsv1.SentryProject{{Name: "payments"}, {Name: "basket"}}}
	stack.Status = obsv1.ObservabilityStackStatus{
		ConfigHash: "env", ConfigHashWithoutEnv: "plain", Projects: []obsv1.SentryProjectStatus{
			{Name: "payments", ConfigHash: "payments-env", ConfigHashWithoutEnv: "payments-plain"}, {Name: "basket"},
		},
	}
	if edit != nil {
		edit(stack)
	}
	return stack
}

// Consent to a DSN is none to code: variables may choose what a program loads.
func TestVersionsHoldVariablesWhereTheNamespaceAcceptsThem(t *testing.T) {
	const invalid, unknown = obsv1.ReasonInvalidAnnotation, obsv1.ReasonUnknownSentryProject
	accepts := func(words string) annotations { return annotations{obsv1.AnnotationAccept: words} }
	chooses := func(project string) annotations { return annotations{obsv1.AnnotationSentryProject: project} }
	withVariables := func(stack *obsv1.ObservabilityStack) { stack.Status.ConfigHashWithoutEnv = "" }
	variablesAlone := func(stack *obsv1.ObservabilityStack) { stack.Spec.Environment, stack.Spec.Sentry = "", nil }
	for name, tc := range map[string]struct {
		namespace           string
		meta, own, template annotations
		edit                func(*obsv1.ObservabilityStack)
		want, reason        string
	}{
		"the stack's own namespace":        {namespace: "team", want: "env"},
		"another":                          {namespace: "shop", want: "plain"},
		"another that accepts":             {namespace: "shop", meta: accepts("env"), want: "env"},
		"another that accepts more":        {namespace: "shop", meta: accepts("x, env"), want: "env", reason: invalid},
		"another that accepts what is not": {namespace: "shop", meta: accepts("ENV"), want: "plain", reason: invalid},
		"another that accepts nothing":     {namespace: "shop", meta: accepts(""), want: "plain", reason: invalid},
		"an annotation of the workload":    {namespace: "shop", own: accepts("env"), want: "plain"},
		"a project":                        {namespace: "team", own: chooses("payments"), want: "payments-env"},
		"a project elsewhere":              {namespace: "shop", own: chooses("payments"), want: "payments-plain"},
		"the Pod's project": {
			namespace: "team", own: chooses("basket"), template: chooses("payments"), want: "payments-env",
		},
		"a Namespace's project is nobody's": {namespace: "team", meta: chooses("payments"), want: "env"},
		"a project without a version yet":   {namespace: "team", own: chooses("basket")},
		"an unknown project":                {namespace: "team", own: chooses("Pay ments"), reason: unknown},
		"variables alone":                   {namespace: "team", edit: variablesAlone, want: "env"},
		"variables alone, not accepted":     {namespace: "shop", edit: variablesAlone, reason: obsv1.ReasonNothingToInject},
		"none yet without variables":        {namespace: "shop", edit: withVariables},
	} {
		t.Run(name, func(t *testing.T) {
			stack := variantStack(tc.edit)
			meta := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
				Name: tc.namespace, Annotations: tc.meta, Labels: map[string]string{corev1.LabelMetadataName: tc.namespace},
			}}
			w := workload(KindDeployment, tc.own, tc.template)
			w.Namespace = tc.namespace
			if w.Annotations == nil {
				w.Annotations = annotations{}
			}
			w.Annotations[obsv1.AnnotationStack] = "team/shop"
			change := TemplateChange{Old: &corev1.PodTemplateSpec{}, New: &corev1.PodTemplateSpec{}}
			decision := change.Decide(w, ClaimOf(w, meta), meta.Labels, stack)
			var got string
			if change.Want != nil {
				got = change.Want.ConfigHash
			}
			if got != tc.want || decision.Reason != tc.reason || (decision.Message == "") != (tc.reason == "") {
				t.Errorf("version of a workload = %q, decision %+v, want %q and reason %q", got, decision, tc.want, tc.reason)
			}
			if tc.reason == obsv1.ReasonUnknownSentryProject && !change.Hold {
				t.Error("a mistyped project costs the stamp")
			}
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: w.Annotations}}
			if len(tc.template) > 0 {
				return
			}
			_, stamp := DecidePod(pod, PodClaim(pod, tc.namespace, meta), tc.namespace, meta.Labels, stack)
			if stamp.ConfigHash != tc.want {
				t.Errorf("version of a Pod = %q, want %q", stamp.ConfigHash, tc.want)
			}
		})
	}
}

func TestUnknownSentryProjectsNameThoseThereAre(t *testing.T) {
	claim := named("shop", "shop")
	claim.Variant.Project = "payment"
	if got := decideVariant(claim, variantStack(nil)).Message; !strings.Contains(got, "has basket, payments: write one") {
		t.Errorf("message = %s", got)
	}
	if got := decideVariant(claim, stackWith(nil)).Message; !strings.Contains(got, "is empty: remove the annotation") {
		t.Errorf("message = %s", got)
	}
}

// A Pod with a whole stamp has what that names, whatever its annotations say since.
func TestDecidePodKeepsTheStampOfAProject(t *testing.T) {
	stamp := testStamp
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Labels: stamp.Labels(), Annotations: annotations{obsv1.AnnotationSentryProject: "gone"},
	}}
	meta := &metav1.ObjectMeta{Labels: map[string]string{corev1.LabelMetadataName: "web"}}
	decision, got := DecidePod(pod, PodClaim(pod, "web", meta), "web", meta.Labels, variantStack(nil))
	if !decision.Granted || got.ConfigHash != stamp.ConfigHash {
		t.Errorf("decision = %+v, stamp %+v", decision, got)
	}
}
