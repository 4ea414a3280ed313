// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

const injectionCheck = "injection"

// checkInjection says whether what injects settings is there, once, and that of this version.
func checkInjection(in *installation) (findings []DoctorFinding) {
	for _, what := range []string{ofWebhooks, ofMutating} {
		findings = append(findings, in.unread(injectionCheck, what)...)
	}
	if len(findings) > 0 || len(in.operators) == 0 {
		return findings
	}
	served := slices.ContainsFunc(in.operators, func(o operator) bool { return o.servesWebhooks() })
	var policies []string
	for i := range in.operators {
		if policy := in.operators[i].policy(); policy != "" {
			policies = append(policies, policy)
		}
	}
	well := ok(injectionCheck, "settings are not injected")
	if served {
		well = ok(injectionCheck, "settings are injected by webhooks")
	} else if len(policies) > 0 {
		well = ok(injectionCheck, "settings are injected by policies")
	}
	return orOK(append(in.byWebhooks(served), in.byPolicies(policies)...), well)
}

// byWebhooks says what is wrong with those, which an operator serves or not.
func (in *installation) byWebhooks(served bool) (findings []DoctorFinding) {
	if served && len(in.webhooks) == 0 {
		return []DoctorFinding{{Name: injectionCheck, State: StateProblem, Remedy: install,
			Message: "the operator serves webhooks, and no MutatingWebhookConfiguration leads to them"}}
	}
	for _, webhooks := range in.webhooks {
		if !served {
			findings = append(findings, DoctorFinding{Name: injectionCheck, State: StateWarning,
				Message: fmt.Sprintf("MutatingWebhookConfiguration %s leads to webhooks that no operator serves", webhooks.Name),
				Remedy:  "kubectl delete mutatingwebhookconfiguration " + webhooks.Name})
		} else if wrong := wrongWebhooks(webhooks); len(wrong) > 0 {
			findings = append(findings, DoctorFinding{Name: injectionCheck, State: StateProblem, Remedy: install,
				Message: fmt.Sprintf("of MutatingWebhookConfiguration %s, %s", webhooks.Name, some(wrong))})
		}
	}
	return findings
}

// byPolicies says what is wrong with those that operators know of, and which nobody knows of.
func (in *installation) byPolicies(known []string) (findings []DoctorFinding) {
	for _, policy := range known {
		if wrong := in.wrongPolicies(policy); len(wrong) > 0 {
			findings = append(findings, DoctorFinding{Name: injectionCheck, State: StateProblem, Remedy: install,
				Message: "of the policies that inject settings, " + some(wrong)})
		}
	}
	if unknown := in.unknownPolicies(known); len(unknown) > 0 {
		findings = append(findings, DoctorFinding{Name: injectionCheck, State: StateWarning,
			Message: "policies inject settings, and the operator does not know of them: " + some(unknown),
			Remedy:  "write --injection-policy with the name of the one for Pods, or delete them and their bindings"})
	}
	return findings
}

// wrongWebhooks says what is not as in this version.
func wrongWebhooks(live *admissionv1.MutatingWebhookConfiguration) (says []string) {
	wanted := &admissionv1.MutatingWebhookConfiguration{}
	unpack("webhook/manifests.yaml", wanted)
	for _, want := range wanted.Webhooks {
		index := slices.IndexFunc(live.Webhooks, func(w admissionv1.MutatingWebhook) bool { return w.Name == want.Name })
		if index < 0 {
			says = append(says, want.Name+" is missing")
			continue
		}
		found := live.Webhooks[index]
		if found.FailurePolicy == nil || *found.FailurePolicy != admissionv1.Ignore {
			says = append(says, want.Name+" can keep Pods from starting, as its failurePolicy is not Ignore")
		}
		if !equality.Semantic.DeepEqual(want.Rules, found.Rules) ||
			!equality.Semantic.DeepEqual(want.MatchConditions, found.MatchConditions) ||
			!equality.Semantic.DeepDerivative(want.ObjectSelector, found.ObjectSelector) {
			says = append(says, want.Name+" is asked about other requests than in this version")
		}
	}
	return says
}

// wantedPolicies are those of config/injection by name.
func wantedPolicies() map[string]*admissionv1.MutatingAdmissionPolicySpec {
	list := struct {
		Items []struct {
			Kind     string
			Metadata struct{ Name string }
			Spec     json.RawMessage
		}
	}{}
	unpack("injection/policies.yaml", &list)
	wanted := map[string]*admissionv1.MutatingAdmissionPolicySpec{}
	for _, item := range list.Items {
		if item.Kind != "MutatingAdmissionPolicy" {
			continue
		}
		spec := &admissionv1.MutatingAdmissionPolicySpec{}
		utilruntime.Must(json.Unmarshal(item.Spec, spec)) // It is part of this program.
		wanted[item.Metadata.Name] = spec
	}
	return wanted
}

// podsPolicy is the policy of config/injection whose name an operator has in --injection-policy. It
// shows what stands before the names of all.
const podsPolicy = "pods"

// wrongPolicies says what is not as in this version.
func (in *installation) wrongPolicies(known string) (says []string) {
	prefix := strings.TrimSuffix(known, podsPolicy)
	for name, want := range wantedPolicies() {
		live := in.mutating[prefix+name]
		switch {
		case live == nil:
			says = append(says, prefix+name+" is missing")
		case !in.mutatingBound[prefix+name]:
			says = append(says, prefix+name+" has no binding")
		case live.FailurePolicy == nil || *live.FailurePolicy != admissionv1.Ignore:
			says = append(says, prefix+name+" can keep Pods from starting, as its failurePolicy is not Ignore")
		case !equality.Semantic.DeepEqual(want.Variables, live.Variables),
			!equality.Semantic.DeepEqual(want.MatchConditions, live.MatchConditions),
			!equality.Semantic.DeepEqual(want.Mutations, live.Mutations):
			says = append(says, prefix+name+" is not that of this version")
		}
	}
	slices.Sort(says)
	return says
}

// unknownPolicies are those that are not beside any that an operator knows of.
func (in *installation) unknownPolicies(known []string) (names []string) {
	for name := range in.mutating {
		if !slices.ContainsFunc(known, func(policy string) bool {
			return strings.HasPrefix(name, strings.TrimSuffix(policy, podsPolicy))
		}) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// checkBounds says whether a policy bounds what the operator may write.
func checkBounds(in *installation) (findings []DoctorFinding) {
	const name = "admission policy"
	if findings := in.unread(name, ofValidating); findings != nil || len(in.operators) == 0 {
		return findings
	}
	if len(in.validating) == 0 {
		return []DoctorFinding{{Name: name, State: StateWarning,
			Message: "no ValidatingAdmissionPolicy bounds what the operator may write",
			Remedy:  "helm upgrade with admissionPolicy.enabled=true; SECURITY.md says what it keeps the operator from"}}
	}
	wanted := &admissionv1.ValidatingAdmissionPolicy{}
	unpack("policy/policy.yaml", wanted)
	for _, live := range in.validating {
		if !in.validatingBound[live.Name] {
			findings = append(findings, DoctorFinding{Name: name, State: StateProblem,
				Message: fmt.Sprintf("no ValidatingAdmissionPolicyBinding has policy %s deny anything", live.Name),
				Remedy:  install})
		}
		if !equality.Semantic.DeepEqual(wanted.Spec.Validations, live.Spec.Validations) {
			findings = append(findings, DoctorFinding{Name: name, State: StateWarning,
				Message: fmt.Sprintf("ValidatingAdmissionPolicy %s is not that of this version", live.Name), Remedy: install})
		}
	}
	return orOK(findings, ok(name, "a policy bounds what the operator may write"))
}
