// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

// Sidecar is what a container of Grafana's sidecar looks for.
type Sidecar struct {
	// Namespace is its own.
	Namespace string
	// Label is the key that it looks for, and Value the value; any, if it is empty.
	Label, Value string
	// Namespaces are where it looks; everywhere, if there are none.
	Namespaces []string
}

func (s Sidecar) takes(namespace string, labels map[string]string) bool {
	value, labelled := labels[s.Label]
	return labelled && (s.Value == "" || s.Value == value) &&
		(len(s.Namespaces) == 0 || slices.Contains(s.Namespaces, namespace))
}

func (s Sidecar) String() string {
	label := s.Label
	if s.Value != "" {
		label += "=" + s.Value
	}
	where := "all namespaces"
	if len(s.Namespaces) > 0 {
		where = plural("namespace", s.Namespaces)
	}
	return fmt.Sprintf("the sidecar in namespace %s wants %s in %s", s.Namespace, label, where)
}

// Sidecars are what was found in the cluster.
type Sidecars struct {
	Found []Sidecar
	// Hidden is set if there may be others, which could not be seen.
	Hidden bool
}

// Takes reports whether any takes ConfigMaps of a stack's.
func (s Sidecars) Takes(stack *obsv1.ObservabilityStack) bool {
	labels := desired.DashboardLabels(stack)
	return slices.ContainsFunc(s.Found, func(one Sidecar) bool { return one.takes(stack.Namespace, labels) })
}

// Grafana is what a platform's Grafana says.
type Grafana struct {
	// Gap says why it could not be asked; nil if it was.
	Gap *Gap
	// Dashboards are the uids of those of obstack that it has.
	Dashboards map[string]bool
	// Datasources reports by uid whether it has one; those that it does not let be seen are left out.
	Datasources map[string]bool
}

// Dashboards judges the dashboards of a stack: by Grafana itself, and where that has none or cannot
// be asked, by the sidecars that should bring them to it.
func Dashboards(stack *obsv1.ObservabilityStack, sidecars Sidecars, grafana Grafana) []Finding {
	var findings []Finding
	for _, name := range desired.DashboardNames(stack) {
		part := Part{obsv1.PartDashboard, name}
		loaded := grafana.Gap == nil && grafana.Dashboards[desired.DashboardUID(stack, name)]
		if loaded { // Somebody has brought it.
			findings = append(findings, taken(part))
		} else if selected := selectedBySidecar(stack, part, sidecars); selected != nil {
			findings = append(findings, *selected)
		}
		seen := Finding{Part: part, Level: obsv1.LevelSeen}
		seen.State, seen.Reason, seen.Message = seenInGrafana(stack, name, loaded, grafana)
		findings = append(findings, seen)
	}
	return findings
}

func seenInGrafana(stack *obsv1.ObservabilityStack, name string, loaded bool,
	grafana Grafana) (state metav1.ConditionStatus, reason, message string) {
	datasource := string(stack.Spec.Dashboards.Datasource)
	has, known := grafana.Datasources[datasource]
	switch {
	case grafana.Gap != nil:
		return metav1.ConditionUnknown, grafana.Gap.Reason, grafana.Gap.Message
	case !loaded:
		return metav1.ConditionFalse, obsv1.ReasonDashboardNotLoaded, fmt.Sprintf(
			"Grafana has not loaded dashboard %s, or its token may not see the folder: see the sidecar's log", name)
	case known && !has:
		return metav1.ConditionFalse, obsv1.ReasonDatasourceNotFound, fmt.Sprintf(
			"Grafana has no data source with the uid %s: correct dashboards.datasource", datasource)
	case !known:
		return metav1.ConditionUnknown, obsv1.ReasonNoToken,
			"the token for Grafana may not read data sources: allow it datasources:read"
	default:
		return metav1.ConditionTrue, obsv1.ReasonSeen, ""
	}
}

func taken(part Part) Finding {
	return Finding{Part: part, Level: obsv1.LevelSelected, State: metav1.ConditionTrue, Reason: obsv1.ReasonSelected}
}

// selectedBySidecar says whether a sidecar takes the ConfigMap of a dashboard; nil if that is not
// known, or grafana-operator brings it to Grafana.
func selectedBySidecar(stack *obsv1.ObservabilityStack, part Part, sidecars Sidecars) *Finding {
	switch {
	case sidecars.Takes(stack):
		return new(taken(part))
	case sidecars.Hidden || stack.Spec.Dashboards.GrafanaOperator != nil:
		return nil
	}
	message := "no Pod of the cluster has a sidecar of Grafana that looks for ConfigMaps with dashboards"
	if len(sidecars.Found) > 0 {
		message = fmt.Sprintf("no sidecar of Grafana takes ConfigMaps with %s in namespace %s: %s",
			labelled(stack.Spec.Dashboards.Labels), stack.Namespace, wanted(stack, sidecars.Found))
	}
	return &Finding{
		Part: part, Level: obsv1.LevelSelected, State: metav1.ConditionFalse, Reason: obsv1.ReasonNoSidecar, Message: message,
	}
}

func labelled(labels map[string]obsv1.LabelValue) string {
	var pairs []string
	for key, value := range labels {
		pairs = append(pairs, key+"="+string(value))
	}
	slices.Sort(pairs)
	return cmp.Or(strings.Join(pairs, ", "), "no label")
}

// wanted says what the sidecars look for, those that look in the stack's namespace first.
func wanted(stack *obsv1.ObservabilityStack, sidecars []Sidecar) string {
	elsewhere := func(s Sidecar) int {
		if len(s.Namespaces) == 0 || slices.Contains(s.Namespaces, stack.Namespace) {
			return 0
		}
		return 1
	}
	sorted := slices.SortedFunc(slices.Values(sidecars), func(a, b Sidecar) int {
		return cmp.Or(elsewhere(a)-elsewhere(b), cmp.Compare(a.String(), b.String()))
	})
	var texts []string
	for _, s := range sorted {
		if text := s.String(); !slices.Contains(texts, text) && len(texts) < maxNames {
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, "; ")
}

// Equal reports whether another sidecar looks for the same.
func (s Sidecar) Equal(other Sidecar) bool {
	return s.Namespace == other.Namespace && s.Label == other.Label && s.Value == other.Value &&
		slices.Equal(s.Namespaces, other.Namespaces)
}
