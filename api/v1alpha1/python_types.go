// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "cmp"

// PythonMode says whether obstack does a part in applications in Python. It is not "Off", which
// YAML reads as the boolean false.
//
// +kubebuilder:validation:Enum=Auto;Disabled
type PythonMode string

// The values of PythonMode.
const (
	// PythonAuto: where the application does not do it itself.
	PythonAuto PythonMode = "Auto"
	// PythonDisabled: never.
	PythonDisabled PythonMode = "Disabled"
)

// PythonSpec says what obstack does in applications in Python that have no code for it: it mounts a
// bundle of modules into their containers and names it in PYTHONPATH. In other namespaces only
// those get it whose Namespace has the annotation obstack.dev/accept: python. Jobs, CronJobs and
// Pods of no workload get it by the annotation obstack.dev/python: "true" alone; "false" opts a
// workload out.
type PythonSpec struct {
	// sentry is Auto (the application's own sentry_sdk is initialised with the stack's DSN, unless
	// the application does so itself) or Disabled. Absent: Auto.
	// +optional
	Sentry PythonMode `json:"sentry,omitempty"`

	// logging is Auto (with spec.logging.format, what plain formatters and structlog write gets
	// that format, unless the application has one of its own) or Disabled. Absent: Auto.
	// +optional
	Logging PythonMode `json:"logging,omitempty"`

	// metrics of HTTP requests are served on a port of their own. Absent: from port 19464 on.
	// +optional
	Metrics PythonMetrics `json:"metrics,omitzero"`

	// celeryEvents set to false leaves it to the application whether its workers send task events
	// and its producers task-sent. Absent: both do, unless the application says no.
	// +optional
	CeleryEvents *bool `json:"celeryEvents,omitempty"`

	// scrub names what is filtered from events and logs beside what obstack always does: passwords,
	// tokens, cookies and the like.
	// +optional
	Scrub PythonScrub `json:"scrub,omitzero"`
}

// PythonMetrics says whether and where metrics of HTTP requests are served.
//
// +kubebuilder:validation:XValidation:rule="!has(self.port) || !has(self.mode) || self.mode == 'Auto'",message="port goes with mode: Auto: remove port, or mode: Disabled"
type PythonMetrics struct {
	// mode is Auto (they are served where the application has none of its own) or Disabled. Absent:
	// Auto.
	// +optional
	Mode PythonMode `json:"mode,omitempty"`

	// port of a Pod's first container; the others have the next ones, in their order. What a
	// container of the Pod declares is skipped. Absent: 19464, because not all ports are declared:
	// it is no program's default, as 9464 is that of OpenTelemetry's exporter, and none of those
	// that Linux gives to connections.
	// +optional
	// +kubebuilder:validation:Minimum=1024
	// +kubebuilder:validation:Maximum=65000
	Port int32 `json:"port,omitempty"`
}

// PythonScrub names what is a secret. Case does not matter, and '_' is as '-'.
type PythonScrub struct {
	// headers of requests, such as x-internal-token.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Headers []ScrubName `json:"headers,omitempty"`

	// fields of bodies, of logs and local variables, such as iban.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Fields []ScrubName `json:"fields,omitempty"`
}

// ScrubName is the name of a header or field.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=64
// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9][-A-Za-z0-9_.]*$')",message="the name of what is filtered consists of letters, digits, '-', '_' and '.': write for example x-internal-token"
type ScrubName string

// defaultMetricsPort is spec.python.metrics.port where it is absent.
const defaultMetricsPort = 19464

// MetricsPort is the first one that the metrics of a Pod's containers may have; 0 if none are
// served.
func (p *PythonSpec) MetricsPort() int32 {
	if p == nil || p.Metrics.Mode == PythonDisabled {
		return 0
	}
	return cmp.Or(p.Metrics.Port, defaultMetricsPort)
}

// MonitorPython is the obstack_monitor of what is scraped for spec.python, which SLOs can name.
const MonitorPython = "python"

// SendsEvents reports whether Celery's events are on by default.
func (p *PythonSpec) SendsEvents() bool { return p.CeleryEvents == nil || *p.CeleryEvents }

// PythonStatus says what is mounted into applications in Python.
type PythonStatus struct {
	// bundle stands for the modules that new workloads get. Absent: none.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Bundle string `json:"bundle,omitempty"`
}
