// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/config/crd"
	"obstack.dev/obstack/controllers/desired"
)

// wantedDefinitions are those of this version, parsed once: they are long.
var wantedDefinitions = sync.OnceValue(func() (wanted []*apiextensionsv1.CustomResourceDefinition) {
	for _, text := range [][]byte{crd.Stacks, crd.Platforms} {
		definition := &apiextensionsv1.CustomResourceDefinition{}
		utilruntime.Must(yaml.Unmarshal(text, definition)) // It is part of this program.
		wanted = append(wanted, definition)
	}
	return wanted
})

// checkDefinitions of obstack, and those of prometheus-operator.
func checkDefinitions(in *installation) (findings []DoctorFinding) {
	const name = "definitions"
	findings = in.unread(name, ofDefinitions)
	if len(in.failed[ofDefinitions]) > 0 && in.unserved[stackKind.GroupKind()] {
		findings = append(findings, DoctorFinding{Name: name, State: StateProblem,
			Message: "the cluster does not serve ObservabilityStacks", Remedy: install})
	}
	if len(findings) == 0 {
		for _, want := range wantedDefinitions() {
			state, message := compareDefinition(want, in.definitions[want.Name])
			if message == "" {
				continue
			}
			remedy := "apply those of the operator's version: kubectl apply --server-side -k config/crd"
			findings = append(findings, DoctorFinding{Name: name, State: state,
				Message: fmt.Sprintf("CustomResourceDefinition %s %s", want.Name, message), Remedy: remedy})
		}
	}
	findings = orOK(findings, ok(name, "both are served and those of this version"))
	if in.unserved[desired.ServiceMonitorKind.GroupKind()] && slices.ContainsFunc(in.stacks, needsMonitoring) {
		return append(findings, DoctorFinding{Name: "prometheus-operator", State: StateProblem,
			Message: "the cluster does not serve ServiceMonitors, which stacks ask for",
			Remedy:  "install prometheus-operator; obstack notices when it comes"})
	}
	return findings
}

func needsMonitoring(stack *obsv1.ObservabilityStack) bool {
	return stack.Spec.Metrics != nil || stack.Spec.Tasks != nil || stack.Spec.Alerts != nil || len(stack.Spec.SLOs) > 0
}

// compareDefinition says what is wrong with what the cluster has; nothing if all is well.
func compareDefinition(want, live *apiextensionsv1.CustomResourceDefinition) (FindingState, string) {
	if live == nil {
		return StateProblem, "is missing"
	}
	version := want.Spec.Versions[0]
	index := slices.IndexFunc(live.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
		return v.Name == version.Name && v.Served
	})
	if index < 0 || !established(live) {
		return StateProblem, "does not serve " + version.Name
	}
	found := live.Spec.Versions[index]
	for _, stored := range live.Status.StoredVersions {
		if stored != version.Name {
			return StateWarning, fmt.Sprintf("has objects stored as %s, which this version does not know", stored)
		}
	}
	wanted, has := fields(version), fields(found)
	lacks, adds := difference(wanted, has), difference(has, wanted)
	switch {
	case len(lacks) > 0 && len(adds) > 0:
		return StateProblem, fmt.Sprintf("is of another version: it lacks %s, and has %s", some(lacks), some(adds))
	case len(lacks) > 0:
		return StateProblem, "is older than this plugin: it lacks " + some(lacks)
	case len(adds) > 0:
		return StateWarning, "is newer than this plugin: it has " + some(adds)
	case !equality.Semantic.DeepEqual(version.Schema, found.Schema):
		return StateWarning, "has other rules or descriptions than that of this plugin"
	}
	return "", ""
}

func established(definition *apiextensionsv1.CustomResourceDefinition) bool {
	return slices.ContainsFunc(definition.Status.Conditions,
		func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
			return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
		})
}

// fields are the paths of all in a schema, such as spec.metrics.monitors.name.
func fields(version apiextensionsv1.CustomResourceDefinitionVersion) map[string]bool {
	found := map[string]bool{}
	var walk func(path string, properties map[string]apiextensionsv1.JSONSchemaProps)
	walk = func(path string, properties map[string]apiextensionsv1.JSONSchemaProps) {
		for name, property := range properties {
			at := path + name
			found[at] = true
			walk(at+".", property.Properties)
			if property.Items != nil && property.Items.Schema != nil {
				walk(at+".", property.Items.Schema.Properties)
			}
			if property.AdditionalProperties != nil && property.AdditionalProperties.Schema != nil {
				walk(at+".", property.AdditionalProperties.Schema.Properties)
			}
		}
	}
	if version.Schema != nil && version.Schema.OpenAPIV3Schema != nil {
		walk("", version.Schema.OpenAPIV3Schema.Properties)
	}
	return found
}

// difference are the keys of one map that another has not, sorted.
func difference(of, without map[string]bool) (keys []string) {
	for _, key := range slices.Sorted(maps.Keys(of)) {
		if !without[key] {
			keys = append(keys, key)
		}
	}
	return keys
}
