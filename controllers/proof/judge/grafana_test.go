// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

func withDashboards(labels map[string]obsv1.LabelValue) *obsv1.ObservabilityStack {
	return &obsv1.ObservabilityStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"},
		Spec: obsv1.ObservabilityStackSpec{
			Dashboards: &obsv1.DashboardsSpec{Labels: labels, Datasource: "prometheus"},
		},
	}
}

func TestSidecarsTakeByLabelAndNamespace(t *testing.T) {
	stack := withDashboards(map[string]obsv1.LabelValue{"grafana_dashboard": "1"})
	for name, tc := range map[string]struct {
		sidecar Sidecar
		want    bool
	}{
		"kube-prometheus-stack":   {Sidecar{Namespace: "monitoring", Label: "grafana_dashboard", Value: "1"}, true},
		"any value":               {Sidecar{Namespace: "monitoring", Label: "grafana_dashboard"}, true},
		"a label of obstack's":    {Sidecar{Label: obsv1.LabelManagedBy, Value: obsv1.ManagedBy}, true},
		"among its namespaces":    {Sidecar{Label: "grafana_dashboard", Namespaces: []string{"web", "shop"}}, true},
		"another value":           {Sidecar{Label: "grafana_dashboard", Value: "true"}, false},
		"another label":           {Sidecar{Label: "dashboards"}, false},
		"only its own namespace":  {Sidecar{Label: "grafana_dashboard", Namespaces: []string{"monitoring"}}, false},
		"a label that is a value": {Sidecar{Label: "1"}, false},
	} {
		if got := (Sidecars{Found: []Sidecar{tc.sidecar}}).Takes(stack); got != tc.want {
			t.Errorf("%s: takes = %t, want %t", name, got, tc.want)
		}
	}
}

func TestDashboardsAreJudgedByGrafanaAndItsSidecars(t *testing.T) {
	takes := Sidecars{Found: []Sidecar{{Namespace: "monitoring", Label: "grafana_dashboard", Value: "1"}}}
	other := Sidecars{Found: []Sidecar{{Namespace: "monitoring", Label: "dashboards", Namespaces: []string{"monitoring"}}}}
	stack := withDashboards(map[string]obsv1.LabelValue{"grafana_dashboard": "1"})
	byOperator := stack.DeepCopy()
	byOperator.Spec.Dashboards.GrafanaOperator = &obsv1.GrafanaOperatorSpec{}
	uid := map[string]bool{desired.DashboardUID(stack, "overview"): true}
	none := &Gap{"NoPlatform", "no platform"}
	works := Grafana{Dashboards: uid, Datasources: map[string]bool{"prometheus": true}}
	for name, tc := range map[string]struct {
		stack    *obsv1.ObservabilityStack
		sidecars Sidecars
		grafana  Grafana
		want     []string
	}{
		"a sidecar, and no Grafana to ask": {stack, takes, Grafana{Gap: none},
			[]string{"Selected True Selected", "Seen Unknown NoPlatform"}},
		"no sidecar, and no Grafana to ask": {stack, Sidecars{}, Grafana{Gap: none},
			[]string{"Selected False NoSidecar", "Seen Unknown NoPlatform"}},
		"a sidecar that wants other labels": {stack, other, Grafana{Gap: none},
			[]string{"Selected False NoSidecar", "Seen Unknown NoPlatform"}},
		"nobody may look for sidecars": {stack, Sidecars{Hidden: true}, Grafana{Gap: none},
			[]string{"Seen Unknown NoPlatform"}},
		"grafana-operator": {byOperator, Sidecars{}, Grafana{Gap: none}, []string{"Seen Unknown NoPlatform"}},
		"loaded": {stack, takes, works,
			[]string{"Selected True Selected", "Seen True Seen"}},
		"loaded, nobody knows how": {stack, Sidecars{}, works,
			[]string{"Selected True Selected", "Seen True Seen"}},
		"not loaded": {stack, takes, Grafana{}, []string{"Selected True Selected", "Seen False DashboardNotLoaded"}},
		"not loaded without a sidecar": {stack, Sidecars{}, Grafana{},
			[]string{"Selected False NoSidecar", "Seen False DashboardNotLoaded"}},
		"no such data source": {stack, takes, Grafana{Dashboards: uid, Datasources: map[string]bool{"prometheus": false}},
			[]string{"Selected True Selected", "Seen False DatasourceNotFound"}},
		"data sources may not be seen": {stack, takes, Grafana{Dashboards: uid},
			[]string{"Selected True Selected", "Seen Unknown NoToken"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, f := range Dashboards(tc.stack, tc.sidecars, tc.grafana) {
				got = append(got, strings.Join([]string{string(f.Level), string(f.State), f.Reason}, " "))
				if f.State != metav1.ConditionTrue && f.Message == "" {
					t.Errorf("%s has no message", f.Reason)
				}
			}
			if strings.Join(got, ", ") != strings.Join(tc.want, ", ") {
				t.Errorf("findings are %v, want %v", got, tc.want)
			}
		})
	}
}

func TestDashboardsSayWhatSidecarsWant(t *testing.T) {
	sidecars := Sidecars{Found: []Sidecar{
		{Namespace: "team", Label: "dashboards", Namespaces: []string{"team"}},
		{Namespace: "monitoring", Label: "grafana_dashboard", Value: "1"},
		{Namespace: "monitoring", Label: "grafana_dashboard", Value: "1"},
	}}
	findings := Dashboards(withDashboards(map[string]obsv1.LabelValue{"b": "2", "a": "1"}), sidecars, Grafana{Gap: &Gap{}})
	want := "no sidecar of Grafana takes ConfigMaps with a=1, b=2 in namespace shop: " +
		"the sidecar in namespace monitoring wants grafana_dashboard=1 in all namespaces; " +
		"the sidecar in namespace team wants dashboards in namespace team"
	if got := findings[0].Message; got != want {
		t.Errorf("the message is\n%s\nwant\n%s", got, want)
	}
}
