// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// GrafanaDashboardKind is grafana-operator's, which a cluster may lack.
var GrafanaDashboardKind = schema.GroupVersionKind{Group: "grafana.integreatly.org", Version: "v1beta1", Kind: "GrafanaDashboard"}

// board is one dashboard of a stack.
type board struct {
	// name tells the dashboards of a stack apart.
	name     string
	template *template
	// monitors that it is about.
	monitors []obsv1.Monitor
}

// boardsOf a stack: the overview, one for each framework of its HTTP services,
// whose metrics have other names, and one for tasks.
func boardsOf(stack *obsv1.ObservabilityStack) []board {
	monitors := monitorsOf(stack)
	boards := []board{{"overview", overviewTemplate, monitors}}
	for _, framework := range frameworksOf(stack) {
		of := slices.DeleteFunc(slices.Clone(monitors), func(m obsv1.Monitor) bool { return frameworkName(&m) != framework })
		boards = append(boards, board{"http-" + string(framework), httpTemplates[framework], of})
	}
	if stack.Spec.Tasks != nil {
		boards = append(boards, board{"tasks", tasksTemplate, nil})
	}
	return boards
}

// dashboards makes one ConfigMap for each dashboard, and a GrafanaDashboard if asked.
func dashboards(stack *obsv1.ObservabilityStack, in Inputs) Output {
	spec := stack.Spec.Dashboards
	if spec == nil {
		return Output{}
	}
	wantsOperator := spec.GrafanaOperator != nil
	hasOperator := !in.MissingAPIs[GrafanaDashboardKind.GroupKind()]
	var objects []client.Object
	boards := boardsOf(stack)
	for _, b := range boards {
		configMap := dashboardConfigMap(stack, b)
		objects = append(objects, configMap)
		if wantsOperator && hasOperator {
			objects = append(objects, grafanaDashboard(stack, configMap))
		}
	}
	if wantsOperator && !hasOperator {
		return missingAPI(objects, GrafanaDashboardKind, grafanaOperator)
	}
	return available(objects, count(len(boards), "dashboard")+" in place")
}

func dashboardConfigMap(stack *obsv1.ObservabilityStack, b board) *corev1.ConfigMap {
	meta := objectMeta(stack, componentDashboards, dashboardName(stack, b.name), stack.Spec.Dashboards.Labels)
	if folder := stack.Spec.Dashboards.Folder; folder != "" {
		meta.Annotations = map[string]string{stack.Spec.Dashboards.FolderAnnotation: folder}
	}
	return &corev1.ConfigMap{
		ObjectMeta: meta,
		// Grafana's sidecar puts the files of all ConfigMaps into one folder, so
		// the name has to be unique in the cluster.
		Data: map[string]string{dashboardFile(stack, b.name): b.fill(stack)},
	}
}

func dashboardFile(stack *obsv1.ObservabilityStack, name string) string {
	return fmt.Sprintf("%s-%s-%s.json", stack.Namespace, stack.Name, name)
}

// grafanaDashboard shows a ConfigMap's dashboard through grafana-operator.
func grafanaDashboard(stack *obsv1.ObservabilityStack, configMap *corev1.ConfigMap) *unstructured.Unstructured {
	spec := stack.Spec.Dashboards
	file, content := onlyEntry(configMap.Data)
	selector, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&spec.GrafanaOperator.InstanceSelector)
	if err != nil {
		selector = map[string]any{} // A LabelSelector always converts.
	}
	body := map[string]any{
		"instanceSelector": selector,
		"configMapRef":     map[string]any{"name": configMap.Name, "key": file},
	}
	if spec.GrafanaOperator.AllowCrossNamespaceImport {
		body["allowCrossNamespaceImport"] = true
	}
	if spec.Folder != "" {
		body["folder"] = spec.Folder
	}
	meta := objectMeta(stack, componentDashboards, configMap.Name, nil)
	sum := sha256.Sum256([]byte(content))
	u := &unstructured.Unstructured{Object: map[string]any{"spec": body}}
	u.SetGroupVersionKind(GrafanaDashboardKind)
	u.SetNamespace(meta.Namespace)
	u.SetName(meta.Name)
	u.SetLabels(meta.Labels)
	// grafana-operator does not notice a ConfigMap that changes; it does notice its own object.
	u.SetAnnotations(map[string]string{"obstack.dev/content-hash": hex.EncodeToString(sum[:8])})
	return u
}

func onlyEntry(data map[string]string) (key, value string) {
	for key, value = range data {
		return key, value
	}
	return "", ""
}
