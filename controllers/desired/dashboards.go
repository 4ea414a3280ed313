// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// GrafanaDashboardKind is grafana-operator's, which a cluster may lack.
var GrafanaDashboardKind = schema.GroupVersionKind{Group: "grafana.integreatly.org", Version: "v1beta1", Kind: "GrafanaDashboard"}

// dashboardFiles are ordinary Grafana dashboards: open one in Grafana, change
// it, and export it to the same file.
//
//go:embed dashboards/*.json
var dashboardFiles embed.FS

// dashboardNames in the order in which they are made.
var dashboardNames = []string{"overview"}

// dashboards makes one ConfigMap for each dashboard, and a GrafanaDashboard if asked.
func dashboards(stack *obsv1.ObservabilityStack, in Inputs) Output {
	spec := stack.Spec.Dashboards
	if spec == nil {
		return Output{}
	}
	wantsOperator := spec.GrafanaOperator != nil
	hasOperator := !in.MissingAPIs[GrafanaDashboardKind.GroupKind()]
	var objects []client.Object
	for _, name := range dashboardNames {
		configMap := dashboardConfigMap(stack, name)
		objects = append(objects, configMap)
		if wantsOperator && hasOperator {
			objects = append(objects, grafanaDashboard(stack, configMap))
		}
	}
	if wantsOperator && !hasOperator {
		return missingAPI(objects, GrafanaDashboardKind, grafanaOperator)
	}
	return available(objects, count(len(dashboardNames), "dashboard")+" in place")
}

func dashboardConfigMap(stack *obsv1.ObservabilityStack, name string) *corev1.ConfigMap {
	meta := objectMeta(stack, componentDashboards, dashboardName(stack, name), stack.Spec.Dashboards.Labels)
	if folder := stack.Spec.Dashboards.Folder; folder != "" {
		meta.Annotations = map[string]string{stack.Spec.Dashboards.FolderAnnotation: folder}
	}
	return &corev1.ConfigMap{
		ObjectMeta: meta,
		// Grafana's sidecar puts the files of all ConfigMaps into one folder, so
		// the name has to be unique in the cluster.
		Data: map[string]string{dashboardFile(stack, name): dashboardJSON(stack, name)},
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

// dashboard is Grafana's classic JSON model; only what is filled in is named.
type dashboard map[string]any

// Variables of the files that stand for one monitor. A query that uses
// "$monitor" is written once and repeated for each monitor of the stack.
const variableMonitor = "$monitor"

// dashboardJSON fills a dashboard file in: the stack, the data source, and one
// query a monitor, with the metric names of its framework. Panels with nothing
// to show in this stack are left out.
func dashboardJSON(stack *obsv1.ObservabilityStack, name string) string {
	d := readDashboard(name)
	d["uid"] = dashboardUID(stack, name)
	// Titles must be unique within a folder of Grafana.
	d["title"] = fmt.Sprintf("%s: %s / %s", d["title"], stack.Namespace, stack.Name)
	fillVariables(d, map[string]string{
		"datasource": stack.Spec.Dashboards.Datasource, "namespace": stack.Namespace, "stack": stack.Name,
	})
	panels := fillPanels(stack, items(d["panels"]))
	d["panels"] = panels
	return encode(d)
}

// fillPanels fills the panels' queries in and closes the gaps of those that have
// nothing to show in this stack. A panel that has no queries in the file, such
// as a text or a row, stays.
func fillPanels(stack *obsv1.ObservabilityStack, panels []dashboard) []any {
	var filled []any
	for _, panel := range panels {
		queries := items(panel["targets"])
		if len(queries) > 0 {
			targets := fillTargets(stack, queries)
			if len(targets) == 0 {
				continue
			}
			panel["targets"] = targets
		}
		filled = append(filled, map[string]any(panel))
	}
	if len(filled) < len(panels) {
		placePanels(items(filled))
	}
	return filled
}

// gridWidth of Grafana, in columns.
const gridWidth = 24

// placePanels puts panels side by side in their order, and below where a row is full.
func placePanels(panels []dashboard) {
	var x, y, below float64
	for _, panel := range panels {
		position, _ := panel["gridPos"].(map[string]any)
		width, _ := position["w"].(float64)
		height, _ := position["h"].(float64)
		if x+width > gridWidth {
			x, y = 0, below
		}
		panel["gridPos"] = map[string]any{"x": x, "y": y, "w": width, "h": height}
		x, below = x+width, max(below, y+height)
	}
}

// fillVariables sets the current values of the given variables and removes
// those that stand for one monitor, which are filled in.
func fillVariables(d dashboard, values map[string]string) {
	templating, _ := d["templating"].(map[string]any)
	var kept []any
	for _, variable := range items(templating["list"]) {
		value, ok := values[fmt.Sprint(variable["name"])]
		if !ok {
			continue
		}
		if variable["type"] == "constant" {
			variable["query"] = value
		}
		variable["current"] = map[string]any{"selected": true, "text": value, "value": value}
		kept = append(kept, map[string]any(variable))
	}
	templating["list"] = kept
}

// fillTargets returns the queries of a panel for this stack.
func fillTargets(stack *obsv1.ObservabilityStack, targets []dashboard) []any {
	var filled []any
	add := func(target dashboard, replace *strings.Replacer) {
		target = maps.Clone(target)
		target["refId"] = refID(len(filled))
		for _, field := range []string{"expr", "legendFormat"} {
			if text, ok := target[field].(string); ok {
				target[field] = replace.Replace(text)
			}
		}
		filled = append(filled, map[string]any(target))
	}
	for _, target := range targets {
		if expr, _ := target["expr"].(string); !strings.Contains(expr, variableMonitor) {
			if stack.Spec.Tasks != nil {
				add(target, strings.NewReplacer())
			}
			continue
		}
		monitors := monitorsOf(stack)
		for i := range monitors {
			f := frameworkOf(&monitors[i])
			add(target, strings.NewReplacer(variableMonitor, monitors[i].Name,
				"${requests:raw}", f.requests, "${errors:raw}", f.errors, "${duration:raw}", f.duration+"_bucket"))
		}
	}
	return filled
}

// refID names the queries of a panel: A to Z, then A1 and on.
func refID(n int) string {
	id := string(rune('A' + n%26))
	if n >= 26 {
		id += fmt.Sprint(n / 26)
	}
	return id
}

// items are the objects of a JSON list.
func items(list any) []dashboard {
	elements, _ := list.([]any)
	out := make([]dashboard, 0, len(elements))
	for _, element := range elements {
		if object, ok := element.(map[string]any); ok {
			out = append(out, object)
		}
	}
	return out
}

// readDashboard decodes a file afresh, because the result is changed. That the
// files exist and decode is a test's business: they are part of the program.
func readDashboard(name string) dashboard {
	d := dashboard{}
	if content, err := dashboardFiles.ReadFile("dashboards/" + name + ".json"); err == nil {
		_ = json.Unmarshal(content, &d)
	}
	return d
}

// encode writes indented JSON with sorted keys. What was decoded from JSON always encodes.
func encode(d dashboard) string {
	content, _ := json.MarshalIndent(d, "", "  ")
	return string(content) + "\n"
}
