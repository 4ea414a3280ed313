// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// reduce takes out of an object what is no business of whoever reads a bundle: values of Secrets
// and ConfigMaps, of variables, and of the annotations of others.
func reduce(object *unstructured.Unstructured) {
	unstructured.RemoveNestedField(object.Object, "metadata", "managedFields")
	reduceAnnotations(object.Object)
	switch object.GetKind() {
	case "Secret", "ConfigMap":
		for _, field := range []string{"data", "binaryData", "stringData"} {
			if data, ok := object.Object[field].(map[string]any); ok {
				for key, value := range data {
					data[key] = fmt.Sprintf("<%d bytes>", size(object.GetKind(), value))
				}
			}
		}
	case "CustomResourceDefinition":
		versions, _, _ := unstructured.NestedSlice(object.Object, "spec", "versions")
		for i := range versions {
			if version, ok := versions[i].(map[string]any); ok {
				delete(version, "schema")
			}
		}
		_ = unstructured.SetNestedSlice(object.Object, versions, "spec", "versions") // it is there
	case "Prometheus":
		spec, _, _ := unstructured.NestedMap(object.Object, "spec")
		for key := range spec {
			if !strings.HasSuffix(strings.ToLower(key), "selector") && key != "version" {
				delete(spec, key)
			}
		}
		object.Object["spec"] = spec
		delete(object.Object, "status")
	}
	reduceVariables(object.Object)
}

// size of a value; of a Secret it is encoded.
func size(kind string, value any) int {
	text, _ := value.(string)
	if kind == "Secret" {
		return len(strings.TrimRight(text, "=")) * 3 / 4
	}
	return len(text)
}

// forOthers are annotations of others that obstack sets, on the Secrets with settings.
var forOthers = []string{
	"argocd.argoproj.io/compare-options", "argocd.argoproj.io/sync-options", "kustomize.toolkit.fluxcd.io/prune",
}

// reduceAnnotations keeps the values of those that obstack sets, at any depth.
func reduceAnnotations(content any) {
	switch content := content.(type) {
	case []any:
		for _, item := range content {
			reduceAnnotations(item)
		}
	case map[string]any:
		for key, value := range content {
			annotations, ok := value.(map[string]any)
			if key != "annotations" || !ok {
				reduceAnnotations(value)
				continue
			}
			delete(annotations, corev1.LastAppliedConfigAnnotation)
			for name := range annotations {
				domain, _, _ := strings.Cut(name, "/")
				if domain != "obstack.dev" && !strings.HasSuffix(domain, ".obstack.dev") && !slices.Contains(forOthers, name) {
					annotations[name] = leftOut
				}
			}
		}
	}
}

// reduceVariables leaves out the values of variables, at any depth.
func reduceVariables(content any) {
	switch content := content.(type) {
	case []any:
		for _, item := range content {
			reduceVariables(item)
		}
	case map[string]any:
		for key, value := range content {
			variables, ok := value.([]any)
			if key != "env" || !ok {
				reduceVariables(value)
				continue
			}
			for _, item := range variables {
				if variable, ok := item.(map[string]any); ok && variable["value"] != nil {
					variable["value"] = leftOut
				}
			}
		}
	}
}

// reduceWorkload keeps of a workload what decides about its settings. Commands and probes of others
// may hold anything.
func reduceWorkload(object *unstructured.Unstructured) {
	path := []string{"spec", "template"}
	if object.GetKind() == "CronJob" {
		path = []string{"spec", "jobTemplate", "spec", "template"}
	}
	metadata, _, _ := unstructured.NestedMap(object.Object, append(path, "metadata")...)
	template := map[string]any{"metadata": metadata, "spec": map[string]any{}}
	for _, kind := range []string{"initContainers", "containers"} {
		containers, _, _ := unstructured.NestedSlice(object.Object, append(path, "spec", kind)...)
		var kept []any
		for _, item := range containers {
			if container, ok := item.(map[string]any); ok {
				kept = append(kept, only(container, "name", "image", "ports", "env", "envFrom"))
			}
		}
		if kept != nil {
			template["spec"].(map[string]any)[kind] = kept
		}
	}
	object.Object = only(object.Object, "apiVersion", "kind", "metadata", "status")
	object.Object["spec"] = map[string]any{"template": template}
	reduce(object)
}

// only keeps some fields.
func only(content map[string]any, keys ...string) map[string]any {
	kept := map[string]any{}
	for _, key := range keys {
		if value, ok := content[key]; ok {
			kept[key] = value
		}
	}
	return kept
}
