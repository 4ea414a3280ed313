// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// FieldManager is the name under which obstack applies every field it owns.
const FieldManager = "obstack"

// Labels on every object that obstack owns.
const (
	// LabelManagedBy has the value ManagedBy; the operator watches no child without it.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// LabelComponent names the part of the stack that an object belongs to, such as "metrics".
	LabelComponent = "app.kubernetes.io/component"
	// LabelStack is the name of the stack that an object belongs to.
	LabelStack = "obstack.dev/stack"
	// LabelStackNamespace is the namespace of that stack.
	LabelStackNamespace = "obstack.dev/stack-namespace"

	// ManagedBy is the value of LabelManagedBy.
	ManagedBy = "obstack"
)

// Target labels that every series scraped for a stack carries. Together with
// Prometheus' own "namespace" they select the series of one stack.
const (
	// SeriesStack is the name of the stack.
	SeriesStack = "obstack_stack"
	// SeriesMonitor is the name of the monitor in spec.metrics that scrapes the series.
	SeriesMonitor = "obstack_monitor"
	// SeriesBroker is the name of the broker in spec.tasks whose exporter exposes the series.
	SeriesBroker = "obstack_broker"
	// SeriesSLO is the name of the SLO in spec.slos that a recorded series is about.
	SeriesSLO = "slo"
)
