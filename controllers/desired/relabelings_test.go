// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// TestRelabelingsCannotChangeTheOwner runs Prometheus' own relabeling over what a stack asks for.
func TestRelabelingsCannotChangeTheOwner(t *testing.T) {
	attacks := []obsv1.Relabeling{
		{TargetLabel: "namespace", Replacement: new("other")},
		{TargetLabel: "obstack_stack", Replacement: new("other")},
		{TargetLabel: "obstack_monitor", Replacement: new("other")},
		{Action: "labeldrop", Regex: "namespace|obstack_.*"},
		{Action: "labelkeep", Regex: "__.*"},
		{Action: "labelmap", Regex: "fake_(.*)", Replacement: new("$1")},
		{Action: "hashmod", SourceLabels: []string{"pod"}, Modulus: 7, TargetLabel: "namespace"},
		{Action: "Uppercase", SourceLabels: []string{"pod"}, TargetLabel: "obstack_stack"},
		{TargetLabel: "__address__", Replacement: new("evil.example:80")},
		{TargetLabel: "__metrics_path__", Replacement: new("/evil")},
		{TargetLabel: "__scheme__", Replacement: new("https")},
		{TargetLabel: "__param_target", Replacement: new("evil.example")},
		{Action: "Lowercase", SourceLabels: []string{"pod"}, TargetLabel: "__address__"},
		{Action: "LabelMap", Regex: "fake_(address)", Replacement: new("__${1}__")},
		{SourceLabels: []string{"fake_address"}, TargetLabel: "${1}", Regex: "(.*)", Replacement: new("evil.example:80")},
	}
	stack := &obsv1.ObservabilityStack{}
	stack.Namespace, stack.Name = "shop", "shop"
	in := Inputs{Platform: Platform{Spec: &obsv1.ObservabilityPlatformSpec{Cluster: "eu-1"}}}
	for _, attack := range attacks {
		monitor := &obsv1.Monitor{
			Name: "api", Relabelings: []obsv1.Relabeling{attack}, MetricRelabelings: []obsv1.Relabeling{attack},
		}
		endpoint := serviceMonitor(stack, monitor, in).Spec.Endpoints[0]
		for where, configs := range map[string][]monitoringv1.RelabelConfig{
			"relabelings": endpoint.RelabelConfigs, "metricRelabelings": endpoint.MetricRelabelConfigs,
		} {
			target := labels.NewBuilder(labels.FromStrings("__address__", "10.0.0.1:80", "pod", "p", "namespace", "shop",
				"obstack_stack", "shop", "obstack_monitor", "api", "fake_cluster", "other",
				"fake_namespace", "other", "fake_obstack_stack", "other", "fake_obstack_monitor", "other",
				"fake_address", "__address__"))
			relabel.ProcessBuilder(target, prometheusConfigs(t, configs)...)
			got := target.Labels().Map()
			wanted := map[string]string{
				"namespace": "shop", "obstack_stack": "shop", "obstack_monitor": "api", "cluster": "eu-1",
			}
			if where == "relabelings" { // After the scrape nothing asks for these.
				wanted["__address__"], wanted["__metrics_path__"], wanted["__scheme__"] = "10.0.0.1:80", "", ""
				wanted["__param_target"] = ""
			}
			for label, want := range wanted {
				if got[label] != want {
					t.Errorf("%s %+v: %s = %q, want %q", where, attack, label, got[label], want)
				}
			}
		}
	}
}

// TestRelabelingsOfTargetsAreLeftOut: the API server refuses them, but not in stacks that it has
// already.
func TestRelabelingsOfTargetsAreLeftOut(t *testing.T) {
	stack := admit(t, "every string", []byte(everyString))
	kept := obsv1.Relabeling{TargetLabel: "__tmp_pod", SourceLabels: []string{"pod"}}
	stack.Spec.Metrics.Monitors[1].Relabelings = []obsv1.Relabeling{kept}
	if out := metrics(stack, Inputs{}); out.Status != "True" {
		t.Errorf("%+v, want %s", conditionOf(out), obsv1.ReasonAvailable)
	}
	stack.Spec.Metrics.Monitors[1].Relabelings = []obsv1.Relabeling{{TargetLabel: "__address__"}, kept}
	out := metrics(stack, Inputs{})
	if out.Reason != obsv1.ReasonInvalidRelabeling || out.Hold || !strings.Contains(out.Message, "monitor web,") {
		t.Errorf("%+v, want %s of the monitor web", conditionOf(out), obsv1.ReasonInvalidRelabeling)
	}
	configs := out.Objects[1].(*monitoringv1.ServiceMonitor).Spec.Endpoints[0].RelabelConfigs
	if len(configs) != 4 || configs[0].TargetLabel != kept.TargetLabel {
		t.Errorf("relabelings = %+v, want the harmless one and those of obstack", configs)
	}
}

// prometheusConfigs are relabelings as prometheus-operator writes them for Prometheus.
func prometheusConfigs(t *testing.T, configs []monitoringv1.RelabelConfig) []*relabel.Config {
	t.Helper()
	var all []*relabel.Config
	for _, c := range configs {
		config := relabel.DefaultRelabelConfig
		config.NameValidationScheme = model.LegacyValidation
		for _, label := range c.SourceLabels {
			config.SourceLabels = append(config.SourceLabels, model.LabelName(label))
		}
		if c.Separator != nil {
			config.Separator = *c.Separator
		}
		if c.Replacement != nil {
			config.Replacement = *c.Replacement
		}
		if c.Regex != "" {
			config.Regex = relabel.MustNewRegexp(c.Regex)
		}
		if c.Action != "" {
			config.Action = relabel.Action(strings.ToLower(c.Action))
		}
		config.TargetLabel, config.Modulus = c.TargetLabel, uint64(c.Modulus)
		if err := config.Validate(model.LegacyValidation); err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		all = append(all, &config)
	}
	return all
}
