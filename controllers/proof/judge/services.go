// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Service is what of a Service makes it scraped.
type Service struct {
	Name   string
	Labels map[string]string
	// Ports are the names of its ports; that of a single one may be empty.
	Ports []string
	// Unread is set if its labels and ports are too large to be looked at.
	Unread bool
}

// Served says of the monitors of a stack which select no Service, or none with their port, or none
// with anything ready behind it.
func Served(stack *obsv1.ObservabilityStack, cluster Cluster) (findings []Finding) {
	for _, monitor := range stack.Spec.Monitors() {
		reason, message := served(&monitor, stack.Namespace, cluster)
		if reason != "" {
			findings = append(findings, Finding{
				Part: Part{obsv1.PartMonitor, monitor.Name}, Level: obsv1.LevelSelected, State: metav1.ConditionFalse,
				Reason: reason, Message: message,
			})
		}
	}
	return findings
}

// ServicesOf are the names of the Services that a Prometheus scrapes for a monitor.
func ServicesOf(monitor *obsv1.Monitor, services []Service) (names []string) {
	for _, s := range selectedServices(monitor, services) {
		if s.Unread || slices.Contains(s.Ports, monitor.Port) {
			names = append(names, s.Name)
		}
	}
	return names
}

func selectedServices(monitor *obsv1.Monitor, services []Service) (selected []Service) {
	selector, err := metav1.LabelSelectorAsSelector(&monitor.Selector)
	if err != nil {
		return nil // The API server refuses the ServiceMonitor, which its condition says.
	}
	for _, s := range services {
		if s.Unread || selector.Matches(labels.Set(s.Labels)) {
			selected = append(selected, s)
		}
	}
	return selected
}

// Concerns reports whether a Service may change what is said of a stack: a monitor selects it, or
// selects none, and it is named instead.
func Concerns(stack *obsv1.ObservabilityStack, service Service) bool {
	for _, monitor := range stack.Spec.Monitors() {
		if len(selectedServices(&monitor, []Service{service})) > 0 {
			return true
		}
	}
	return stack.Spec.Metrics != nil && slices.ContainsFunc(stack.Status.Parts, func(part obsv1.PartStatus) bool {
		return part.Reason == obsv1.ReasonNoService
	})
}

func served(monitor *obsv1.Monitor, namespace string, cluster Cluster) (reason, message string) {
	selected := selectedServices(monitor, cluster.Services)
	scraped := ServicesOf(monitor, selected)
	switch {
	case len(scraped) > 0 && cluster.Unready[monitor.Name]:
		return obsv1.ReasonNoReadyAddress, fmt.Sprintf("nothing that is ready stands behind the Services of monitor %s: "+
			"look at the Pods of %s", monitor.Name, some(scraped, ", ", itself))
	case len(scraped) > 0:
		return "", ""
	case len(selected) == 0:
		return obsv1.ReasonNoService, fmt.Sprintf("monitor %s selects no Service: it wants %s, and %s", monitor.Name,
			metav1.FormatLabelSelector(&monitor.Selector), present(&monitor.Selector, namespace, cluster.Services))
	default:
		return obsv1.ReasonPortNotFound, fmt.Sprintf("no Service of monitor %s has a port named %s: %s", monitor.Name,
			monitor.Port, some(selected, "; ", ports))
	}
}

// present says which labels there are instead of those that a selector wants: those with its keys,
// else which Services there are.
func present(selector *metav1.LabelSelector, namespace string, services []Service) string {
	if len(services) == 0 {
		return fmt.Sprintf("namespace %s has no Service", namespace)
	}
	wanted := map[string]bool{}
	for key := range selector.MatchLabels {
		wanted[key] = true
	}
	for _, expression := range selector.MatchExpressions {
		wanted[expression.Key] = true
	}
	var found, names []string
	for _, s := range services {
		names = append(names, s.Name)
		for key, value := range s.Labels {
			if wanted[key] {
				found = append(found, key+"="+value)
			}
		}
	}
	text := "the Services have "
	if len(found) == 0 {
		found, text = names, "its labels are on none of the Services "
	}
	slices.Sort(found)
	return text + some(slices.Compact(found), ", ", itself)
}

// ports says which ports a Service has.
func ports(s Service) string {
	named := slices.DeleteFunc(slices.Clone(s.Ports), func(name string) bool { return name == "" })
	switch {
	case len(named) > 0:
		return fmt.Sprintf("%s has %s", s.Name, some(named, ", ", itself))
	case len(s.Ports) > 0:
		return fmt.Sprintf("%s has a port without a name", s.Name)
	default:
		return fmt.Sprintf("%s has no port", s.Name)
	}
}

func itself(text string) string { return text }
