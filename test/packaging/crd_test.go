// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// annotationLimit is how long all annotations of an object may be together.
// Client-side kubectl apply writes the whole object into one.
const annotationLimit = 256 << 10

func TestChartAndKustomizeInstallTheSameCRD(t *testing.T) {
	byChart, byKustomize := crd(t, renderChart(t)), crd(t, kustomize(t, "default"))
	if diff := cmp.Diff(byKustomize.Object["spec"], byChart.Object["spec"]); diff != "" {
		t.Errorf("spec (-kustomize +chart):\n%s", diff)
	}
	if byChart.GetName() != byKustomize.GetName() {
		t.Errorf("chart: %s, kustomize: %s", byChart.GetName(), byKustomize.GetName())
	}
}

func TestCRDFitsClientSideApply(t *testing.T) {
	for name, objects := range map[string][]*unstructured.Unstructured{
		"chart": renderChart(t), "kustomize": kustomize(t, "default"),
	} {
		content, err := json.Marshal(crd(t, objects))
		if err != nil {
			t.Fatal(err)
		}
		// 4 KiB are left for other annotations.
		if len(content) > annotationLimit-4<<10 {
			t.Errorf("%s: the CRD has %d bytes, of which kubectl apply can take %d: shorten descriptions or nested types", name,
				len(content), annotationLimit)
		}
	}
}

func TestCRDSurvivesUninstallUnlessSetOtherwise(t *testing.T) {
	const policy = "helm.sh/resource-policy"
	if got := crd(t, renderChart(t)).GetAnnotations()[policy]; got != "keep" {
		t.Errorf("%s is %q by default, want keep", policy, got)
	}
	if got, ok := crd(t, renderChart(t, "--set", "crds.keep=false")).GetAnnotations()[policy]; ok {
		t.Errorf("%s is %q although crds.keep is false", policy, got)
	}
	if got := ofKind(renderChart(t, "--set", "crds.enabled=false"), "CustomResourceDefinition"); len(got) != 0 {
		t.Error("the CRD is installed although crds.enabled is false")
	}
}

func crd(t *testing.T, objects []*unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	found := ofKind(objects, "CustomResourceDefinition")
	if len(found) != 1 {
		t.Fatalf("%d CustomResourceDefinitions, want 1", len(found))
	}
	return found[0]
}
