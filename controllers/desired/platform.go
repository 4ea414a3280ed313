// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Platform is what stands behind a stack; zero if nothing does.
type Platform struct {
	// Name of the ObservabilityPlatform that the stack uses, or would.
	Name string
	// Spec of it, which nobody changes; nil if the stack has none.
	Spec *obsv1.ObservabilityPlatformSpec
	// Problem is the reason why the stack has not the platform that it names; empty if it has it.
	Problem string
}

// cluster is the value of the label SeriesCluster; empty if there is no such label.
func (p Platform) cluster() string {
	if p.Spec == nil {
		return ""
	}
	return p.Spec.Cluster
}

// platform makes nothing: it says which platform the stack has.
func platform(_ *obsv1.ObservabilityStack, in Inputs) Output {
	switch p := in.Platform; {
	case p.Name == "":
		return Output{}
	case p.Problem == obsv1.ReasonPlatformNotFound:
		return unavailable(nil, p.Problem, fmt.Sprintf("ObservabilityPlatform %s does not exist: write the name of "+
			"another one as spec.platform, or ask those who run the platform for it", p.Name))
	case p.Problem != "":
		return unavailable(nil, p.Problem, fmt.Sprintf("ObservabilityPlatform %s does not admit this namespace: ask those "+
			"who run the platform to choose it in spec.namespaces, or write another name as spec.platform", p.Name))
	default:
		return available(nil, fmt.Sprintf("ObservabilityPlatform %s stands behind this stack", p.Name))
	}
}

// What a stack gets where neither it nor its platform says anything.
const (
	defaultInterval         = obsv1.Duration("30s")
	defaultDatasource       = obsv1.Datasource("prometheus")
	defaultFolderAnnotation = obsv1.FolderAnnotation("grafana_folder")
)

// Effective is a copy of a stack with the defaults of its platform, if it has one, and those of
// obstack, where the stack says nothing. The builders take no other.
func Effective(stack *obsv1.ObservabilityStack, platform *obsv1.ObservabilityPlatformSpec) *obsv1.ObservabilityStack {
	if platform == nil {
		platform = &obsv1.ObservabilityPlatformSpec{}
	}
	effective := stack.DeepCopy()
	spec, defaults := &effective.Spec, &platform.Defaults
	if len(defaults.Metrics.Labels) > 0 {
		if spec.Metrics == nil { // The labels are those of rules and of task exporters, too.
			spec.Metrics = &obsv1.MetricsSpec{}
		}
		spec.Metrics.Labels = merged(spec.Metrics.Labels, defaults.Metrics.Labels)
	}
	interval := cmp.Or(defaults.Metrics.Interval, defaultInterval)
	for i := range spec.Monitors() {
		monitor := &spec.Metrics.Monitors[i]
		monitor.Interval = cmp.Or(monitor.Interval, longer(interval, monitor.ScrapeTimeout))
	}
	if spec.Alerts != nil {
		spec.Alerts.Labels = merged(spec.Alerts.Labels, alertLabels(spec, defaults))
		spec.Alerts.RunbookBase = cmp.Or(spec.Alerts.RunbookBase, defaults.Alerts.RunbookBase)
	}
	if spec.Dashboards != nil {
		defaultDashboards(spec.Dashboards, platform)
	}
	if spec.HasSettings(false) && defaults.Logging != (obsv1.LoggingSpec{}) {
		if spec.Logging == nil {
			spec.Logging = &obsv1.LoggingSpec{}
		}
		spec.Logging.Level = cmp.Or(spec.Logging.Level, defaults.Logging.Level)
		spec.Logging.Format = cmp.Or(spec.Logging.Format, defaults.Logging.Format)
	}
	return effective
}

func defaultDashboards(spec *obsv1.DashboardsSpec, platform *obsv1.ObservabilityPlatformSpec) {
	grafana := platform.Grafana
	if grafana == nil {
		grafana = &obsv1.PlatformGrafana{}
	}
	spec.Datasource = cmp.Or(spec.Datasource, grafana.Datasource, defaultDatasource)
	spec.FolderAnnotation = cmp.Or(spec.FolderAnnotation, grafana.FolderAnnotation, defaultFolderAnnotation)
	spec.GrafanaURL = cmp.Or(spec.GrafanaURL, string(grafana.URL))
	if spec.Labels == nil {
		spec.Labels = maps.Clone(grafana.Labels)
	}
	if spec.Labels == nil { // One that is there and empty asks for none.
		spec.Labels = obsv1.Labels{"grafana_dashboard": "1"}
	}
	for _, link := range platform.Defaults.Dashboards.Links {
		if !slices.ContainsFunc(spec.Links, func(l obsv1.DashboardLink) bool { return l.Title == link.Title }) {
			spec.Links = append(spec.Links, link)
		}
	}
}

// alertLabels are those of the platform. Where a stack runs it says itself.
func alertLabels(spec *obsv1.ObservabilityStackSpec, defaults *obsv1.PlatformDefaults) obsv1.AlertLabels {
	labels := maps.Clone(defaults.Alerts.Labels)
	if spec.Environment != "" {
		delete(labels, labelEnvironment)
	}
	return labels
}

// merged are the labels of a stack and those defaults of which it has none.
func merged[L ~map[string]V, V any](own, defaults L) L {
	if len(defaults) == 0 {
		return own
	}
	all := maps.Clone(defaults)
	maps.Copy(all, own)
	return all
}

// longer of two durations.
func longer(a, b obsv1.Duration) obsv1.Duration {
	if duration(b) > duration(a) {
		return b
	}
	return a
}
