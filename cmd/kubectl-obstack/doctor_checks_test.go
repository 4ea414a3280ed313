// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/proof/judge"
)

// TestDoctorFindsTheRolesOfEveryInstallation: whatever the chart's values are, the operator has
// the roles that its flags need, and no others.
func TestDoctorFindsTheRolesOfEveryInstallation(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "charts", "obstack", "ci", "*-values.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("values files: %v, %v", files, err)
	}
	installations := map[string][]string{
		"in its own namespace": {"--set", "watchNamespaces={obstack-system}"},
		"in default":           {"--set", "watchNamespaces={default}"},
		"without injection":    {"--set", "watchNamespaces={team-a},injection.enabled=false"},
	}
	for _, file := range files {
		installations[filepath.Base(file)] = []string{"--values", file}
	}
	for name, args := range installations {
		t.Run(name, func(t *testing.T) {
			in := rolesIn(t, charted(t, args...))
			if len(in.operators) != 1 {
				t.Fatalf("%d operators, want one", len(in.operators))
			}
			want := StateOK
			if len(in.bindings) == 0 { // rbac.create is false.
				want = StateProblem
			}
			for _, finding := range checkRoles(in) {
				if finding.State != want {
					t.Errorf("%s: %s", finding.State, finding.Message)
				}
			}
		})
	}
}

// rolesIn what was rendered.
func rolesIn(t *testing.T, objects []*unstructured.Unstructured) *installation {
	t.Helper()
	in := &installation{roles: map[roleKey][]rbacv1.PolicyRule{}}
	for _, object := range objects {
		key := roleKey{object.GetNamespace(), object.GetName()}
		switch object.GetKind() {
		case "Deployment":
			if o, ok := operatorOf(converted[appsv1.Deployment](t, object)); ok {
				in.operators = append(in.operators, o)
			}
		case "ClusterRole", "Role":
			in.roles[key] = converted[rbacv1.ClusterRole](t, object).Rules
		case "ClusterRoleBinding", "RoleBinding":
			of := converted[rbacv1.RoleBinding](t, object)
			in.bindings = append(in.bindings, binding{namespace: of.Namespace,
				role: roleKey{of.Namespace, of.RoleRef.Name}, subjects: of.Subjects})
		}
	}
	return in
}

func converted[T any](t *testing.T, object *unstructured.Unstructured) *T {
	t.Helper()
	typed := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, typed); err != nil {
		t.Fatalf("%s %s: %v", object.GetKind(), object.GetName(), err)
	}
	return typed
}

func TestDoctorComparesDefinitions(t *testing.T) {
	want := wantedDefinitions()[0]
	established := func() *apiextensionsv1.CustomResourceDefinition {
		live := want.DeepCopy()
		live.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{
			{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue},
		}
		return live
	}
	unserved, stored := established(), established()
	unserved.Spec.Versions[0].Served = false
	stored.Status.StoredVersions = []string{"v1alpha1", "v1beta1"}
	for name, tc := range map[string]struct {
		live  *apiextensionsv1.CustomResourceDefinition
		state FindingState
		says  string
	}{
		"same":            {established(), "", ""},
		"missing":         {nil, StateProblem, "is missing"},
		"not served":      {unserved, StateProblem, "does not serve v1alpha1"},
		"not established": {want, StateProblem, "does not serve v1alpha1"},
		"stored":          {stored, StateWarning, "has objects stored as v1beta1"},
	} {
		state, says := compareDefinition(want, tc.live)
		if state != tc.state || !strings.Contains(says, tc.says) || (says == "") != (tc.says == "") {
			t.Errorf("%s: %s, %q, want %s, %q", name, state, says, tc.state, tc.says)
		}
	}
}

// TestDoctorSaysTheSameOfChildrenInAnyOrder in which they were read.
func TestDoctorSaysTheSameOfChildrenInAnyOrder(t *testing.T) {
	stack := stackFile(t, "healthy")
	stack.UID = "stack"
	other := &judge.Selection{
		Objects: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}, Namespaces: &metav1.LabelSelector{},
	}
	in := &installation{
		stacks:       []*obsv1.ObservabilityStack{stack},
		prometheuses: []judge.Prometheus{{Namespace: "monitoring", Name: "k8s", Monitors: other, Rules: other}},
		children: []*metav1.PartialObjectMetadata{
			{ObjectMeta: childOf(stack, "healthy-api", "metrics")}, {ObjectMeta: childOf(stack, "healthy-alerts", "alerts")},
		},
	}
	in.children[0].SetGroupVersionKind(desired.ServiceMonitorKind)
	in.children[1].SetGroupVersionKind(desired.PrometheusRuleKind)
	before := checkPrometheus(in)
	slices.Reverse(in.children)
	if diff := cmp.Diff(before, checkPrometheus(in)); diff != "" || !strings.HasPrefix(before[0].Message, "2 parts") {
		t.Errorf("it says %v, and in the other order:\n%s", before, diff)
	}
}

func TestDoctorSaysWhatStacksNeed(t *testing.T) {
	without := &installation{definitions: map[string]*apiextensionsv1.CustomResourceDefinition{}}
	if found := checkDefinitions(without); found[len(found)-1].Name != "definitions" {
		t.Errorf("without stacks: %+v, want prometheus-operator not to be missed", found)
	}
	without.unserved = map[schema.GroupKind]bool{desired.ServiceMonitorKind.GroupKind(): true}
	without.stacks = []*obsv1.ObservabilityStack{
		{Spec: obsv1.ObservabilityStackSpec{Alerts: &obsv1.AlertsSpec{}}},
	}
	found := checkDefinitions(without)
	if last := found[len(found)-1]; last.Name != "prometheus-operator" || last.State != StateProblem {
		t.Errorf("with a stack: %+v, want prometheus-operator to be missed", found)
	}
	if found := checkVersions(&installation{kubernetes: "v1.29.3+k3s1"}); found[0].State != StateProblem {
		t.Errorf("Kubernetes 1.29: %+v, want a problem", found)
	}
}
