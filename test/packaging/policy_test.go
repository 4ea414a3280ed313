// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

const policyKind, bindingKind = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"

// Chart and kustomize differ in the account and in the Secret of the certificate alone.
func TestChartAndKustomizeInstallThePolicyOfTheManifest(t *testing.T) {
	want := &admissionv1.ValidatingAdmissionPolicy{}
	if err := yaml.UnmarshalStrict(read(t, root+"/config/policy/policy.yaml"), want); err != nil {
		t.Fatal(err)
	}
	byKustomize := only[admissionv1.ValidatingAdmissionPolicy](t, kustomize(t, "default"), policyKind)
	if diff := cmp.Diff(want.Spec, byKustomize.Spec); diff != "" {
		t.Errorf("kustomize (-manifest +kustomize):\n%s", diff)
	}
	for args, names := range map[string][2]string{ // of the account and of the certificate's Secret
		"": {"obstack", "obstack-webhook-cert"},
		"serviceAccount.name=other,fullnameOverride=mine":      {"other", "mine-webhook-cert"},
		"serviceAccount.create=false,serviceAccount.name=mine": {"mine", "obstack-webhook-cert"},
		"webhook.certManager.enabled=true":                     {"obstack", ""},
	} {
		objects := renderChart(t, "--set", args)
		got := only[admissionv1.ValidatingAdmissionPolicy](t, objects, policyKind)
		spec := want.Spec.DeepCopy()
		account := "system:serviceaccount:" + namespace + ":" + names[0]
		spec.MatchConditions[0].Expression = "request.userInfo.username == '" + account + "'"
		for i := range spec.Variables {
			if spec.Variables[i].Name == "certificateName" {
				spec.Variables[i].Expression = "'" + names[1] + "'"
			}
		}
		if diff := cmp.Diff(*spec, got.Spec); diff != "" {
			t.Errorf("--set %s (-manifest +chart):\n%s", args, diff)
		}
		binding := only[admissionv1.ValidatingAdmissionPolicyBinding](t, objects, bindingKind)
		if binding.Spec.PolicyName != got.Name || len(binding.Spec.ValidationActions) != 1 ||
			binding.Spec.ValidationActions[0] != admissionv1.Deny {
			t.Errorf("--set %s: the binding is %+v, want one that denies what %s does", args, binding.Spec, got.Name)
		}
	}
	if found := ofKind(renderChart(t, "--set", "admissionPolicy.enabled=false"), policyKind); len(found) > 0 {
		t.Error("the policy is rendered although admissionPolicy.enabled is false")
	}
}

// An overlay that installs into another namespace must not leave the operator unbounded.
func TestPolicyIsAboutTheAccountOfAnyOverlay(t *testing.T) {
	overlay := t.TempDir()
	base, err := filepath.Abs(filepath.Join(root, "config", "default"))
	if err != nil {
		t.Fatal(err)
	}
	if base, err = filepath.Rel(overlay, base); err != nil {
		t.Fatal(err)
	}
	kustomization := "namespace: elsewhere\nresources: [" + base + "]\n"
	if err := os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(kustomization), 0o600); err != nil {
		t.Fatal(err)
	}
	path, err := kustomizePath()
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := output(exec.Command(path, "build", overlay))
	if err != nil {
		t.Fatal(err)
	}
	objects := parse(t, rendered)
	condition := only[admissionv1.ValidatingAdmissionPolicy](t, objects, policyKind).Spec.MatchConditions[0].Expression
	account := only[corev1.ServiceAccount](t, objects, "ServiceAccount")
	_, quoted, _ := strings.Cut(condition, "matches('")
	expression := regexp.MustCompile(strings.TrimSuffix(quoted, "')"))
	for name, want := range map[string]bool{
		"elsewhere:" + account.Name: account.Namespace == "elsewhere",
		"elsewhere:default":         false, "elsewhere:x:" + account.Name: false,
	} {
		if got := expression.MatchString("system:serviceaccount:" + name); got != want {
			t.Errorf("the policy is about %s: %v, want %v", name, got, want)
		}
	}
}

// A right to write that is granted later must not be forgotten here.
func TestPolicyIsAboutAllThatTheRolesLetTheOperatorWrite(t *testing.T) {
	exempt := map[string]bool{
		"leases": true, "events": true, "observabilitystacks/status": true, "observabilityplatforms/status": true,
		"observabilitystacks/finalizers": true,
		"tokenreviews":                   true, "subjectaccessreviews": true,
	}
	writable, bounded := map[string]bool{}, map[string]bool{}
	for _, file := range []string{
		"role", "injection_role", "certificate_role", "certificate_authority_role", "leader_election_role",
	} {
		role := &rbacv1.ClusterRole{}
		if err := yaml.UnmarshalStrict(read(t, root+"/config/rbac/"+file+".yaml"), role); err != nil {
			t.Fatal(err)
		}
		for _, rule := range role.Rules {
			for _, resource := range rule.Resources {
				if !exempt[resource] && slices.ContainsFunc(rule.Verbs, func(verb string) bool {
					return !slices.Contains([]string{"get", "list", "watch"}, verb)
				}) {
					writable[rule.APIGroups[0]+"/"+resource] = true
				}
			}
		}
	}
	policy := only[admissionv1.ValidatingAdmissionPolicy](t, kustomize(t, "default"), policyKind)
	for _, rule := range policy.Spec.MatchConstraints.ResourceRules {
		for _, resource := range rule.Resources {
			bounded[rule.APIGroups[0]+"/"+resource] = true
		}
	}
	if diff := cmp.Diff(writable, bounded); diff != "" {
		t.Errorf("-what the roles let it write +what the policy bounds:\n%s", diff)
	}
}
