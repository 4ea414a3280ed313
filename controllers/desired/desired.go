// SPDX-License-Identifier: Apache-2.0

// Package desired decides which objects a stack needs. It is pure: no client,
// context, clock, randomness or environment. Equal inputs give equal objects,
// and bad input gives a condition that says what to change, never an error.
package desired

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
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

// Components are in the order in which they are applied: the settings before their copies.
var Components = []Component{
	{componentPlatform, obsv1.PlatformReady, platform},
	{componentMetrics, obsv1.MetricsReady, metrics},
	{componentPython, obsv1.PythonReady, python},
	{componentTasks, obsv1.TasksReady, tasks},
	{componentDashboards, obsv1.DashboardsReady, dashboardsOf},
	{componentAlerts, obsv1.AlertsReady, alerts},
	{componentSLOs, obsv1.SLOsReady, slos},
	{componentSentry, obsv1.SentryReady, sentry},
	{componentSettings, obsv1.SettingsReady, settings},
	{ComponentInjection, obsv1.InjectionReady, injection},
}

// The names of the components, as their objects' component label has them.
const (
	componentPlatform   = "platform"
	componentMetrics    = "metrics"
	componentPython     = "python"
	componentTasks      = "tasks"
	componentDashboards = "dashboards"
	componentAlerts     = "alerts"
	componentSLOs       = "slos"
	componentSentry     = "sentry"
	componentSettings   = "settings"
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

	// Covered is what the stack provides by this part, such as "2 monitors".
	Covered string
}

// Requested reports whether the part is wanted at all.
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
