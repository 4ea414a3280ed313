// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func TestRulesAreThoseOfTheMarkers(t *testing.T) {
	byChart, byKustomize := rulesByRole(t, renderChart(t)), rulesByRole(t, kustomize(t, "default"))
	if diff := gocmp.Diff(markerRules(t, "role", "injection_role"), byChart["ClusterRole obstack-manager"]); diff != "" {
		t.Errorf("chart (-markers +chart):\n%s", diff)
	}
	for file, role := range map[string]string{"role": "obstack-manager-role", "injection_role": "obstack-injection-role"} {
		if diff := gocmp.Diff(markerRules(t, file), byKustomize["ClusterRole "+role]); diff != "" {
			t.Errorf("kustomize (-markers +kustomize):\n%s", diff)
		}
	}
}

// Whoever does not want injection does not grant what it needs.
func TestWithoutInjectionTheRightsForItAreNotGranted(t *testing.T) {
	for name, args := range map[string][]string{
		"everywhere":       {"--set", "injection.enabled=false"},
		"in one namespace": {"--set", "injection.enabled=false,watchNamespaces={team-a}"},
	} {
		byRole := rulesByRole(t, renderChart(t, args...))
		granted := slices.Sorted(
			slices.Values(slices.Concat(byRole["ClusterRole obstack-manager"], byRole["Role team-a/obstack-manager"])))
		if diff := gocmp.Diff(markerRules(t, "role"), granted); diff != "" {
			t.Errorf("%s (-markers +chart):\n%s", name, diff)
		}
		for role, rules := range byRole {
			for _, rule := range rules {
				_, resource, _ := strings.Cut(rule, " ")
				resource, _, _ = strings.Cut(resource, " ")
				if rule == "core pods list []" { // proofs look for exporters and sidecars
					continue
				}
				if slices.Contains([]string{
					"pods", "statefulsets", "daemonsets", "jobs", "cronjobs", "mutatingwebhookconfigurations",
				}, resource) {
					t.Errorf("%s: %s grants %s", name, role, rule)
				}
			}
		}
	}
}

// The operator may change its own certificate and its own webhooks, and nobody else's.
func TestCertificatesGrantLittle(t *testing.T) {
	byRole := rulesByRole(t, renderChart(t, "--set", "fullnameOverride=other"))
	want := map[string][]string{
		"Role obstack-system/other-certificate": {
			"core secrets get []", "core secrets list []", "core secrets update [other-webhook-cert]", "core secrets watch []",
		},
		"ClusterRole other-certificate-authority": {
			"admissionregistration.k8s.io mutatingwebhookconfigurations get []",
			"admissionregistration.k8s.io mutatingwebhookconfigurations list []",
			"admissionregistration.k8s.io mutatingwebhookconfigurations update [other-webhook]",
			"admissionregistration.k8s.io mutatingwebhookconfigurations watch []",
		},
	}
	for role, rules := range want {
		if diff := gocmp.Diff(rules, byRole[role]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", role, diff)
		}
	}
	for _, values := range []string{"webhook.certManager.enabled=true", "webhook.certSecret=mine"} {
		for role := range rulesByRole(t, renderChart(t, "--set", values)) {
			if strings.Contains(role, "certificate") {
				t.Errorf("with %s, there is %s although the operator makes no certificate", values, role)
			}
		}
	}
}

// The two ways to install differ in the names of a few roles and in nothing else.
func TestChartAndKustomizeGrantTheSame(t *testing.T) {
	byChart, byKustomize := rulesByRole(t, renderChart(t)), rulesByRole(t, kustomize(t, "default"))
	// The chart has one role for what kustomize has in two, so that overlays can leave one out.
	const manager, injection = "ClusterRole obstack-manager-role", "ClusterRole obstack-injection-role"
	byKustomize[manager] = slices.Sorted(slices.Values(slices.Concat(byKustomize[manager], byKustomize[injection])))
	delete(byKustomize, injection)
	for inChart, inKustomize := range map[string]string{
		"ClusterRole obstack-manager":                 manager,
		"ClusterRole obstack-certificate-authority":   "ClusterRole obstack-certificate-authority-role",
		"ClusterRole obstack-metrics-reader":          "ClusterRole obstack-metrics-reader",
		"ClusterRole obstack-view":                    "ClusterRole obstack-view",
		"ClusterRole obstack-edit":                    "ClusterRole obstack-edit",
		"ClusterRole obstack-platform-admin":          "ClusterRole obstack-platform-admin",
		"Role obstack-system/obstack-certificate":     "Role obstack-system/obstack-certificate-role",
		"Role obstack-system/obstack-leader-election": "Role obstack-system/obstack-leader-election-role",
	} {
		if diff := gocmp.Diff(byKustomize[inKustomize], byChart[inChart]); diff != "" || len(byChart[inChart]) == 0 {
			t.Errorf("%s (-kustomize +chart):\n%s", inChart, diff)
		}
		delete(byChart, inChart)
		delete(byKustomize, inKustomize)
	}
	if len(byChart) > 0 || len(byKustomize) > 0 {
		t.Errorf("roles of which the other knows nothing: chart %v, kustomize %v", byChart, byKustomize)
	}
}

func TestNamespacedModeGrantsTheSameInFewerPlaces(t *testing.T) {
	byRole := rulesByRole(t, renderChart(t, values("namespaced")))
	cluster := byRole["ClusterRole obstack-manager"]
	for _, rule := range cluster {
		for _, group := range []string{
			"admissionregistration.k8s.io ", "apiextensions.k8s.io ", "authentication.k8s.io ", "authorization.k8s.io ",
			"core namespaces ", "obstack.dev observabilityplatforms", "monitoring.coreos.com prometheuses ",
			"monitoring.coreos.com prometheusagents ", "monitoring.coreos.com thanosrulers ",
		} {
			if strings.HasPrefix(rule, group) {
				rule = ""
			}
		}
		if rule != "" {
			t.Errorf("a rule for the whole cluster: %s", rule)
		}
	}
	for _, name := range []string{"team-a", "team-b"} {
		together := slices.Sorted(slices.Values(slices.Concat(cluster, byRole["Role "+name+"/obstack-manager"])))
		if diff := gocmp.Diff(markerRules(t, "role", "injection_role"), together); diff != "" {
			t.Errorf("%s (-markers +ClusterRole and Role):\n%s", name, diff)
		}
	}
	for role, rules := range byRole {
		for _, rule := range rules {
			if strings.HasPrefix(role, "ClusterRole") && strings.Contains(rule, "secrets") {
				t.Errorf("%s reaches all Secrets: %s", role, rule)
			}
		}
	}
}

// Platforms are no object of a namespace: their credentials are the operator's, and their events in
// the namespace default. Where the operator watches one of these, it has the right there anyway.
func TestNamespacedModeServesPlatforms(t *testing.T) {
	secrets, events := "core secrets get []", []string{"events.k8s.io events create []", "events.k8s.io events patch []"}
	for args, want := range map[string]map[string][]string{
		"":                                       {},
		"--set watchNamespaces={team-a}":         {"obstack-system": {secrets}, "default": events},
		"--set watchNamespaces={team-a,default}": {"obstack-system": {secrets}},
		"--set watchNamespaces={team-a,obstack-system}":         {"default": events},
		"--set watchNamespaces={team-a,obstack-system,default}": {},
		"--set watchNamespaces={team-a} --namespace default":    {"default": append([]string{secrets}, events...)},
	} {
		byRole := rulesByRole(t, renderChart(t, strings.Fields(args)...))
		got := map[string][]string{}
		for role, rules := range byRole {
			if namespace, ok := strings.CutSuffix(role, "/obstack-platform"); ok {
				got[strings.TrimPrefix(namespace, "Role ")] = rules
			}
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", args, diff)
		}
	}
}

func TestOperatorIsBoundToItsOwnRolesOnly(t *testing.T) {
	cases := map[string][]string{
		"default": {
			"ClusterRoleBinding obstack-certificate-authority: ClusterRole obstack-certificate-authority to " +
				"obstack-system/obstack",
			"ClusterRoleBinding obstack-manager: ClusterRole obstack-manager to obstack-system/obstack",
			"RoleBinding obstack-system/obstack-certificate: Role obstack-certificate to obstack-system/obstack",
			"RoleBinding obstack-system/obstack-leader-election: Role obstack-leader-election to obstack-system/obstack",
		},
		"namespaced": {
			"ClusterRoleBinding obstack-certificate-authority: ClusterRole obstack-certificate-authority to " +
				"obstack-system/obstack",
			"ClusterRoleBinding obstack-manager: ClusterRole obstack-manager to obstack-system/obstack",
			"RoleBinding default/obstack-platform: Role obstack-platform to obstack-system/obstack",
			"RoleBinding obstack-system/obstack-certificate: Role obstack-certificate to obstack-system/obstack",
			"RoleBinding obstack-system/obstack-leader-election: Role obstack-leader-election to obstack-system/obstack",
			"RoleBinding obstack-system/obstack-platform: Role obstack-platform to obstack-system/obstack",
			"RoleBinding team-a/obstack-manager: Role obstack-manager to obstack-system/obstack",
			"RoleBinding team-b/obstack-manager: Role obstack-manager to obstack-system/obstack",
		},
		"minimal": nil,
	}
	for name, want := range cases {
		if diff := gocmp.Diff(want, bindings(t, renderChart(t, values(name)))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestRolesForPeopleAreAggregated(t *testing.T) {
	want := map[string][]string{
		"obstack-view": {"aggregate-to-view"},
		"obstack-edit": {"aggregate-to-admin", "aggregate-to-edit"},
	}
	for name, objects := range map[string][]*unstructured.Unstructured{
		"chart": renderChart(t), "kustomize": kustomize(t, "default"),
	} {
		if diff := gocmp.Diff(want, aggregated(objects)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got := aggregated(renderChart(t, values("namespaced"))); len(got) != 0 {
		t.Errorf("rbac.aggregate is false and these are aggregated: %v", got)
	}
}

// markerRules are the rules that controller-gen found in the source and wrote to these files.
func markerRules(t *testing.T, files ...string) []string {
	t.Helper()
	var found []rbacv1.PolicyRule
	for _, file := range files {
		role := &rbacv1.ClusterRole{}
		if err := yaml.UnmarshalStrict(read(t, root+"/config/rbac/"+file+".yaml"), role); err != nil {
			t.Fatal(err)
		}
		found = append(found, role.Rules...)
	}
	return rules(found)
}

// rules writes each grant on a line of its own, so that the same grants compare
// equal however they are grouped.
func rules(from []rbacv1.PolicyRule) []string {
	var lines []string
	for _, rule := range from {
		for _, verb := range rule.Verbs {
			for _, url := range rule.NonResourceURLs {
				lines = append(lines, url+" "+verb)
			}
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					lines = append(lines, fmt.Sprintf("%s %s %s %v", cmp.Or(group, "core"), resource, verb, rule.ResourceNames))
				}
			}
		}
	}
	slices.Sort(lines)
	return lines
}

func rulesByRole(t *testing.T, objects []*unstructured.Unstructured) map[string][]string {
	t.Helper()
	byRole := map[string][]string{}
	for _, object := range slices.Concat(ofKind(objects, "ClusterRole"), ofKind(objects, "Role")) {
		byRole[object.GetKind()+" "+path(object)] = rules(convert[rbacv1.ClusterRole](t, object).Rules)
	}
	return byRole
}

func bindings(t *testing.T, objects []*unstructured.Unstructured) []string {
	t.Helper()
	var lines []string
	for _, object := range slices.Concat(ofKind(objects, "ClusterRoleBinding"), ofKind(objects, "RoleBinding")) {
		binding := convert[rbacv1.ClusterRoleBinding](t, object)
		for _, subject := range binding.Subjects {
			lines = append(lines, fmt.Sprintf("%s %s: %s %s to %s/%s", object.GetKind(), path(object),
				binding.RoleRef.Kind, binding.RoleRef.Name, subject.Namespace, subject.Name))
		}
	}
	slices.Sort(lines)
	return lines
}

// aggregated says, for each role that is added to others, to which.
func aggregated(objects []*unstructured.Unstructured) map[string][]string {
	found := map[string][]string{}
	for _, role := range ofKind(objects, "ClusterRole") {
		for key := range role.GetLabels() {
			if to, ok := strings.CutPrefix(key, "rbac.authorization.k8s.io/"); ok {
				found[role.GetName()] = append(found[role.GetName()], to)
				slices.Sort(found[role.GetName()])
			}
		}
	}
	return found
}

// path is the name of an object, with its namespace if it has one.
func path(object *unstructured.Unstructured) string {
	if object.GetNamespace() == "" {
		return object.GetName()
	}
	return object.GetNamespace() + "/" + object.GetName()
}
