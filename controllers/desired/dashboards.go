// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired/dashboards"
)

// GrafanaDashboardKind is grafana-operator's, which a cluster may lack.
var GrafanaDashboardKind = schema.GroupVersionKind{
	Group: "grafana.integreatly.org", Version: "v1beta1", Kind: "GrafanaDashboard",
}

// dashboardsOf makes one ConfigMap for each dashboard, and a GrafanaDashboard if asked.
func dashboardsOf(stack *obsv1.ObservabilityStack, in Inputs) Output {
	spec := stack.Spec.Dashboards
	if spec == nil {
		return Output{}
	}
	wantsOperator := spec.GrafanaOperator != nil
	hasOperator := !in.MissingAPIs[GrafanaDashboardKind.GroupKind()]
	var objects []client.Object
	rendered := dashboards.Render(dashboardData(stack, in.Platform))
	for _, dashboard := range rendered {
		objects = append(objects, dashboardConfigMap(stack, dashboard))
		if wantsOperator && hasOperator {
			objects = append(objects, grafanaDashboard(stack, dashboard))
		}
	}
	out := available(objects, count(len(rendered), "dashboard")+" in place")
	if wantsOperator && !hasOperator {
		out = missingAPI(objects, GrafanaDashboardKind, grafanaOperator)
	}
	out.Covered = count(len(rendered), "dashboard")
	return out
}

// DashboardNames are the names of the stack's dashboards, each another one.
func DashboardNames(stack *obsv1.ObservabilityStack) []string {
	if stack.Spec.Dashboards == nil {
		return nil
	}
	return dashboards.Names(dashboardData(stack, Platform{}))
}

// DashboardUID is by what Grafana knows a dashboard of the stack.
func DashboardUID(stack *obsv1.ObservabilityStack, name string) string {
	return dashboards.UID(stack.Namespace, stack.Name, name)
}

// DashboardLabels are those of the ConfigMaps with the stack's dashboards.
func DashboardLabels(stack *obsv1.ObservabilityStack) map[string]string {
	return objectMeta(stack, componentDashboards, "", stack.Spec.Dashboards.Labels).Labels
}

// dashboardData is what the dashboards of a stack are about.
func dashboardData(stack *obsv1.ObservabilityStack, platform Platform) dashboards.Stack {
	data := dashboards.Stack{
		Namespace: stack.Namespace, Name: stack.Name, Cluster: platform.cluster(),
		Datasource: string(stack.Spec.Dashboards.Datasource),
		Monitors:   httpMonitors(stack, platform), HasSLOs: len(stack.Spec.SLOs) > 0,
		HasPython: stack.Spec.Python.MetricsPort() > 0, Links: stack.Spec.Dashboards.Links,
	}
	for _, broker := range stack.Spec.Brokers() {
		data.Brokers = append(data.Brokers, broker.Name)
	}
	return data
}

func dashboardConfigMap(stack *obsv1.ObservabilityStack, dashboard dashboards.Dashboard) *corev1.ConfigMap {
	meta := objectMeta(stack, componentDashboards, dashboardName(stack, dashboard.Name), stack.Spec.Dashboards.Labels)
	if folder := stack.Spec.Dashboards.Folder; folder != "" {
		meta.Annotations = map[string]string{string(stack.Spec.Dashboards.FolderAnnotation): folder}
	}
	return &corev1.ConfigMap{
		ObjectMeta: meta,
		// Grafana's sidecar puts the files of all ConfigMaps into one folder, so
		// the name has to be unique in the cluster.
		Data: map[string]string{dashboardFile(stack, dashboard.Name): dashboard.JSON},
	}
}

func dashboardFile(stack *obsv1.ObservabilityStack, name string) string {
	return fmt.Sprintf("%s-%s-%s.json", stack.Namespace, stack.Name, name)
}

// grafanaDashboard shows a ConfigMap's dashboard through grafana-operator.
func grafanaDashboard(stack *obsv1.ObservabilityStack, dashboard dashboards.Dashboard) *unstructured.Unstructured {
	spec := stack.Spec.Dashboards
	meta := objectMeta(stack, componentDashboards, dashboardName(stack, dashboard.Name), nil)
	selector, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&spec.GrafanaOperator.InstanceSelector)
	if err != nil {
		selector = map[string]any{} // A LabelSelector always converts.
	}
	body := map[string]any{
		"instanceSelector": selector,
		"configMapRef":     map[string]any{"name": meta.Name, "key": dashboardFile(stack, dashboard.Name)},
	}
	if spec.GrafanaOperator.AllowCrossNamespaceImport {
		body["allowCrossNamespaceImport"] = true
	}
	if spec.Folder != "" {
		body["folder"] = spec.Folder
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": body}}
	u.SetGroupVersionKind(GrafanaDashboardKind)
	u.SetNamespace(meta.Namespace)
	u.SetName(meta.Name)
	u.SetLabels(meta.Labels)
	// grafana-operator does not notice a ConfigMap that changes; it does notice its own object.
	sum := sha256.Sum256([]byte(dashboard.JSON))
	u.SetAnnotations(map[string]string{"obstack.dev/content-hash": hex.EncodeToString(sum[:8])})
	return u
}
