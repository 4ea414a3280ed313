// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/config/crd"
)

// maxFile bounds a file.
const maxFile = 16 << 20

// readObjects reads the objects of a kind in a file of YAML or JSON, or of the standard input if
// the name is -, as the API server takes them in: with the defaults of their definition, and
// checked.
func readObjects[T client.Object](in io.Reader, path, kind string, definition []byte, empty func() T) ([]T, error) {
	admission, err := crd.NewAdmission(definition)
	if err != nil {
		return nil, fmt.Errorf("read the definition of %s: %w", kind, err)
	}
	content, err := readFile(in, path)
	if err != nil {
		return nil, err
	}
	var found []T
	take := func(object *unstructured.Unstructured) error {
		if object.GetKind() != kind {
			return nil
		}
		if want := obsv1.GroupVersion.String(); object.GetAPIVersion() != want {
			return fmt.Errorf("%s: %s %s has apiVersion %q: write apiVersion: %s, or take it out of the file", path, kind,
				object.GetName(), object.GetAPIVersion(), want)
		}
		one := empty()
		problems, err := admission.Admit(object.Object, one)
		if refused := problems.ToAggregate(); refused != nil {
			err = refused
		}
		if err != nil {
			return fmt.Errorf("%s: %s %s: %w", path, kind, object.GetName(), err)
		}
		found = append(found, one)
		return nil
	}
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if err := eachObject(path, object, take); err != nil {
			return nil, err
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s holds no %s", path, kind)
	}
	return found, nil
}

// readFile reads all of a file.
func readFile(in io.Reader, path string) ([]byte, error) {
	if path != "-" {
		file, err := os.Open(path) // #nosec G304 -- the user's own
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	content, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("%s has more than %d MiB: split it, or take out what is no stack or platform", path,
			maxFile>>20)
	}
	return content, nil
}

// eachObject of a document: itself, or the items of a list, such as kubectl get -o yaml prints.
func eachObject(path string, object *unstructured.Unstructured, do func(*unstructured.Unstructured) error) error {
	items, ok := object.Object["items"].([]any)
	if !ok || !strings.HasSuffix(object.GetKind(), "List") {
		return do(object)
	}
	for i, item := range items {
		content, ok := item.(map[string]any)
		if !ok {
			return fmt.Errorf("%s: item %d of the %s is no object", path, i+1, object.GetKind())
		}
		if err := eachObject(path, &unstructured.Unstructured{Object: content}, do); err != nil {
			return err
		}
	}
	return nil
}
