// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/test/testenv"
)

// compareGoldenCases compares the stack of every golden case of controllers/desired. What a case
// says of the cluster is left out, but for the platform: each key that a stack names is there.
func compareGoldenCases(t *testing.T, api client.Client) {
	t.Helper()
	files, err := filepath.Glob("../../controllers/desired/testdata/*/in.yaml")
	if err != nil || len(files) < 50 {
		t.Fatalf("there are %d golden cases (%v)", len(files), err)
	}
	rendered := map[*obsv1.ObservabilityStack]string{}
	var stacks []*obsv1.ObservabilityStack
	for i, file := range files {
		name := fmt.Sprintf("case-%d", i)
		object, stack, platform := goldenCase(t, file, name)
		ensureNamespace(t, api, name)
		if platform.Spec != nil {
			testenv.Create(t, api, &obsv1.ObservabilityPlatform{
				ObjectMeta: metav1.ObjectMeta{Name: platform.Name}, Spec: *platform.Spec,
			})
		}
		createRefs(t, api, desired.Effective(stack, platform.Spec))
		rendered[stack] = renderOf(t, stack, platform)
		testenv.Create(t, api, object)
		stacks = append(stacks, stack)
	}
	for i, stack := range stacks {
		waitForPass(t, api, stack)
		t.Run(filepath.Base(filepath.Dir(files[i])), func(t *testing.T) { compare(t, api, stack, rendered[stack]) })
	}
}

// goldenCase reads a stack into a namespace of its own, and its platform, which gets that name. The
// object is the stack as the file has it: a typed client leaves out what is empty.
func goldenCase(t *testing.T, file, name string) (*unstructured.Unstructured, *obsv1.ObservabilityStack,
	desired.Platform) {
	t.Helper()
	text, err := os.ReadFile(file) // #nosec G304 -- a file of the test
	if err != nil {
		t.Fatal(err)
	}
	stackYAML, inputs, _ := strings.Cut(string(text), "\n---\n")
	var given struct {
		Inputs struct{ Platform desired.Platform }
	}
	if err := yaml.Unmarshal([]byte(inputs), &given); err != nil {
		t.Fatal(err)
	}
	object, platform := documents(t, stackYAML)[0], desired.Platform{Spec: given.Inputs.Platform.Spec}
	object.SetNamespace(name)
	delete(object.Object, "status")
	unstructured.RemoveNestedField(object.Object, "spec", "platform")
	if platform.Spec != nil {
		platform.Name = name
		if err := unstructured.SetNestedField(object.Object, name, "spec", "platform"); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := yaml.Marshal(object.Object)
	if err != nil {
		t.Fatal(err)
	}
	stacks, err := readStacks(strings.NewReader(string(whole)), "-", name)
	if err != nil {
		t.Fatal(err)
	}
	return object, stacks[0], platform
}

// renderOf a stack, where the cluster serves what the control plane of tests does.
func renderOf(t *testing.T, stack *obsv1.ObservabilityStack, platform desired.Platform) string {
	t.Helper()
	var out strings.Builder
	in := desired.Inputs{
		ExporterImage: defaultExporterImage(), Platform: platform,
		MissingAPIs: map[schema.GroupKind]bool{desired.GrafanaDashboardKind.GroupKind(): true},
	}
	for _, object := range render(stack, in, nil).objects {
		if err := printYAML(&out, object); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}
