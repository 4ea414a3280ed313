// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// annotationLimit is how long all annotations of an object may be together.
// Client-side kubectl apply writes the whole object into one.
const annotationLimit = 256 << 10

func TestChartAndKustomizeInstallTheSameCRDs(t *testing.T) {
	byChart, byKustomize := crds(t, renderChart(t)), crds(t, kustomize(t, "default"))
	for name, want := range byKustomize {
		got := byChart[name]
		if got == nil {
			t.Errorf("the chart does not install %s", name)
			continue
		}
		if diff := cmp.Diff(want.Object["spec"], got.Object["spec"]); diff != "" {
			t.Errorf("spec of %s (-kustomize +chart):\n%s", name, diff)
		}
	}
}

func TestCRDsFitClientSideApply(t *testing.T) {
	for how, objects := range map[string][]*unstructured.Unstructured{
		"chart": renderChart(t), "kustomize": kustomize(t, "default"),
	} {
		for name, crd := range crds(t, objects) {
			content, err := json.Marshal(crd)
			if err != nil {
				t.Fatal(err)
			}
			// 4 KiB are left for other annotations.
			if len(content) > annotationLimit-4<<10 {
				t.Errorf("%s: %s has %d bytes, of which kubectl apply can take %d: shorten descriptions or nested types", how,
					name, len(content), annotationLimit)
			}
		}
	}
}

func TestCRDsSurviveUninstallUnlessSetOtherwise(t *testing.T) {
	const policy = "helm.sh/resource-policy"
	for name, crd := range crds(t, renderChart(t)) {
		if got := crd.GetAnnotations()[policy]; got != "keep" {
			t.Errorf("%s of %s is %q by default, want keep", policy, name, got)
		}
	}
	for name, crd := range crds(t, renderChart(t, "--set", "crds.keep=false")) {
		if got, ok := crd.GetAnnotations()[policy]; ok {
			t.Errorf("%s of %s is %q although crds.keep is false", policy, name, got)
		}
	}
	if got := ofKind(renderChart(t, "--set", "crds.enabled=false"), "CustomResourceDefinition"); len(got) != 0 {
		t.Error("CRDs are installed although crds.enabled is false")
	}
}

// stacksCRD is the name of the definition of ObservabilityStacks.
const stacksCRD = "observabilitystacks.obstack.dev"

// crds are the CustomResourceDefinitions, by name.
func crds(t *testing.T, objects []*unstructured.Unstructured) map[string]*unstructured.Unstructured {
	t.Helper()
	found := map[string]*unstructured.Unstructured{}
	for _, crd := range ofKind(objects, "CustomResourceDefinition") {
		found[crd.GetName()] = crd
	}
	if len(found) != 2 || found[stacksCRD] == nil {
		t.Fatalf("CustomResourceDefinitions %v, want those of stacks and platforms", slices.Sorted(maps.Keys(found)))
	}
	return found
}
