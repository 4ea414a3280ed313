// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

func stackWith(edit func(*obsv1.ObservabilityStack)) *obsv1.ObservabilityStack {
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "shop"}}
	stack.Spec.Environment = "production"
	if edit != nil {
		edit(stack)
	}
	return stack
}

func admitting(from obsv1.NamespacesFrom, labels map[string]string) func(*obsv1.ObservabilityStack) {
	return func(stack *obsv1.ObservabilityStack) {
		namespaces := &obsv1.InjectionNamespaces{From: from}
		if labels != nil {
			namespaces.Selector = &metav1.LabelSelector{MatchLabels: labels}
		}
		stack.Spec.Injection = &obsv1.InjectionSpec{Namespaces: namespaces}
	}
}

func TestDecideIsTwoSided(t *testing.T) {
	shop := map[string]string{"team": "shop"}
	known := map[string]string{corev1.LabelMetadataName: "web"}
	knownShop := map[string]string{corev1.LabelMetadataName: "web", "team": "shop"}
	invalid := func(stack *obsv1.ObservabilityStack) {
		admitting(obsv1.NamespacesFromSelector, nil)(stack)
		stack.Spec.Injection.Namespaces.Selector = &metav1.LabelSelector{
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "Is"}},
		}
	}
	lacking := func(stack *obsv1.ObservabilityStack) {
		admitting(obsv1.NamespacesFromSelector, nil)(stack)
		stack.Spec.Injection.Namespaces.Selector = &metav1.LabelSelector{
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "secure", Operator: metav1.LabelSelectorOpDoesNotExist}},
		}
	}
	for name, tc := range map[string]struct {
		namespace string
		labels    map[string]string
		stack     *obsv1.ObservabilityStack
		want      string
	}{
		"its own namespace":            {namespace: "team", stack: stackWith(nil)},
		"its own, though not selected": {namespace: "team", stack: stackWith(admitting(obsv1.NamespacesFromSelector, shop))},
		"another namespace":            {namespace: "web", stack: stackWith(nil), want: obsv1.ReasonNamespaceNotAdmitted},
		"another, from Same": {
			namespace: "web", stack: stackWith(admitting(obsv1.NamespacesFromSame, nil)), want: obsv1.ReasonNamespaceNotAdmitted,
		},
		"another, from All": {namespace: "web", labels: known, stack: stackWith(admitting(obsv1.NamespacesFromAll, nil))},
		"another, selected": {
			namespace: "web", labels: knownShop, stack: stackWith(admitting(obsv1.NamespacesFromSelector, shop)),
		},
		"another, not selected": {
			namespace: "web", labels: known,
			stack: stackWith(admitting(obsv1.NamespacesFromSelector, shop)),
			want:  obsv1.ReasonNamespaceNotAdmitted,
		},
		"a selector that is not valid": {
			namespace: "web", labels: knownShop, stack: stackWith(invalid), want: obsv1.ReasonInvalidSelector,
		},
		"one that is not known, from All": {
			namespace: "web", stack: stackWith(admitting(obsv1.NamespacesFromAll, nil)), want: obsv1.ReasonNamespaceNotAdmitted,
		},
		"one that is not known, by what it lacks": {
			namespace: "web", stack: stackWith(lacking), want: obsv1.ReasonNamespaceNotAdmitted,
		},
		"no such stack": {namespace: "team", want: obsv1.ReasonStackNotFound},
		"a stack that is being deleted": {
			namespace: "team",
			stack:     stackWith(func(s *obsv1.ObservabilityStack) { s.DeletionTimestamp = new(metav1.Now()) }),
			want:      obsv1.ReasonStackNotFound,
		},
		"a stack without settings": {
			namespace: "team",
			stack:     stackWith(func(s *obsv1.ObservabilityStack) { s.Spec.Environment = "" }),
			want:      obsv1.ReasonNothingToInject,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Decide(named("team", "shop"), tc.namespace, tc.labels, tc.stack)
			if got.Granted != (tc.want == "") || got.Reason != tc.want || got.Granted == (got.Message != "") {
				t.Errorf("decision = %+v, want the reason %q", got, tc.want)
			}
		})
	}
}

// What was granted holds until the stack says no: nothing is taken from Pods by accident.
func TestDecidePodHoldsUntilConsentIsRevoked(t *testing.T) {
	known := map[string]string{corev1.LabelMetadataName: "web"}
	mistyped := stackWith(admitting(obsv1.NamespacesFromSelector, nil))
	mistyped.Spec.Injection.Namespaces.Selector = &metav1.LabelSelector{
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "in"}},
	}
	empty := stackWith(admitting(obsv1.NamespacesFromAll, nil))
	empty.Spec.Environment = ""
	for name, tc := range map[string]struct {
		stack *obsv1.ObservabilityStack
		want  string
	}{
		"admitted":                 {stack: stackWith(admitting(obsv1.NamespacesFromAll, nil))},
		"the stack is gone":        {},
		"its last setting is gone": {stack: empty},
		"its selector is mistyped": {stack: mistyped},
		"revoked":                  {stack: stackWith(nil), want: obsv1.ReasonNamespaceNotAdmitted},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: testStamp.Labels()}}
			got, stamp := DecidePod(pod, PodClaim(pod, "web", &metav1.ObjectMeta{Labels: known}), "web", known, tc.stack)
			if got.Granted && stamp != testStamp {
				t.Errorf("stamp = %+v, want that of the Pod", stamp)
			}
			if got.Granted != (tc.want == "") || got.Reason != tc.want {
				t.Errorf("decision = %+v, want the reason %q", got, tc.want)
			}
		})
	}
}

func TestCheckNamesUnknownContainers(t *testing.T) {
	granted := Decision{Granted: true}
	have := []string{"web", "api"}
	for name, tc := range map[string]struct {
		chosen  []string
		granted bool
		want    string
	}{
		"all":         {granted: true},
		"one of them": {chosen: []string{"api"}, granted: true},
		"one of them is not there": {chosen: []string{"api", "worker"}, granted: true,
			want: "there is no container worker; the containers are api, web"},
		"all, sidecars too": {chosen: []string{"*"}, granted: true},
		"none is there":     {chosen: []string{"worker"}, want: "there is no container worker"},
	} {
		t.Run(name, func(t *testing.T) {
			got := granted.Check(Claim{Containers: tc.chosen}, have)
			if got.Granted != tc.granted || !strings.Contains(got.Message, tc.want) || (tc.want == "") != (got.Reason == "") {
				t.Errorf("decision = %+v", got)
			}
		})
	}
	if refused := (Decision{Reason: "No"}).Check(Claim{Containers: []string{"worker"}}, have); refused.Reason != "No" {
		t.Errorf("a refusal for another reason became %+v", refused)
	}
}
