// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Kinds of prometheus-operator, which a cluster may lack.
var (
	ServiceMonitorKind = monitoringv1.SchemeGroupVersion.WithKind(monitoringv1.ServiceMonitorsKind)
	PodMonitorKind     = monitoringv1.SchemeGroupVersion.WithKind(monitoringv1.PodMonitorsKind)
	PrometheusRuleKind = monitoringv1.SchemeGroupVersion.WithKind(monitoringv1.PrometheusRuleKind)
)

// metrics makes one ServiceMonitor for each monitor.
func metrics(stack *obsv1.ObservabilityStack, in Inputs) Output {
	monitors := stack.Spec.Monitors()
	if len(monitors) == 0 {
		return Output{}
	}
	if in.MissingAPIs[ServiceMonitorKind.GroupKind()] {
		return missingAPI(nil, ServiceMonitorKind, prometheusOperator)
	}
	var objects []client.Object
	var redirected []string
	for i := range monitors {
		objects = append(objects, serviceMonitor(stack, &monitors[i], in))
		if slices.ContainsFunc(monitors[i].Relabelings, redirects) {
			redirected = append(redirected, monitors[i].Name)
		}
	}
	out := available(objects, count(len(monitors), "ServiceMonitor")+" in place"+
		whence(stack, in.discovered().ServiceMonitors))
	if len(redirected) > 0 {
		out = unavailable(objects, obsv1.ReasonInvalidRelabeling, fmt.Sprintf("of monitor %s, relabelings that could "+
			"change what Prometheus scrapes are left out: remove labelmap, and each targetLabel that begins with __ and "+
			"not with __tmp_, or refers to the regex", strings.Join(redirected, ", ")))
	}
	out.Covered = count(len(monitors), "monitor")
	return out
}

// whence says which labels of monitors were discovered, and where.
func whence(stack *obsv1.ObservabilityStack, found *obsv1.DiscoveredLabels) string {
	if NamesLabels(stack) || found == nil {
		return ""
	}
	return fmt.Sprintf(", with the labels %s that Prometheus %s wants", labels.Set(stringMap(found.Labels)), found.From)
}

func serviceMonitor(
	stack *obsv1.ObservabilityStack, monitor *obsv1.Monitor, in Inputs,
) *monitoringv1.ServiceMonitor {
	own := ownLabels(stack, in.Platform, obsv1.SeriesMonitor, monitor.Name)
	endpoint := monitoringv1.Endpoint{
		Port:          monitor.Port,
		Path:          monitor.Path,
		Interval:      monitoringv1.Duration(monitor.Interval),
		ScrapeTimeout: monitoringv1.Duration(monitor.ScrapeTimeout),
	}
	harmless := slices.DeleteFunc(slices.Clone(monitor.Relabelings), redirects)
	endpoint.RelabelConfigs = append(relabelConfigs(harmless), own...)
	if len(monitor.MetricRelabelings) > 0 {
		endpoint.MetricRelabelConfigs = append(relabelConfigs(monitor.MetricRelabelings), own...)
	}
	if monitor.Scheme != "" {
		// Lower case: prometheus-operator before 0.86 knows no other.
		endpoint.Scheme = new(monitoringv1.Scheme(monitor.Scheme))
	}
	if monitor.TLSConfig != nil {
		endpoint.TLSConfig = &monitoringv1.TLSConfig{SafeTLSConfig: *monitor.TLSConfig}
	}
	endpoint.BasicAuth = monitor.BasicAuth
	endpoint.Authorization = monitor.Authorization
	return &monitoringv1.ServiceMonitor{
		ObjectMeta: objectMeta(stack, componentMetrics, monitorName(stack, monitor.Name),
			prometheusLabels(stack, in.discovered().ServiceMonitors)),
		Spec: monitoringv1.ServiceMonitorSpec{
			Selector:    monitor.Selector,
			SampleLimit: monitor.SampleLimit,
			Endpoints:   []monitoringv1.Endpoint{endpoint},
		},
	}
}

// literalLabel is a name without references to the regex.
var literalLabel = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// redirects reports whether a relabeling of targets could change what Prometheus scrapes. The CRD
// refuses those too, but not in a stack that was stored before it did.
func redirects(r obsv1.Relabeling) bool {
	internal := strings.HasPrefix(r.TargetLabel, "__") && !strings.HasPrefix(r.TargetLabel, "__tmp_")
	return internal || strings.EqualFold(r.Action, "labelmap") ||
		r.TargetLabel != "" && !literalLabel.MatchString(r.TargetLabel)
}

// ownLabels are set last, so that no relabeling can take a series away from its stack, or make it
// another's: the rules of every stack select their series by them.
func ownLabels(stack *obsv1.ObservabilityStack, platform Platform, label, name string) []monitoringv1.RelabelConfig {
	own := []monitoringv1.RelabelConfig{
		targetLabel("namespace", stack.Namespace),
		targetLabel(obsv1.SeriesStack, stack.Name),
		targetLabel(label, name),
	}
	if cluster := platform.cluster(); cluster != "" {
		own = append(own, targetLabel(obsv1.SeriesCluster, cluster))
	}
	return own
}

// targetLabel puts a fixed label on every series of a target.
func targetLabel(name, value string) monitoringv1.RelabelConfig {
	// Prometheus reads $1 as a reference to the regular expression.
	return monitoringv1.RelabelConfig{
		Action: "replace", TargetLabel: name, Replacement: new(strings.ReplaceAll(value, "$", "$$")),
	}
}

// relabelConfigs are the user's relabelings as a ServiceMonitor has them.
func relabelConfigs(relabelings []obsv1.Relabeling) []monitoringv1.RelabelConfig {
	var configs []monitoringv1.RelabelConfig
	for _, r := range relabelings {
		config := monitoringv1.RelabelConfig{
			Separator: r.Separator, TargetLabel: r.TargetLabel, Regex: r.Regex,
			Modulus: r.Modulus, Replacement: r.Replacement, Action: r.Action,
		}
		for _, label := range r.SourceLabels {
			config.SourceLabels = append(config.SourceLabels, monitoringv1.LabelName(label))
		}
		configs = append(configs, config)
	}
	return configs
}

// Where a missing kind comes from, for messages.
const (
	prometheusOperator = "prometheus-operator"
	grafanaOperator    = "grafana-operator"
)

func missingAPI(objects []client.Object, kind schema.GroupVersionKind, provider string) Output {
	return unavailable(objects, obsv1.ReasonMissingAPI, fmt.Sprintf(
		"the cluster does not serve %s (%s), or not to obstack: install the CustomResourceDefinitions of %s, and let "+
			"obstack list them; it goes on by itself once they are there",
		kind.Kind, kind.GroupVersion(), provider))
}

// count renders "1 monitor" and "2 monitors".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
