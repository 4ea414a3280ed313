// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
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
	admit, err := admission(definition)
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
		if err := admit(object.Object, one); err != nil {
			return nil, fmt.Errorf("%s: %s %s: %w", path, kind, object.GetName(), err)
		}
		found = append(found, one)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s holds no %s", path, kind)
	}
	return found, nil
}

// admission of objects by a CustomResourceDefinition.
func admission(definition []byte) (func(object map[string]any, into any) error, error) {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(definition, crd); err != nil {
		return nil, err
	}
	props := &apiextensions.JSONSchemaProps{}
	err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(
		crd.Spec.Versions[0].Schema.OpenAPIV3Schema, props, nil)
	if err != nil {
		return nil, err
	}
	structural, err := structuralschema.NewStructural(props)
	if err != nil {
		return nil, err
	}
	schema, _, err := validation.NewSchemaValidator(props)
	if err != nil {
		return nil, err
	}
	rules := cel.NewValidator(structural, true, math.MaxInt64)
	return func(object map[string]any, into any) error {
		defaulting.Default(object, structural)
		problems := validation.ValidateCustomResource(nil, object, schema)
		broken, _ := rules.Validate(context.Background(), nil, structural, object, nil, math.MaxInt64)
		if err := append(problems, broken...).ToAggregate(); err != nil {
			return err
		}
		return runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object, into, true)
	}, nil
}
