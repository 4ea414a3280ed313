// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// report prints what the operator made of the stack, its conditions, and how to look around.
func (d *demo) report(ctx context.Context, stack *obsv1.ObservabilityStack) error {
	children, err := d.children(ctx, stack)
	if err != nil {
		return err
	}
	say(d.out, "From one ObservabilityStack, obstack made and keeps:\n")
	rows := [][]string{{"PART", "KIND", "NAME", "WHAT FOR"}}
	for _, child := range children {
		rows = append(rows, []string{child.GetLabels()[obsv1.LabelComponent], kind(child), child.GetName(), purpose(child)})
	}
	table(d.out, rows)

	say(d.out, "\nand says in its status:\n")
	rows = [][]string{{"CONDITION", "STATUS", "REASON", "MESSAGE"}}
	for _, c := range stack.Status.Conditions {
		rows = append(rows, []string{c.Type, string(c.Status), c.Reason, c.Message})
	}
	table(d.out, rows)

	if err := d.showPods(ctx, stack); err != nil {
		return err
	}
	kubectl := fmt.Sprintf("KUBECONFIG=%s %s -n %s", d.cp.Kubeconfig, filepath.Join(d.cp.Assets, string(testenv.Kubectl)),
		stack.Namespace)
	say(d.out, "\nLook around, while the demo runs:\n")
	say(d.out, "  %s get obs,servicemonitors,prometheusrules,deployments,pods,configmaps,secrets", kubectl)
	say(d.out, "\nDelete something, and see it come back:\n")
	say(d.out, "  %s delete servicemonitors --all", kubectl)
	return nil
}

// children are the objects of the stack, by part and name.
func (d *demo) children(ctx context.Context, stack *obsv1.ObservabilityStack) ([]client.Object, error) {
	var children []client.Object
	for _, list := range []client.ObjectList{
		&monitoringv1.ServiceMonitorList{}, &monitoringv1.PodMonitorList{}, &monitoringv1.PrometheusRuleList{},
		&appsv1.DeploymentList{}, &corev1.ServiceList{}, &corev1.ConfigMapList{}, &corev1.SecretList{},
	} {
		err := d.api.List(ctx, list, client.InNamespace(stack.Namespace),
			client.MatchingLabels{obsv1.LabelManagedBy: obsv1.ManagedBy, obsv1.LabelStack: stack.Name})
		if err != nil {
			return nil, fmt.Errorf("list what the operator made: %w", err)
		}
		err = apimeta.EachListItem(list, func(item runtime.Object) error {
			children = append(children, item.(client.Object))
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("list what the operator made: %w", err)
		}
	}
	slices.SortStableFunc(children, func(a, b client.Object) int {
		return strings.Compare(a.GetLabels()[obsv1.LabelComponent], b.GetLabels()[obsv1.LabelComponent])
	})
	return children, nil
}

func kind(object client.Object) string {
	name := fmt.Sprintf("%T", object)
	return name[strings.LastIndex(name, ".")+1:]
}

// purpose says in a few words what a child is for, from what is in it.
func purpose(object client.Object) string {
	switch o := object.(type) {
	case *monitoringv1.ServiceMonitor:
		return scrapes(o)
	case *monitoringv1.PodMonitor:
		endpoint := o.Spec.PodMetricsEndpoints[0]
		return fmt.Sprintf("scrapes Pods with the modules for Python: %s every %s", endpoint.Path, endpoint.Interval)
	case *monitoringv1.PrometheusRule:
		return "alerts: " + strings.Join(alerts(o), ", ")
	case *appsv1.Deployment:
		return fmt.Sprintf("exporter: tasks, queues and workers of the broker as metrics; %d of %d available",
			o.Status.AvailableReplicas, o.Status.Replicas)
	case *corev1.Service:
		return "where Prometheus finds the exporter"
	case *corev1.ConfigMap:
		return "Grafana dashboard: " + strings.Join(titles(o), ", ")
	case *corev1.Secret:
		return "settings for the workloads: " + strings.Join(slices.Sorted(maps.Keys(o.Data)), ", ")
	}
	return ""
}

func scrapes(monitor *monitoringv1.ServiceMonitor) string {
	var parts []string
	for _, e := range monitor.Spec.Endpoints {
		parts = append(parts, fmt.Sprintf("port %s, %s every %s", e.Port, e.Path, e.Interval))
	}
	what := "Services with " + metav1.FormatLabelSelector(&monitor.Spec.Selector)
	if monitor.Labels[obsv1.LabelComponent] == "tasks" {
		what = "the exporter"
	}
	return fmt.Sprintf("scrapes %s: %s", what, strings.Join(parts, "; "))
}

func alerts(rule *monitoringv1.PrometheusRule) []string {
	var names []string
	for _, group := range rule.Spec.Groups {
		for _, r := range group.Rules {
			if r.Alert != "" && !slices.Contains(names, r.Alert) {
				names = append(names, r.Alert)
			}
		}
	}
	return names
}

func titles(configMap *corev1.ConfigMap) []string {
	var titles []string
	for _, file := range slices.Sorted(maps.Keys(configMap.Data)) {
		var dashboard struct{ Title string }
		if err := json.Unmarshal([]byte(configMap.Data[file]), &dashboard); err != nil || dashboard.Title == "" {
			dashboard.Title = file
		}
		titles = append(titles, dashboard.Title)
	}
	return titles
}

// table prints rows in columns, indented.
func table(out io.Writer, rows [][]string) {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		_, _ = fmt.Fprintln(w, "  "+strings.Join(row, "\t"))
	}
	_ = w.Flush()
}
