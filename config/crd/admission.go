// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"context"
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// What the rules of an object may cost at the API server: each, and all together.
const (
	ruleCost  = 1_000_000
	rulesCost = 10_000_000
)

// Admission does to objects what the API server does by a definition.
type Admission struct {
	structural *structuralschema.Structural
	validator  validation.SchemaValidator
	rules      *cel.Validator
}

// NewAdmission reads a definition in YAML, which has one version.
func NewAdmission(definition []byte) (*Admission, error) {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(definition, crd); err != nil {
		return nil, fmt.Errorf("read the definition: %w", err)
	}
	props := &apiextensions.JSONSchemaProps{}
	err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(
		crd.Spec.Versions[0].Schema.OpenAPIV3Schema, props, nil)
	if err != nil {
		return nil, fmt.Errorf("convert the schema: %w", err)
	}
	structural, err := structuralschema.NewStructural(props)
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	validator, _, err := validation.NewSchemaValidator(props)
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	return &Admission{structural, validator, cel.NewValidator(structural, true, ruleCost)}, nil
}

// Admit gives an object its defaults and decodes it. The problems are what the API server would
// refuse it for; the error is about fields that the definition does not have.
func (a *Admission) Admit(object map[string]any, into any) (problems field.ErrorList, err error) {
	defaulting.Default(object, a.structural)
	problems = validation.ValidateCustomResource(nil, object, a.validator)
	broken, _ := a.rules.Validate(context.Background(), nil, a.structural, object, nil, rulesCost)
	err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object, into, true)
	return append(problems, broken...), err
}
