// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"obstack.dev/obstack/config/crd"
)

// maxFile bounds what is read of a file.
const maxFile = 16 << 20

// readObjects reads the objects of a kind in a file of YAML or JSON, or of the standard input if
// the name is -, as the API server takes them in: with the defaults of their definition, and
// checked.
func readObjects[T client.Object](in io.Reader, path, kind string, definition []byte, empty func() T) ([]T, error) {
	if path != "-" {
		file, err := os.Open(path) // #nosec G304 -- the user's own
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	admission, err := crd.NewAdmission(definition)
	if err != nil {
		return nil, fmt.Errorf("read the definition of %s: %w", kind, err)
	}
	var found []T
	decoder := utilyaml.NewYAMLOrJSONDecoder(io.LimitReader(in, maxFile), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if object.GetKind() != kind {
			continue
		}
		one := empty()
		problems, err := admission.Admit(object.Object, one)
		if refused := problems.ToAggregate(); refused != nil {
			err = refused
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s %s: %w", path, kind, object.GetName(), err)
		}
		found = append(found, one)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s holds no %s", path, kind)
	}
	return found, nil
}
