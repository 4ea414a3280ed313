// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// forEachOutput runs a check on what each component makes of each golden case.
func forEachOutput(t *testing.T, check func(*testing.T, goldenCase, Component, Output)) {
	t.Helper()
	for _, tc := range readCases(t) {
		t.Run(tc.name, func(t *testing.T) {
			for _, component := range Components {
				check(t, tc, component, build(component, tc.stack, tc.in))
			}
		})
	}
}

// everything is what all components make of a stack, as text.
func everything(t *testing.T, stack *obsv1.ObservabilityStack, in Inputs) string {
	t.Helper()
	var documents []string
	for _, component := range Components {
		out := build(component, stack, in)
		documents = append(documents, toYAML(t, conditionOf(out)), out.Covered)
		for _, obj := range out.Objects {
			documents = append(documents, toYAML(t, plain(t, obj)))
		}
	}
	return strings.Join(documents, "---\n")
}

func TestEqualInputsGiveEqualBytes(t *testing.T) {
	for _, tc := range readCases(t) {
		want := everything(t, tc.stack, tc.in)
		for range 5 {
			// A deep copy holds its maps in another order.
			in := tc.in
			in.Values, in.Available, in.MissingAPIs = reversed(in.Values), reversed(in.Available), reversed(in.MissingAPIs)
			if diff := cmp.Diff(want, everything(t, tc.stack.DeepCopy(), in)); diff != "" {
				t.Fatalf("%s: a second run differs:\n%s", tc.name, diff)
			}
		}
	}
}

// reversed is an equal map, filled in another order.
func reversed[K comparable, V any](m map[K]V) map[K]V {
	keys := slices.Collect(maps.Keys(m))
	slices.Reverse(keys)
	out := map[K]V{}
	for _, key := range keys {
		out[key] = m[key]
	}
	return out
}

// TestObjectsAreNotSharedWithTheStack also changes what was built: the engine
// may, and neither the stack in the cache nor the next build may show it.
func TestObjectsAreNotSharedWithTheStack(t *testing.T) {
	for _, tc := range readCases(t) {
		stack, secrets := tc.stack.DeepCopy(), maps.Clone(tc.in.Values)
		want := everything(t, tc.stack, tc.in)
		for _, component := range Components {
			for _, obj := range build(component, tc.stack, tc.in).Objects {
				obj.GetLabels()["changed"] = "by the engine"
				obj.SetAnnotations(map[string]string{"changed": "by the engine"})
			}
		}
		if diff := cmp.Diff(stack, tc.stack); diff != "" {
			t.Errorf("%s: the stack was changed (-want +got):\n%s", tc.name, diff)
		}
		if diff := cmp.Diff(secrets, tc.in.Values, cmpopts.EquateErrors()); diff != "" {
			t.Errorf("%s: the inputs were changed (-want +got):\n%s", tc.name, diff)
		}
		if diff := cmp.Diff(want, everything(t, tc.stack, tc.in)); diff != "" {
			t.Errorf("%s: the next build shows the change (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestSecretValuesStayInTheSettingsSecret(t *testing.T) {
	forEachOutput(t, func(t *testing.T, tc goldenCase, component Component, out Output) {
		for _, value := range tc.values {
			checkLeak(t, component.Name, out, value)
		}
	})
}

// secretParts are the pieces of a Secret's value that are secret by themselves.
func secretParts(value string) []string {
	value = strings.TrimSpace(value)
	parts := []string{value}
	if _, rest, ok := strings.Cut(value, "://"); ok {
		userinfo, _, _ := strings.Cut(rest, "@")
		for part := range strings.SplitSeq(userinfo, ":") {
			parts = append(parts, part)
		}
	}
	// Short pieces, such as a user's name, occur in ordinary words.
	return slices.DeleteFunc(parts, func(part string) bool { return len(part) < 8 })
}

func checkLeak(t *testing.T, component string, out Output, value string) {
	t.Helper()
	for _, part := range secretParts(value) {
		if strings.Contains(out.Message, part) {
			t.Errorf("%s: the message shows a Secret's value: %s", component, out.Message)
		}
		for _, obj := range out.Objects {
			content := plain(t, obj)
			if content["kind"] == "Secret" {
				delete(content, "data")
			}
			if strings.Contains(fmt.Sprint(content), part) {
				t.Errorf("%s: %s %s shows a Secret's value", component, content["kind"], obj.GetName())
			}
		}
	}
}

func TestSettingsHoldOnlyKnownKeys(t *testing.T) {
	forEachOutput(t, func(t *testing.T, tc goldenCase, _ Component, out Output) {
		known := slices.Collect(maps.Keys(newEnv(&tc.stack.Spec, tc.in.Values).data))
		for _, obj := range out.Objects {
			content := plain(t, obj)
			data, _ := content["data"].(map[string]any)
			if content["kind"] != "Secret" {
				continue
			}
			if content["stringData"] != nil {
				t.Errorf("%s uses stringData, which server-side apply cannot take back", obj.GetName())
			}
			for key := range data {
				if ownVariables[key] == "" && !slices.Contains(known, key) {
					t.Errorf("%s holds the unknown key %s", obj.GetName(), key)
				}
			}
		}
	})
}

func TestNamesAreUniqueAndValid(t *testing.T) {
	for _, tc := range readCases(t) {
		seen := map[string]bool{}
		for _, component := range Components {
			for _, obj := range build(component, tc.stack, tc.in).Objects {
				kind := plain(t, obj)["kind"].(string)
				if id := kind + "/" + obj.GetNamespace() + "/" + obj.GetName(); seen[id] {
					t.Errorf("%s: two objects are named %s", tc.name, id)
				} else {
					seen[id] = true
				}
				checkName(t, kind, obj)
				if obj.GetNamespace() != tc.stack.Namespace {
					t.Errorf("%s: %s is in namespace %q, want the stack's", tc.name, obj.GetName(), obj.GetNamespace())
				}
			}
		}
	}
}

func checkName(t *testing.T, kind string, obj client.Object) {
	t.Helper()
	problems := validation.IsDNS1123Subdomain(obj.GetName())
	if kind != "Secret" {
		// A Service's name is a DNS label; a Deployment's becomes a label of its Pods.
		problems = append(problems, validation.IsDNS1035Label(obj.GetName())...)
	}
	for _, problem := range problems {
		t.Errorf("%s %s: %s", kind, obj.GetName(), problem)
	}
}

func TestEveryObjectCarriesTheLabels(t *testing.T) {
	forEachOutput(t, func(t *testing.T, tc goldenCase, component Component, out Output) {
		for _, obj := range out.Objects {
			got := map[string]string{}
			want := map[string]string{
				"app.kubernetes.io/managed-by": "obstack", "app.kubernetes.io/part-of": "obstack",
				"app.kubernetes.io/name": "obstack-" + component.Name, "app.kubernetes.io/component": component.Name,
				"app.kubernetes.io/instance": tc.stack.Name,
				"obstack.dev/stack":          tc.stack.Name, "obstack.dev/stack-namespace": tc.stack.Namespace,
			}
			if component.Name == componentSettings { // which is no child of the stack
				for _, key := range []string{"part-of", "name", "instance"} {
					delete(want, "app.kubernetes.io/"+key)
				}
			}
			for key, value := range obj.GetLabels() {
				if _, ok := want[key]; ok {
					got[key] = value
				}
				if problems := validation.IsValidLabelValue(value); len(problems) > 0 {
					t.Errorf("%s: label %s=%s: %v", obj.GetName(), key, value, problems)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", obj.GetName(), diff)
			}
		}
	})
}

// TestExtraLabelsDoNotReplaceOurs builds what CEL would refuse.
func TestExtraLabelsDoNotReplaceOurs(t *testing.T) {
	stack := &obsv1.ObservabilityStack{}
	stack.Name = "shop"
	meta := objectMeta(stack, componentMetrics, "shop-api",
		map[string]obsv1.LabelValue{obsv1.LabelStack: "other", "team": "shop"})
	if meta.Labels[obsv1.LabelStack] != "shop" || meta.Labels["team"] != "shop" {
		t.Errorf("labels = %v, want ours and the extra one", meta.Labels)
	}
}

// structsWithoutOmit are written by the Go types of other projects whenever
// their parent is, and mean the same as absent there.
var structsWithoutOmit = []string{
	".spec.namespaceSelector",
	".spec.endpoints.tlsConfig.ca", ".spec.endpoints.tlsConfig.cert",
	".spec.template.spec.containers.resources",
}

// chosenEmpty are empty because the user wrote so: an empty override turns a
// default off, an empty instanceSelector selects every Grafana.
var chosenEmpty = []string{
	".spec.template.spec.securityContext", ".spec.template.spec.containers.securityContext", ".spec.instanceSelector",
}

func TestNothingEmptyIsEmitted(t *testing.T) {
	allowed := append(slices.Clone(structsWithoutOmit), chosenEmpty...)
	forEachOutput(t, func(t *testing.T, _ goldenCase, _ Component, out Output) {
		for _, obj := range out.Objects {
			for _, path := range emptyFields(plain(t, obj), "") {
				if !slices.Contains(allowed, path) {
					t.Errorf("%s: %s is empty: leave it out", obj.GetName(), path)
				}
			}
		}
	})
}

func emptyFields(value any, path string) []string {
	var found []string
	switch v := value.(type) {
	case nil:
		found = append(found, path)
	case map[string]any:
		if len(v) == 0 {
			return []string{path}
		}
		for key, nested := range v {
			found = append(found, emptyFields(nested, path+"."+key)...)
		}
	case []any:
		if len(v) == 0 {
			return []string{path}
		}
		for _, nested := range v {
			found = append(found, emptyFields(nested, path)...)
		}
	}
	return found
}

// TestConditionsAreUsable: what is not True has a known reason and says what to do.
func TestConditionsAreUsable(t *testing.T) {
	actions := []string{"create ", "add ", "write ", "install ", "must start with", "see ", "restart ", "delete "}
	forEachOutput(t, func(t *testing.T, _ goldenCase, component Component, out Output) {
		if !out.Requested() {
			if len(out.Objects) > 0 || out.Message != "" || out.Reason != "" {
				t.Errorf("%s was not requested and yields %+v", component.Name, out)
			}
			return
		}
		if out.Reason == "" || out.Message == "" || len(out.Message) > 32768 {
			t.Errorf("%s: reason %q, message %q", component.Name, out.Reason, out.Message)
		}
		helps := slices.ContainsFunc(actions, func(action string) bool { return strings.Contains(out.Message, action) })
		if out.Status != "True" && !helps {
			t.Errorf("%s: the message does not say what to do: %s", component.Name, out.Message)
		}
	})
}
