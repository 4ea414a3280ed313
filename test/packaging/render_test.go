// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"obstack.dev/obstack/test/testenv"
)

const (
	root      = "../.."
	chart     = root + "/charts/obstack"
	namespace = "obstack-system"
	// kubeVersion is what the chart is rendered for where no API server is asked.
	kubeVersion = "1.36.0"
)

var (
	helmPath      = sync.OnceValues(func() (string, error) { return testenv.Tool(context.Background(), "helm") })
	kustomizePath = sync.OnceValues(func() (string, error) { return testenv.Tool(context.Background(), "kustomize") })
)

// output runs a command and returns what it prints, and an error that says what
// it complains about.
func output(cmd *exec.Cmd) ([]byte, error) {
	output, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s%s", err, output, exit.Stderr)
	}
	return output, err
}

// helm runs helm.
func helm(t *testing.T, args ...string) ([]byte, error) {
	t.Helper()
	path, err := helmPath()
	if err != nil {
		t.Fatal(err)
	}
	return output(exec.Command(path, args...))
}

// template renders the chart as the release "obstack".
func template(t *testing.T, args ...string) ([]byte, error) {
	t.Helper()
	return helm(t,
		append([]string{"template", "obstack", chart, "--namespace", namespace, "--kube-version", kubeVersion}, args...)...)
}

// renderChart is what the chart renders to.
func renderChart(t *testing.T, args ...string) []*unstructured.Unstructured {
	t.Helper()
	rendered, err := template(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, rendered)
}

// kustomize is what a folder below config renders to.
func kustomize(t *testing.T, dir string) []*unstructured.Unstructured {
	t.Helper()
	path, err := kustomizePath()
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := output(exec.Command(path, "build", filepath.Join(root, "config", dir)))
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, rendered)
}

// valuesFiles are the values that the chart is tested with, by name.
func valuesFiles(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(chart, "ci", "*-values.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("values files: %v, %v", files, err)
	}
	byName := map[string]string{}
	for _, file := range files {
		byName[strings.TrimSuffix(filepath.Base(file), "-values.yaml")] = file
	}
	return byName
}

func values(name string) string { return "--values=" + filepath.Join(chart, "ci", name+"-values.yaml") }

// parse reads the objects of a stream of YAML documents.
func parse(t *testing.T, stream []byte) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(stream), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		switch {
		case errors.Is(err, io.EOF):
			return objects
		case err != nil:
			t.Fatalf("parse: %v", err)
		case len(object.Object) > 0:
			objects = append(objects, object)
		}
	}
}

// ofKind are the objects of one kind.
func ofKind(objects []*unstructured.Unstructured, kind string) []*unstructured.Unstructured {
	var found []*unstructured.Unstructured
	for _, object := range objects {
		if object.GetKind() == kind {
			found = append(found, object)
		}
	}
	return found
}

// only is the one object of type T, which is of the given kind.
func only[T any](t *testing.T, objects []*unstructured.Unstructured, kind string) *T {
	t.Helper()
	found := ofKind(objects, kind)
	if len(found) != 1 {
		t.Fatalf("%d objects of kind %s, want 1", len(found), kind)
	}
	return convert[T](t, found[0])
}

func convert[T any](t *testing.T, object *unstructured.Unstructured) *T {
	t.Helper()
	typed := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, typed, true); err != nil {
		t.Fatalf("%s %s: %v", object.GetKind(), object.GetName(), err)
	}
	return typed
}
