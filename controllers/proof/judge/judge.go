// SPDX-License-Identifier: Apache-2.0

// Package judge decides what is known of the parts of a stack: from objects of the cluster, and
// from what Prometheus, the exporters, Grafana and Sentry respond. It is pure: it asks nobody.
package judge

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

// Part is what can be shown to work by itself.
type Part struct {
	Kind obsv1.PartKind
	Name string
}

// Finding is what one source says of one part at one level.
type Finding struct {
	Part
	// Level is Selected or Seen.
	Level obsv1.ProofLevel
	// State is Unknown if nobody could be asked.
	State metav1.ConditionStatus
	// Reason and Message say why; the message names the part, and may be empty if the state is True.
	Reason, Message string
	// Holds is how long a fault must be found before it counts, however many rounds find it.
	Holds time.Duration
	// Up of the part's targets in all are scraped.
	Up, Total int32
}

// Gap is a source that does not respond. What it said before still holds.
type Gap struct {
	Reason, Message string
}

// Evidence is what the sources say of one stack.
type Evidence struct {
	Findings []Finding
	Gaps     []Gap
	// Pending reports whether a source was not asked yet since the operator started.
	Pending bool
}

// defaultDSN is the name of a part that has none in the spec, as desired.AlertsPart.
const defaultDSN = "default"

// Parts are those of a stack, in the order of its status.
func Parts(stack *obsv1.ObservabilityStack) []Part {
	var parts []Part
	spec := &stack.Spec
	for _, monitor := range spec.Monitors() {
		parts = append(parts, Part{obsv1.PartMonitor, monitor.Name})
	}
	if spec.Python != nil {
		parts = append(parts, Part{obsv1.PartPython, obsv1.MonitorPython})
	}
	for _, broker := range spec.Brokers() {
		parts = append(parts, Part{obsv1.PartBroker, broker.Name})
	}
	for _, name := range desired.DashboardNames(stack) {
		parts = append(parts, Part{obsv1.PartDashboard, name})
	}
	if spec.Alerts != nil {
		parts = append(parts, Part{obsv1.PartAlerts, desired.AlertsPart})
	}
	for _, slo := range spec.SLOs {
		parts = append(parts, Part{obsv1.PartSLO, slo.Name})
	}
	return append(parts, dsns(spec.Sentry)...)
}

func dsns(spec *obsv1.SentrySpec) (parts []Part) {
	if spec == nil {
		return nil
	}
	if spec.DSNFrom != nil {
		parts = append(parts, Part{obsv1.PartDSN, defaultDSN})
	}
	for _, project := range spec.Projects {
		if project.Name != defaultDSN { // A name of the spec could be that, too.
			parts = append(parts, Part{obsv1.PartDSN, project.Name})
		}
	}
	return parts
}

// ConditionOf a kind of parts.
func ConditionOf(kind obsv1.PartKind) string {
	return map[obsv1.PartKind]string{
		obsv1.PartMonitor: obsv1.MetricsReady, obsv1.PartPython: obsv1.PythonReady, obsv1.PartBroker: obsv1.TasksReady,
		obsv1.PartDashboard: obsv1.DashboardsReady, obsv1.PartAlerts: obsv1.AlertsReady,
		obsv1.PartSLO: obsv1.SLOsReady, obsv1.PartDSN: obsv1.SentryReady,
	}[kind]
}

// Judge says of each part how much is known. Of what the sources say of a part, the worst counts.
// A part that is not written cannot be more.
func Judge(parts []Part, written func(obsv1.PartKind) bool, findings []Finding) []obsv1.PartStatus {
	of := map[Part][]Finding{}
	for _, f := range findings {
		of[f.Part] = append(of[f.Part], f)
	}
	var judged []obsv1.PartStatus
	for _, part := range parts {
		status := judge(of[part])
		if status.State != metav1.ConditionFalse && !written(part.Kind) {
			status.State, status.Level = metav1.ConditionUnknown, obsv1.LevelWritten
			status.Reason, status.Message = obsv1.ReasonNotReady, ""
		}
		status.Kind, status.Name = part.Kind, part.Name
		judged = append(judged, status)
	}
	return judged
}

// judge what is said of one part.
func judge(findings []Finding) obsv1.PartStatus {
	status := obsv1.PartStatus{
		State: metav1.ConditionUnknown, Level: obsv1.LevelWritten, Reason: obsv1.ReasonNotAsked,
	}
	worst := -1
	for i, f := range findings {
		if worst < 0 || rank(f) < rank(findings[worst]) {
			worst = i
		}
		if f.Level == obsv1.LevelSelected && f.State == metav1.ConditionTrue {
			status.Level = obsv1.LevelSelected
		}
		if f.Total > 0 {
			status.TargetsUp, status.Targets = new(f.Up), new(f.Total)
		}
	}
	if worst < 0 || rank(findings[worst]) == onlySelected {
		return status
	}
	f := findings[worst]
	status.State, status.Reason, status.Message = f.State, f.Reason, cut(f.Message)
	if f.State != metav1.ConditionUnknown {
		status.Level = f.Level
	}
	return status
}

// onlySelected is the rank of a finding that leaves open whether the part works.
const onlySelected = 4

// rank orders findings, the worst first.
func rank(f Finding) int {
	ranks := map[metav1.ConditionStatus]int{metav1.ConditionFalse: 0, metav1.ConditionUnknown: 2, metav1.ConditionTrue: 3}
	switch {
	case f.Level == obsv1.LevelSeen && f.State == metav1.ConditionFalse:
		return 1
	case f.Level == obsv1.LevelSelected && f.State == metav1.ConditionTrue:
		return onlySelected
	default:
		return ranks[f.State]
	}
}
