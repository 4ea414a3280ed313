// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

func TestScrapeConfigsKeepTheMonitorsRelabelings(t *testing.T) {
	separator := "-"
	monitor := &monitoringv1.ServiceMonitor{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop-api"},
		Spec: monitoringv1.ServiceMonitorSpec{Endpoints: []monitoringv1.Endpoint{{
			Port: "http", Path: "/metrics", Interval: "30s",
			RelabelConfigs: []monitoringv1.RelabelConfig{{
				SourceLabels: []monitoringv1.LabelName{"namespace", "pod"}, Separator: &separator, Regex: "(.+)",
				TargetLabel: "obstack_stack", Replacement: new("$1"), Action: "replace",
			}},
			MetricRelabelConfigs: []monitoringv1.RelabelConfig{{Action: "labeldrop", Regex: "noise"}},
		}}},
	}
	const want = `
- job_name: serviceMonitor/shop/shop-api/0
  metrics_path: /metrics
  static_configs:
  - targets: ["127.0.0.1:1"]
    labels: {namespace: shop, service: shop-api, pod: shop-api-0, job: shop-api, endpoint: http}
  relabel_configs:
  - source_labels: [namespace, pod]
    separator: "-"
    regex: (.+)
    target_label: obstack_stack
    replacement: $1
    action: replace
  metric_relabel_configs:
  - {action: labeldrop, regex: noise}
`
	got, err := yaml.Marshal(scrapeConfigs(monitor, []target{{"shop-api", "shop-api-0", "127.0.0.1:1"}}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(decode(t, want), decode(t, string(got))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func decode(t *testing.T, text string) any {
	t.Helper()
	var content any
	if err := yaml.Unmarshal([]byte(text), &content); err != nil {
		t.Fatal(err)
	}
	return content
}

func TestRuleGroupsShortenWhatIsRare(t *testing.T) {
	rules := []monitoringv1.PrometheusRule{{Spec: monitoringv1.PrometheusRuleSpec{Groups: []monitoringv1.RuleGroup{
		{Name: "default"}, {Name: "counts", Interval: new(monitoringv1.Duration("1m"))},
		{Name: "rare", Interval: new(monitoringv1.Duration("2m"))},
	}}}}
	got, err := ruleGroups(rules)
	if err != nil {
		t.Fatal(err)
	}
	want := []monitoringv1.RuleGroup{
		{Name: "default"}, {Name: "counts", Interval: new(monitoringv1.Duration("1m"))},
		{Name: "rare", Interval: new(rareGroups)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if kept := *rules[0].Spec.Groups[2].Interval; kept != "2m" {
		t.Errorf("the interval of the rule itself became %s", kept)
	}
	broken := []monitoringv1.PrometheusRule{{Spec: monitoringv1.PrometheusRuleSpec{Groups: []monitoringv1.RuleGroup{
		{Name: "broken", Interval: new(monitoringv1.Duration("often"))},
	}}}}
	if _, err := ruleGroups(broken); err == nil {
		t.Error("an interval that is none is no error")
	}
}
