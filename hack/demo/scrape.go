// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
)

const (
	// scrapeInterval is shorter than that of the ServiceMonitors, so that there is soon something
	// to see.
	scrapeInterval = 5 * time.Second
	// rareGroups is how often those groups of rules are evaluated that ask for less than once a
	// minute. They do not count by their interval.
	rareGroups = monitoringv1.Duration("30s")
)

// target is a Pod behind a Service, and where what stands in for it listens.
type target struct {
	service, pod, address string
}

// scrapeConfigs are what prometheus-operator makes of a ServiceMonitor, with targets that are
// listed instead of discovered.
func scrapeConfigs(monitor *monitoringv1.ServiceMonitor, targets []target) []any {
	var configs []any
	for i, endpoint := range monitor.Spec.Endpoints {
		var static []any
		for _, t := range targets {
			static = append(static, map[string]any{
				"targets": []string{t.address},
				"labels": map[string]string{
					"namespace": monitor.Namespace, "service": t.service, "pod": t.pod, "job": t.service, "endpoint": endpoint.Port,
				},
			})
		}
		configs = append(configs, map[string]any{
			"job_name":     fmt.Sprintf("serviceMonitor/%s/%s/%d", monitor.Namespace, monitor.Name, i),
			"metrics_path": endpoint.Path, "static_configs": static,
			"relabel_configs":        relabelings(endpoint.RelabelConfigs),
			"metric_relabel_configs": relabelings(endpoint.MetricRelabelConfigs),
		})
	}
	return configs
}

// relabelings are the same in Prometheus' own words.
func relabelings(of []monitoringv1.RelabelConfig) []map[string]any {
	configs := []map[string]any{}
	for _, r := range of {
		config := map[string]any{}
		set := func(name string, value any, given bool) {
			if given {
				config[name] = value
			}
		}
		set("source_labels", r.SourceLabels, len(r.SourceLabels) > 0)
		set("separator", r.Separator, r.Separator != nil)
		set("target_label", r.TargetLabel, r.TargetLabel != "")
		set("regex", r.Regex, r.Regex != "")
		set("modulus", r.Modulus, r.Modulus != 0)
		set("replacement", r.Replacement, r.Replacement != nil)
		set("action", r.Action, r.Action != "")
		configs = append(configs, config)
	}
	return configs
}

// ruleGroups are those of the rules, as they are, but for the interval of those that are rare.
func ruleGroups(rules []monitoringv1.PrometheusRule) ([]monitoringv1.RuleGroup, error) {
	var groups []monitoringv1.RuleGroup
	for i := range rules {
		for _, group := range rules[i].Spec.Groups {
			if group.Interval != nil {
				interval, err := time.ParseDuration(string(*group.Interval))
				if err != nil {
					return nil, fmt.Errorf("the interval of the group %s: %w", group.Name, err)
				}
				if interval > time.Minute {
					group.Interval = new(rareGroups)
				}
			}
			groups = append(groups, group)
		}
	}
	return groups, nil
}
