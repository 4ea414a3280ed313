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
	want := markerRules(t)
	byChart, byKustomize := rulesByRole(t, renderChart(t)), rulesByRole(t, kustomize(t, "default"))
	if diff := gocmp.Diff(want, byChart["ClusterRole obstack-manager"]); diff != "" {
		t.Errorf("chart (-markers +chart):\n%s", diff)
	}
	if diff := gocmp.Diff(want, byKustomize["ClusterRole obstack-manager-role"]); diff != "" {
		t.Errorf("kustomize (-markers +kustomize):\n%s", diff)
	}
}

// The two ways to install differ in the names of a few roles and in nothing else.
func TestChartAndKustomizeGrantTheSame(t *testing.T) {
	byChart, byKustomize := rulesByRole(t, renderChart(t)), rulesByRole(t, kustomize(t, "default"))
	for inChart, inKustomize := range map[string]string{
		"ClusterRole obstack-manager":                 "ClusterRole obstack-manager-role",
		"ClusterRole obstack-metrics-reader":          "ClusterRole obstack-metrics-reader",
		"ClusterRole obstack-view":                    "ClusterRole obstack-view",
		"ClusterRole obstack-edit":                    "ClusterRole obstack-edit",
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
		for _, group := range []string{"apiextensions.k8s.io ", "authentication.k8s.io ", "authorization.k8s.io "} {
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
		if diff := gocmp.Diff(markerRules(t), together); diff != "" {
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

func TestOperatorIsBoundToItsOwnRolesOnly(t *testing.T) {
	cases := map[string][]string{
		"default": {
			"ClusterRoleBinding obstack-manager: ClusterRole obstack-manager to obstack-system/obstack",
			"RoleBinding obstack-system/obstack-leader-election: Role obstack-leader-election to obstack-system/obstack",
		},
		"namespaced": {
			"ClusterRoleBinding obstack-manager: ClusterRole obstack-manager to obstack-system/obstack",
			"RoleBinding obstack-system/obstack-leader-election: Role obstack-leader-election to obstack-system/obstack",
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
	for name, objects := range map[string][]*unstructured.Unstructured{"chart": renderChart(t), "kustomize": kustomize(t, "default")} {
		if diff := gocmp.Diff(want, aggregated(objects)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got := aggregated(renderChart(t, values("namespaced"))); len(got) != 0 {
		t.Errorf("rbac.aggregate is false and these are aggregated: %v", got)
	}
}

// markerRules are the rules that controller-gen found in the source.
func markerRules(t *testing.T) []string {
	t.Helper()
	role := &rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(read(t, root+"/config/rbac/role.yaml"), role); err != nil {
		t.Fatal(err)
	}
	return rules(role.Rules)
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
