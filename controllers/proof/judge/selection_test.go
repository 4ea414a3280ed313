// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

var (
	everything = &metav1.LabelSelector{}
	release    = matching("release", "kube-prometheus-stack")
)

func matching(pairs ...string) *metav1.LabelSelector {
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		selector.MatchLabels[pairs[i]] = pairs[i+1]
	}
	return selector
}

func expression(key string, operator metav1.LabelSelectorOperator, values ...string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: key, Operator: operator, Values: values},
	}}
}

// prometheus selects monitors and rules alike.
func prometheus(name string, objects, namespaces *metav1.LabelSelector) Prometheus {
	selection := &Selection{Objects: objects, Namespaces: namespaces}
	return Prometheus{Namespace: "monitoring", Name: name, Monitors: selection, PodMonitors: selection, Rules: selection}
}

func agent(name string, objects *metav1.LabelSelector) Prometheus {
	p := prometheus(name, objects, everything)
	p.Rules = nil
	return p
}

func TestSelectedByPrometheuses(t *testing.T) {
	kubePrometheusStack := prometheus("k8s", release, everything)
	for name, tc := range map[string]struct {
		prometheuses []Prometheus
		labels       map[string]string
		// monitor and rule are what is wrong with them; "ok" if they are selected, empty if nothing is
		// said.
		monitor, rule string
	}{
		"none": {},
		"kube-prometheus-stack, without its label": {
			prometheuses: []Prometheus{kubePrometheusStack},
			monitor: "no Prometheus selects ServiceMonitor shop-api: monitoring/k8s wants release=kube-prometheus-stack; " +
				"spec.metrics.labels sets labels",
			rule: "no Prometheus selects PrometheusRule shop-alerts: monitoring/k8s wants release=kube-prometheus-stack; " +
				"spec.metrics.labels sets labels",
		},
		"kube-prometheus-stack, another release": {
			prometheuses: []Prometheus{kubePrometheusStack}, labels: map[string]string{"release": "prometheus"},
			monitor: "monitoring/k8s wants release=kube-prometheus-stack;", rule: "wants release=kube-prometheus-stack;",
		},
		"kube-prometheus-stack, with its label": {
			prometheuses: []Prometheus{kubePrometheusStack}, labels: map[string]string{"release": "kube-prometheus-stack"},
			monitor: "ok", rule: "ok",
		},
		"one that takes all": {
			prometheuses: []Prometheus{prometheus("k8s", everything, everything)}, monitor: "ok", rule: "ok",
		},
		"one that takes none": {
			prometheuses: []Prometheus{prometheus("k8s", nil, everything)},
			monitor:      "shop-api: monitoring/k8s selects no ServiceMonitor", rule: "monitoring/k8s selects no PrometheusRule",
		},
		"one that looks in its own namespace": {
			prometheuses: []Prometheus{prometheus("k8s", everything, nil)},
			monitor:      "shop-api: monitoring/k8s looks in its own namespace only", rule: "own namespace only",
		},
		"one in the stack's namespace": {
			prometheuses: []Prometheus{{Namespace: "shop", Name: "own", Monitors: &Selection{Objects: everything}}},
			monitor:      "ok",
		},
		"one that looks in other namespaces": {
			prometheuses: []Prometheus{prometheus("k8s", release, matching("team", "infra"))},
			monitor: "shop-api: monitoring/k8s wants release=kube-prometheus-stack and looks in namespaces with " +
				"team=infra only", rule: "team=infra only",
		},
		"one that looks in the stack's namespace by its name": {
			prometheuses: []Prometheus{prometheus("k8s", everything, matching("kubernetes.io/metadata.name", "shop"))},
			monitor:      "ok", rule: "ok",
		},
		"namespaces by expression": {
			prometheuses: []Prometheus{prometheus("k8s", everything, expression("team", metav1.LabelSelectorOpNotIn, "shop"))},
			monitor:      "looks in namespaces with team notin (shop) only", rule: "team notin (shop)",
		},
		"In": {
			prometheuses: []Prometheus{prometheus("k8s", expression("release", metav1.LabelSelectorOpIn, "b", "a"), everything)},
			monitor:      "shop-api: monitoring/k8s wants release in (a,b)", rule: "release in (a,b)",
		},
		"In, met": {
			prometheuses: []Prometheus{prometheus("k8s", expression("release", metav1.LabelSelectorOpIn, "b", "a"), everything)},
			labels:       map[string]string{"release": "b"}, monitor: "ok", rule: "ok",
		},
		"Exists": {
			prometheuses: []Prometheus{prometheus("k8s", expression("tenant", metav1.LabelSelectorOpExists), everything)},
			monitor:      "monitoring/k8s wants tenant", rule: "wants tenant",
		},
		"DoesNotExist": {
			prometheuses: []Prometheus{prometheus("k8s", expression("release", metav1.LabelSelectorOpDoesNotExist), everything)},
			labels:       map[string]string{"release": "b"}, monitor: "monitoring/k8s wants !release", rule: "wants !release",
		},
		"a malformed selector": {
			prometheuses: []Prometheus{prometheus("k8s", expression("release", "Is"), everything)},
			monitor:      "monitoring/k8s has a malformed selector", rule: "malformed",
		},
		"several, one of which selects": {
			prometheuses: []Prometheus{kubePrometheusStack, prometheus("other", matching("a", "b"), everything)},
			labels:       map[string]string{"release": "kube-prometheus-stack"}, monitor: "ok", rule: "ok",
		},
		"several, the nearest first": {
			prometheuses: []Prometheus{
				prometheus("a", nil, everything), prometheus("b", everything, matching("team", "infra")),
				prometheus("c", matching("x", "1", "y", "2"), everything), prometheus("d", matching("x", "1"), everything),
			},
			monitor: "shop-api: monitoring/d wants x=1; monitoring/c wants x=1,y=2; monitoring/b looks in namespaces with " +
				"team=infra only; and 1 more; spec.metrics.labels sets labels",
			rule: "shop-alerts: monitoring/d wants x=1; monitoring/c wants",
		},
		"many wishes": {
			prometheuses: []Prometheus{
				prometheus("k8s", matching("a", "1", "b", "2", "c", "3", "d", "4", "e", "5"), everything),
			},
			monitor: "monitoring/k8s wants a=1,b=2,c=3,and 2 more", rule: "and 2 more",
		},
		"an agent": {
			prometheuses: []Prometheus{agent("edge", release)}, labels: map[string]string{"release": "kube-prometheus-stack"},
			monitor: "ok",
		},
		"an agent that does not": {
			prometheuses: []Prometheus{agent("edge", release)},
			monitor:      "shop-api: monitoring/edge wants release=kube-prometheus-stack",
		},
		"an agent for the monitors, a Prometheus for the rules": {
			prometheuses: []Prometheus{agent("edge", everything), prometheus("ruler", nil, nil)}, monitor: "ok",
			rule: "shop-alerts: monitoring/ruler selects no PrometheusRule",
		},
	} {
		t.Run(name, func(t *testing.T) {
			children := []Child{
				{Part{obsv1.PartMonitor, "api"}, ServiceMonitor, "shop-api", tc.labels},
				{Part{obsv1.PartAlerts, "alerts"}, PrometheusRule, "shop-alerts", tc.labels},
			}
			cluster := Cluster{
				Prometheuses: tc.prometheuses, Labels: map[string]string{"kubernetes.io/metadata.name": "shop", "team": "shop"},
			}
			got := map[obsv1.PartKind]string{}
			for _, f := range Selected("shop", children, cluster) {
				got[f.Kind] = f.Message
				if f.State == metav1.ConditionTrue {
					got[f.Kind] = "ok"
				}
				if selected := f.Reason == obsv1.ReasonSelected; f.Level != obsv1.LevelSelected ||
					selected != (f.State == metav1.ConditionTrue) || !selected && f.Reason != obsv1.ReasonNotSelected {
					t.Errorf("finding = %+v", f)
				}
			}
			for kind, want := range map[obsv1.PartKind]string{obsv1.PartMonitor: tc.monitor, obsv1.PartAlerts: tc.rule} {
				if !strings.Contains(got[kind], want) || (want == "") != (got[kind] == "") {
					t.Errorf("%s: %q, want %q", kind, got[kind], want)
				}
			}
		})
	}
}

func TestLabelsAreThoseOfTheOnlyPrometheus(t *testing.T) {
	set := func(from string, pairs ...string) *obsv1.DiscoveredLabels {
		labels := map[string]obsv1.LabelValue{}
		for i := 0; i < len(pairs); i += 2 {
			labels[pairs[i]] = obsv1.LabelValue(pairs[i+1])
		}
		return &obsv1.DiscoveredLabels{Labels: labels, From: "monitoring/" + from}
	}
	k8s := set("k8s", "release", "kube-prometheus-stack")
	differing := prometheus("k8s", release, everything)
	differing.Rules = &Selection{Objects: matching("role", "alert-rules"), Namespaces: everything}
	many := make([]string, 0, 34)
	for _, c := range "abcdefghijklmnopq" {
		many = append(many, string(c), "1")
	}
	for name, tc := range map[string]struct {
		prometheuses []Prometheus
		before       *obsv1.DiscoveredLabels
		// monitors and rules, which are as the monitors if they are nil and alike is set.
		monitors, rules *obsv1.DiscoveredLabels
		alike           bool
	}{
		"no Prometheus": {alike: true},
		"kube-prometheus-stack": {
			prometheuses: []Prometheus{prometheus("k8s", release, everything)}, monitors: k8s, alike: true,
		},
		"other labels for rules": {
			prometheuses: []Prometheus{differing}, monitors: k8s, rules: set("k8s", "role", "alert-rules"),
		},
		"an agent":            {prometheuses: []Prometheus{agent("k8s", release)}, monitors: k8s},
		"one that takes all":  {prometheuses: []Prometheus{prometheus("k8s", everything, everything)}, alike: true},
		"one that takes none": {prometheuses: []Prometheus{prometheus("k8s", nil, everything)}, alike: true},
		"one that takes all beside another": {
			prometheuses: []Prometheus{prometheus("all", everything, everything), prometheus("k8s", release, everything)},
			alike:        true,
		},
		"two that could": {
			prometheuses: []Prometheus{prometheus("k8s", release, everything), prometheus("b", matching("a", "b"), everything)},
			alike:        true,
		},
		"two, of which one looks elsewhere": {
			prometheuses: []Prometheus{prometheus("k8s", release, everything), prometheus("b", matching("a", "b"), nil)},
			monitors:     k8s, alike: true,
		},
		"two, of which one has expressions": {
			prometheuses: []Prometheus{
				prometheus("k8s", release, everything),
				prometheus("b", expression("a", metav1.LabelSelectorOpIn, "b"), everything),
			},
			monitors: k8s, alike: true,
		},
		"a label of ours": {
			prometheuses: []Prometheus{prometheus("k8s", matching("app.kubernetes.io/part-of", "infra"), everything)},
			alike:        true,
		},
		"a label of ours that is so": {
			prometheuses: []Prometheus{
				prometheus("k8s", matching("app.kubernetes.io/part-of", "obstack", "release", "kube-prometheus-stack"), everything),
			},
			monitors: k8s, alike: true,
		},
		"more labels than a spec may set": {
			prometheuses: []Prometheus{prometheus("k8s", matching(many...), everything)}, alike: true,
		},
		"those that are set, beside a second that could": {
			prometheuses: []Prometheus{prometheus("a", matching("a", "b"), everything), prometheus("k8s", release, everything)},
			before:       k8s, monitors: k8s, alike: true,
		},
		"those that are set, beside one that takes all": {
			prometheuses: []Prometheus{prometheus("a", everything, everything), prometheus("k8s", release, everything)},
			before:       k8s, monitors: k8s, alike: true,
		},
		"those that are set, of a Prometheus with another name": {
			prometheuses: []Prometheus{prometheus("new", release, everything)},
			before:       k8s, monitors: set("new", "release", "kube-prometheus-stack"), alike: true,
		},
		"those that are set, while nobody is there": {before: k8s, monitors: k8s, alike: true},
		"others, when only those are selected": {
			prometheuses: []Prometheus{prometheus("a", matching("a", "b"), everything)},
			before:       k8s, monitors: set("a", "a", "b"), alike: true,
		},
		"none, when the one that is left takes all but them": {
			prometheuses: []Prometheus{
				prometheus("a", expression("release", metav1.LabelSelectorOpDoesNotExist), everything),
			},
			before: k8s, alike: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.alike {
				tc.rules = tc.monitors
			}
			stack := &obsv1.ObservabilityStack{}
			stack.Namespace = "shop"
			stack.Spec.Tasks, stack.Spec.Alerts = &obsv1.TasksSpec{}, &obsv1.AlertsSpec{}
			if tc.before != nil {
				stack.Status.Discovered = &obsv1.DiscoveredStatus{ServiceMonitors: tc.before, PrometheusRules: tc.before}
			}
			got := Labels(stack, Cluster{Prometheuses: tc.prometheuses})
			if (got == nil) != (tc.monitors == nil && tc.rules == nil) {
				t.Fatalf("Labels = %+v", got)
			}
			if got == nil {
				return
			}
			want := &obsv1.DiscoveredStatus{ServiceMonitors: tc.monitors, PrometheusRules: tc.rules}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Labels (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLabelsAreSetOnlyWhereTheyAreWanted(t *testing.T) {
	cluster := Cluster{Prometheuses: []Prometheus{prometheus("k8s", release, everything)}}
	for name, tc := range map[string]struct {
		spec            obsv1.ObservabilityStackSpec
		monitors, rules bool
	}{
		"nothing":  {},
		"monitors": {spec: obsv1.ObservabilityStackSpec{Metrics: &obsv1.MetricsSpec{}}, monitors: true},
		"SLOs":     {spec: obsv1.ObservabilityStackSpec{SLOs: []obsv1.SLO{{}}}, rules: true},
		"labels of its own": {spec: obsv1.ObservabilityStackSpec{
			Metrics: &obsv1.MetricsSpec{Labels: map[string]obsv1.LabelValue{"team": "shop"}}, Alerts: &obsv1.AlertsSpec{},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Labels(&obsv1.ObservabilityStack{Spec: tc.spec}, cluster)
			if got == nil {
				got = &obsv1.DiscoveredStatus{}
			}
			if (got.ServiceMonitors != nil) != tc.monitors || (got.PrometheusRules != nil) != tc.rules {
				t.Errorf("Labels = %+v", got)
			}
		})
	}
}
