// SPDX-License-Identifier: Apache-2.0

package test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"obstack.dev/obstack/test/testenv"
)

const (
	definitions = "../config/crd/bases/*.yaml"
	wantPrefix  = "# want: "
)

// TestInvalidObjectsAreRejected sends each file of invalid/, whose first line says
// what the API server must respond, and then checks that no rule of a definition
// is without a file: every one must have refused something, at its own place.
func TestInvalidObjectsAreRejected(t *testing.T) {
	files, err := filepath.Glob("invalid/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	causes := map[string][]metav1.StatusCause{} // by kind
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			kind, found := rejected(t, file)
			causes[kind] = append(causes[kind], found...)
		})
	}
	for _, rule := range rules(t) {
		if !slices.ContainsFunc(causes[rule.kind], rule.explains) {
			t.Errorf("no file in test/invalid is rejected by the rule of %s %q: %s", rule.kind, rule.path, rule.message)
		}
	}
}

// rejected checks one file and returns its kind, and where and why the API server refused it.
func rejected(t *testing.T, file string) (kind string, causes []metav1.StatusCause) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(content), "\n")
	want, found := strings.CutPrefix(first, wantPrefix)
	if !found {
		t.Fatalf("the first line must be %q and a part of the API server's message", wantPrefix)
	}
	objects, err := testenv.Objects(file)
	if err != nil || len(objects) != 1 {
		t.Fatalf("%d objects (%v), want one", len(objects), err)
	}
	if kind = objects[0].GetKind(); kind == "ObservabilityStack" {
		objects[0].SetNamespace(metav1.NamespaceDefault)
	}
	err = tryCreate(t, objects[0])
	if err == nil {
		t.Fatalf("accepted, want to be rejected: %s", want)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("error = %v\nwant  %s", err, want)
	}
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) || status.Status().Details == nil {
		return kind, nil
	}
	causes = slices.DeleteFunc(status.Status().Details.Causes, func(cause metav1.StatusCause) bool {
		return strings.Contains(cause.Message, "some validation rules were not checked")
	})
	// An object that breaks several rules would not show which of them works, and
	// a user would read more than the one thing to change.
	if len(causes) > 1 {
		t.Errorf("%d reasons, want one: %v", len(causes), err)
	}
	return kind, causes
}

// rule is a rule of a definition, by the path of its field and its message.
type rule struct{ kind, path, message string }

var index = regexp.MustCompile(`\[[^]]*\]`)

// explains reports whether the API server refused an object because of the rule.
func (r rule) explains(cause metav1.StatusCause) bool {
	field := strings.TrimPrefix(index.ReplaceAllString(cause.Field, "[]"), "<nil>")
	return field == r.path && strings.HasSuffix(cause.Message, r.message)
}

// rules are all rules of the definitions.
func rules(t *testing.T) []rule {
	t.Helper()
	files, err := filepath.Glob(definitions)
	if err != nil || len(files) < 2 {
		t.Fatalf("definitions = %v, %v, want those of both kinds", files, err)
	}
	var found []rule
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(content, crd); err != nil {
			t.Fatal(err)
		}
		walk("", crd.Spec.Versions[0].Schema.OpenAPIV3Schema, func(path, message string) {
			if !strings.HasPrefix(path, ".status.") { // The API server drops the status of what is created.
				found = append(found, rule{crd.Spec.Names.Kind, strings.TrimPrefix(path, "."), message})
			}
		})
	}
	if len(found) < 80 {
		t.Fatalf("%d rules found, want all", len(found))
	}
	return found
}

func walk(path string, schema *apiextensionsv1.JSONSchemaProps, visit func(path, message string)) {
	for _, rule := range schema.XValidations {
		visit(path, rule.Message)
	}
	for name, property := range schema.Properties {
		walk(path+"."+name, &property, visit)
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		walk(path+"[]", schema.Items.Schema, visit)
	}
	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil {
		walk(path+"[]", schema.AdditionalProperties.Schema, visit)
	}
}
