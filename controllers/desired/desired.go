// SPDX-License-Identifier: Apache-2.0

// Package desired decides which objects a stack needs. It is pure: no client,
// context, clock, randomness or environment. Equal inputs give equal objects,
// and bad input gives a condition that says what to change, never an error.
package desired

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired/dashboards"
)

// Component derives one part of a stack.
type Component struct {
	// Name is the value of the component label on the part's objects.
	Name string
	// Condition is the type of the part's condition.
	Condition string
	// Build makes the part.
	Build func(*obsv1.ObservabilityStack, Inputs) Output
}

// Components are applied in order: a Secret before what refers to it.
var Components = []Component{
	{componentSentry, obsv1.SentryReady, sentry},
	{ComponentInjection, obsv1.InjectionReady, injection},
	{componentMetrics, obsv1.MetricsReady, metrics},
	{componentTasks, obsv1.TasksReady, tasks},
	{componentDashboards, obsv1.DashboardsReady, dashboardsOf},
	{componentAlerts, obsv1.AlertsReady, alerts},
	{componentSLOs, obsv1.SLOsReady, slos},
}

// The names of the components, as their objects' component label has them.
const (
	componentSentry     = "sentry"
	componentMetrics    = "metrics"
	componentTasks      = "tasks"
	componentDashboards = "dashboards"
	componentAlerts     = "alerts"
	componentSLOs       = "slos"
	// ComponentInjection is also what the rollouts of workloads belong to.
	ComponentInjection = "injection"
)

// Output is what a component wants, and its condition if applying succeeds.
// The zero Output means that the part was not requested: nothing is wanted and
// the condition is removed.
type Output struct {
	// Objects are wanted, in the order of applying.
	Objects []client.Object
	// Hold keeps what exists of the part although it is not among Objects,
	// because bad input left it undecided.
	Hold bool

	Status  metav1.ConditionStatus
	Reason  string
	Message string
}

// Requested tells whether the part is wanted at all.
func (o Output) Requested() bool {
	return o.Status != ""
}

// available is the condition of a part with nothing left to do.
func available(objects []client.Object, message string) Output {
	return Output{Objects: objects, Status: metav1.ConditionTrue, Reason: obsv1.ReasonAvailable, Message: message}
}

// unavailable is the condition of a part that somebody must do something about.
func unavailable(objects []client.Object, reason, message string) Output {
	return Output{Objects: objects, Status: metav1.ConditionFalse, Reason: reason, Message: message}
}

// Covered says what the stack provides, in the order of the spec, such as
// "2 monitors, 1 broker, 3 dashboards, 12 alerts, sentry".
func Covered(stack *obsv1.ObservabilityStack) string {
	var parts []string
	spec := &stack.Spec
	if n := len(monitorsOf(stack)); n > 0 {
		parts = append(parts, count(n, "monitor"))
	}
	if spec.Tasks != nil {
		parts = append(parts, count(len(spec.Tasks.Brokers), "broker"))
	}
	if spec.Dashboards != nil {
		parts = append(parts, count(len(dashboards.Render(dashboardData(stack))), "dashboard"))
	}
	if spec.Alerts != nil {
		if n := countAlerts(alertGroups(stack, spec.Alerts)); n > 0 {
			parts = append(parts, count(n, "alert"))
		}
	}
	if n := len(spec.SLOs); n > 0 {
		parts = append(parts, count(n, "SLO"))
	}
	if dsnRef(spec.Sentry) != nil {
		parts = append(parts, "sentry")
	}
	if spec.Logging != nil {
		parts = append(parts, "logging")
	}
	return strings.Join(parts, ", ")
}
