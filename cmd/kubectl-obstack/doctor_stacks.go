// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/proof/judge"
)

// checkPlatforms says what the operator found out about them.
func checkPlatforms(in *installation) (findings []DoctorFinding) {
	const name = "platforms"
	if findings := in.unread(name, ofPlatforms); findings != nil {
		return findings
	}
	var names []string
	for _, platform := range in.platforms {
		names = append(names, platform.Name)
		status := &platform.Status
		add := func(state FindingState, message, remedy string) {
			findings = append(findings, DoctorFinding{Name: name, State: state,
				Message: "ObservabilityPlatform " + platform.Name + ": " + message, Remedy: remedy})
		}
		if len(status.MissingSecrets) > 0 {
			add(StateProblem, "the operator's namespace lacks Secrets "+some(status.MissingSecrets),
				fmt.Sprintf("create them there, with the label %s=%s", obsv1.LabelPlatform, platform.Name))
		}
		for _, condition := range status.Conditions {
			if condition.Status == metav1.ConditionFalse && condition.Type != obsv1.Ready {
				add(StateProblem, condition.Reason+": "+condition.Message, "kubectl describe obsp "+platform.Name)
			}
		}
		ready := meta.FindStatusCondition(status.Conditions, obsv1.Ready)
		switch {
		case ready == nil || status.ObservedGeneration < platform.Generation:
			add(StateWarning, "the operator has not looked at it", "wait, or see what is said of the operator")
		case ready.Status == metav1.ConditionFalse && !slices.ContainsFunc(status.Conditions, isFalseBesideReady):
			add(StateProblem, ready.Reason+": "+ready.Message, "kubectl describe obsp "+platform.Name)
		}
	}
	if len(names) == 0 {
		return []DoctorFinding{ok(name, "there is none, so nobody is asked whether what was written works")}
	}
	return orOK(findings, ok(name, "%s responds as it should", some(names)))
}

func isFalseBesideReady(condition metav1.Condition) bool {
	return condition.Type != obsv1.Ready && condition.Status == metav1.ConditionFalse
}

// checkPrometheus says which Prometheus selects what the stacks have.
func checkPrometheus(in *installation) []DoctorFinding {
	const name = "prometheus"
	if findings := in.unread(name, ofSelecting); findings != nil {
		return findings
	}
	if len(in.prometheuses) == 0 {
		return []DoctorFinding{ok(name, "the cluster has no Prometheus object, so nothing is known of what selects")}
	}
	children := in.childrenByStack()
	var wrong, selects []string
	for _, stack := range in.stacks {
		for _, finding := range in.selected(stack, children, in.prometheuses) {
			if finding.State == metav1.ConditionFalse {
				wrong = append(wrong, stack.Namespace+"/"+stack.Name+": "+finding.Message)
			}
		}
	}
	for i := range in.prometheuses {
		p := &in.prometheuses[i]
		count := 0
		for _, stack := range in.stacks {
			if slices.ContainsFunc(in.selected(stack, children, in.prometheuses[i:i+1]), isSelected) {
				count++
			}
		}
		selects = append(selects, fmt.Sprintf("%s/%s selects objects of %s", p.Namespace, p.Name, plural(count, "stack")))
	}
	slices.Sort(selects)
	if len(wrong) == 0 {
		return []DoctorFinding{ok(name, "%s", some(selects))}
	}
	slices.Sort(wrong) // The children were read in any order.
	return []DoctorFinding{{Name: name, State: StateProblem,
		Message: fmt.Sprintf("%s not selected, such as %s", plural(len(wrong), "part"), wrong[0]),
		Remedy:  "set spec.metrics.labels, or let a Prometheus look into the namespace"}}
}

func isSelected(finding judge.Finding) bool { return finding.State == metav1.ConditionTrue }

// selected says of the parts of a stack whether some of the Prometheuses select them.
func (in *installation) selected(
	stack *obsv1.ObservabilityStack, children map[types.NamespacedName][]client.Object, by []judge.Prometheus,
) []judge.Finding {
	var judged []judge.Child
	for _, object := range children[client.ObjectKeyFromObject(stack)] {
		if !metav1.IsControlledBy(object, stack) { // Anybody may set the labels.
			continue
		}
		if child := judge.ChildOf(stack, object); child != nil {
			judged = append(judged, *child)
		}
	}
	return judge.Selected(stack.Namespace, judged,
		judge.Cluster{Prometheuses: by, Labels: in.namespaces[stack.Namespace]})
}

// childrenByStack are the ServiceMonitors, PodMonitors and PrometheusRules of each stack, which are
// in its own namespace.
func (in *installation) childrenByStack() map[types.NamespacedName][]client.Object {
	children := map[types.NamespacedName][]client.Object{}
	for _, child := range in.children {
		of := child.Labels
		stack := types.NamespacedName{Namespace: child.Namespace, Name: of[obsv1.LabelStack]}
		if of[obsv1.LabelStackNamespace] != child.Namespace {
			continue
		}
		var object client.Object = &monitoringv1.ServiceMonitor{ObjectMeta: child.ObjectMeta}
		switch child.Kind {
		case desired.PodMonitorKind.Kind:
			object = &monitoringv1.PodMonitor{ObjectMeta: child.ObjectMeta}
		case desired.PrometheusRuleKind.Kind:
			object = &monitoringv1.PrometheusRule{ObjectMeta: child.ObjectMeta}
		}
		children[stack] = append(children[stack], object)
	}
	return children
}

// reports are what the operator says of parts of stacks, and what concerns more than one team.
var reports = []struct {
	name    string
	kind    obsv1.PartKind
	reasons []string
	remedy  string
}{
	{"grafana", obsv1.PartDashboard,
		[]string{obsv1.ReasonNoSidecar, obsv1.ReasonDashboardNotLoaded, obsv1.ReasonDatasourceNotFound},
		"correct spec.dashboards.labels, or Grafana's sidecar or data source: docs/guides/dashboards.md"},
	{"sentry", obsv1.PartDSN,
		[]string{obsv1.ReasonKeyRejected, obsv1.ReasonProjectMismatch, obsv1.ReasonRateLimited, obsv1.ReasonHostNotAllowed},
		"correct the DSN; a host is allowed by sentry.url of a platform, or by the operator's --sentry-hosts"},
	{"task events", obsv1.PartBroker, []string{obsv1.ReasonEventsDisabled},
		"start the workers with -E, or set worker_send_task_events"},
}

// checkReports says what the operator found out about parts that depend on what is shared.
func checkReports(in *installation) (findings []DoctorFinding) {
	for _, report := range reports {
		total, first, state := 0, "", StateWarning
		counts := map[string]int{}
		for _, stack := range in.stacks {
			for _, part := range stack.Status.Parts {
				if part.Kind != report.kind {
					continue
				}
				total++
				if !slices.Contains(report.reasons, part.Reason) {
					continue
				}
				counts[part.Reason]++
				if first == "" {
					first = stack.Namespace + "/" + stack.Name + ": " + part.Message
				}
				if part.State == metav1.ConditionFalse {
					state = StateProblem
				}
			}
		}
		what := plural(total, strings.ToLower(string(report.kind)))
		if report.kind == obsv1.PartDSN {
			what = plural(total, string(report.kind))
		}
		switch {
		case len(counts) > 0:
			findings = append(findings, DoctorFinding{Name: report.name, State: state, Remedy: report.remedy,
				Message: fmt.Sprintf("of %s: %s, such as %s", what, byCount(counts), first)})
		case total > 0:
			findings = append(findings, ok(report.name, "nothing is wrong with %s", what))
		}
	}
	return findings
}

// checkStacks says how many of them are not as they should be.
func checkStacks(in *installation) []DoctorFinding {
	const name = "stacks"
	if findings := in.unread(name, ofStacks); findings != nil {
		return findings
	}
	var findings []DoctorFinding
	if in.stacksIn != "" {
		findings = append(findings, DoctorFinding{Name: name, State: StateUnknown,
			Message: "you may list ObservabilityStacks in namespace " + in.stacksIn + " alone, so those of others were not " +
				"looked at"})
	}
	verified := 0
	var waiting []string
	for _, stack := range in.stacks {
		ready := verdict(&stack.Status, obsv1.Ready)
		if ready == nil || stack.Status.ObservedGeneration < stack.Generation {
			waiting = append(waiting, stack.Namespace+"/"+stack.Name)
		}
		if meta.IsStatusConditionTrue(stack.Status.Conditions, obsv1.Verified) {
			verified++
		}
	}
	if len(waiting) > 0 {
		findings = append(findings, DoctorFinding{Name: name, State: StateWarning,
			Message: fmt.Sprintf("the operator has not looked at the newest spec of %s: %s",
				plural(len(waiting), "stack"), some(waiting)),
			Remedy: "wait, or see what is said of the operator"})
	}
	findings = append(findings, in.failing("not ready", func(stack *obsv1.ObservabilityStack) *Verdict {
		return verdict(&stack.Status, obsv1.Ready)
	})...)
	findings = append(findings, in.failing("ready and not verified", func(stack *obsv1.ObservabilityStack) *Verdict {
		if !meta.IsStatusConditionTrue(stack.Status.Conditions, obsv1.Ready) {
			return nil
		}
		return verdict(&stack.Status, obsv1.Verified)
	})...)
	return orOK(findings, ok(name, "all of %s are ready, %d verified", plural(len(in.stacks), "stack"), verified))
}

// failing are the stacks of which a condition is False. One that is rolling out needs nobody.
func (in *installation) failing(says string, of func(*obsv1.ObservabilityStack) *Verdict) []DoctorFinding {
	state, first, count := StateWarning, "", 0
	counts := map[string]int{}
	var stack *obsv1.ObservabilityStack
	for _, one := range in.stacks {
		v := of(one)
		if v == nil || v.Status != metav1.ConditionFalse {
			continue
		}
		count++
		counts[v.Reason]++
		if v.Reason != obsv1.ReasonRollingOut {
			if state != StateProblem {
				stack = nil
			}
			state = StateProblem
		}
		if stack == nil {
			stack, first = one, v.Message
		}
	}
	if stack == nil {
		return nil
	}
	return []DoctorFinding{{Name: "stacks", State: state,
		Message: fmt.Sprintf("%s: %d of %s (%s), such as %s/%s: %s", says, count, plural(len(in.stacks), "stack"),
			byCount(counts), stack.Namespace, stack.Name, first),
		Remedy: fmt.Sprintf("kubectl obstack status %s -n %s", stack.Name, stack.Namespace)}}
}
