// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ObservabilityStack describes how one application is observed. obstack turns
// it into ServiceMonitors, task exporters, dashboards, alerts and the settings
// of its workloads, keeps them so, and says in the status what works, what does
// not, and what to do about it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=obs,categories=observability
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Verified",type=string,JSONPath=`.status.conditions[?(@.type=="Verified")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Injected",type=string,JSONPath=`.status.workloads.summary`
// +kubebuilder:printcolumn:name="Covered",type=string,JSONPath=`.status.covered`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 36 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="metadata.name must have at most 36 characters, start with a letter and consist of lower-case letters, digits and '-': the names of Services are made from it"
type ObservabilityStack struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object's metadata. The name has at most 36
	// characters, because the names of all objects of the stack begin with it.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec says what is wanted.
	// +required
	Spec ObservabilityStackSpec `json:"spec,omitzero"`

	// status says what was found. obstack writes it.
	// +optional
	Status ObservabilityStackStatus `json:"status,omitzero"`
}

// ObservabilityStackList is a list of ObservabilityStacks.
//
// +kubebuilder:object:root=true
type ObservabilityStackList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ObservabilityStack `json:"items"`
}

// ObservabilityStackSpec says how one application is observed. A part that is
// absent is not provided, and a part that is removed is removed from the cluster.
//
// +kubebuilder:validation:XValidation:rule="!has(self.alerts) || (has(self.metrics) && has(self.metrics.monitors)) || has(self.tasks) || (has(self.python) && (!has(self.python.metrics) || !has(self.python.metrics.mode) || self.python.metrics.mode == 'Auto'))",message="alerts need something to alert on: add metrics.monitors, tasks.brokers or python, or remove alerts"
// +kubebuilder:validation:XValidation:rule="!has(self.dashboards) || (has(self.metrics) && has(self.metrics.monitors)) || has(self.tasks) || (has(self.python) && (!has(self.python.metrics) || !has(self.python.metrics.mode) || self.python.metrics.mode == 'Auto'))",message="dashboards need something to show: add metrics.monitors, tasks.brokers or python, or remove dashboards"
// +kubebuilder:validation:XValidation:rule="!has(self.slos) || self.slos.all(s, !has(s.monitor) || (has(self.metrics) && has(self.metrics.monitors) && self.metrics.monitors.exists(m, m.name == s.monitor)) || (s.monitor == 'python' && (has(self.python) && (!has(self.python.metrics) || !has(self.python.metrics.mode) || self.python.metrics.mode == 'Auto'))))",message="the monitor of an SLO must be the name of one of metrics.monitors, or python with spec.python: correct monitor, or add one of that name"
// +kubebuilder:validation:XValidation:rule="!has(self.python) || !has(self.metrics) || !has(self.metrics.monitors) || !self.metrics.monitors.exists(m, m.name == 'python')",message="with spec.python, python is the name of what it scrapes: give that one of metrics.monitors another name"
// +kubebuilder:validation:XValidation:rule="!has(self.slos) || self.slos.all(s, !has(s.broker) || (has(self.tasks) && self.tasks.brokers.exists(b, b.name == s.broker)))",message="the broker of an SLO must be the name of one of tasks.brokers: correct broker, or add one of that name"
// +kubebuilder:validation:XValidation:rule="!has(self.tasks) || !has(self.injection) || !has(self.injection.env) || self.tasks.brokers.all(b, !has(b.env) || self.injection.env.all(e, e.name != b.env))",message="env of a broker must not be the name of one of injection.env: a variable has one value, so rename or remove one of them"
type ObservabilityStackSpec struct {
	// platform is the name of the ObservabilityPlatform behind the stack, which must admit its
	// namespace. Absent: the one named "default", if it exists and admits it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Platform string `json:"platform,omitempty"`

	// environment is where the application runs, such as "production". Workloads
	// get it as ENVIRONMENT and SENTRY_ENVIRONMENT, alerts as the label environment. Absent:
	// none is set.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="!self.matches('[\\\\s/]') && self != 'None'",message="environment must not contain white space or '/' and must not be \"None\": Sentry refuses such names; write for example production"
	Environment string `json:"environment,omitempty"`

	// suspend set to true makes obstack change nothing for this stack. The
	// conditions then list what it would create, update and delete.
	// Absent or false: the stack is kept as specified.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// metrics says which Services are scraped. Each monitor becomes one ServiceMonitor.
	// +optional
	Metrics *MetricsSpec `json:"metrics,omitempty"`

	// tasks says which Celery brokers are watched. Each broker gets a task
	// exporter: a Deployment, a Service and a ServiceMonitor.
	// +optional
	Tasks *TasksSpec `json:"tasks,omitempty"`

	// dashboards asks for Grafana dashboards, as ConfigMaps that Grafana's sidecar loads.
	// +optional
	Dashboards *DashboardsSpec `json:"dashboards,omitempty"`

	// alerts asks for the default alerts, as a PrometheusRule. Each alert can
	// be tuned or turned off.
	// +optional
	Alerts *AlertsSpec `json:"alerts,omitempty"`

	// slos are service level objectives. Each becomes recording rules, among them the
	// error budget that remains, and burn-rate alerts.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	SLOs []SLO `json:"slos,omitempty"`

	// sentry says where errors are reported.
	// +optional
	Sentry *SentrySpec `json:"sentry,omitempty"`

	// logging says how workloads log.
	// +optional
	Logging *LoggingSpec `json:"logging,omitempty"`

	// python brings Sentry, logs, metrics and Celery events to applications in Python without a line
	// of code in them. Absent: nothing is added to Pods but settings.
	// +optional
	Python *PythonSpec `json:"python,omitempty"`

	// injection says which workloads may take environment, sentry and logging as
	// environment variables, and how changes reach them. Absent: the annotated
	// workloads of the stack's own namespace, restarted automatically.
	// +optional
	Injection *InjectionSpec `json:"injection,omitempty"`
}

// Monitors are those of spec.metrics.
func (s *ObservabilityStackSpec) Monitors() []Monitor {
	if s.Metrics == nil {
		return nil
	}
	return s.Metrics.Monitors
}

// Brokers are those of spec.tasks.
func (s *ObservabilityStackSpec) Brokers() []Broker {
	if s.Tasks == nil {
		return nil
	}
	return s.Tasks.Brokers
}

// ObservabilityStackStatus says what obstack found in its last pass.
type ObservabilityStackStatus struct {
	// observedGeneration is the metadata.generation that the rest of the status is about.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// covered names the parts that the stack provides, such as
	// "2 monitors, 1 broker, 3 dashboards, 8 alerts, sentry".
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Covered string `json:"covered,omitempty"`

	// configHash stands for the configuration that workloads get: it changes with
	// it and does not reveal it. Absent: there is nothing to give.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ConfigHash string `json:"configHash,omitempty"`

	// configHashWithoutEnv stands for what workloads get in other namespaces that do not accept
	// env. Absent: there is nothing to give.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ConfigHashWithoutEnv string `json:"configHashWithoutEnv,omitempty"`

	// projects are the configurations of workloads that choose one of spec.sentry.projects.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=100
	Projects []SentryProjectStatus `json:"projects,omitempty"`

	// python is what is mounted into applications in Python. Absent: nothing is.
	// +optional
	Python *PythonStatus `json:"python,omitempty"`

	// workloads counts those that take their settings from this stack. Absent
	// while the stack has none to give.
	// +optional
	Workloads *WorkloadsStatus `json:"workloads,omitempty"`

	// discovered is what was found in the cluster where the spec says nothing. Absent: nothing was.
	// +optional
	Discovered *DiscoveredStatus `json:"discovered,omitempty"`

	// parts says of each monitor, broker, dashboard and SLO, of the alerts and of each DSN how much
	// is known of it.
	// +optional
	// +listType=map
	// +listMapKey=kind
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Parts []PartStatus `json:"parts,omitempty"`

	// verified is what was seen to work, and when. Absent: nothing yet.
	// +optional
	Verified *VerifiedStatus `json:"verified,omitempty"`

	// conditions are Ready and Verified, and one for each requested part: PlatformReady, MetricsReady,
	// PythonReady, TasksReady, DashboardsReady, AlertsReady, SLOsReady, SentryReady, SettingsReady and
	// InjectionReady. A condition that is not True says in its message what to change.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// SentryProjectStatus is what workloads get that choose a project.
type SentryProjectStatus struct {
	// name of the project.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`

	// configHash stands for the configuration that they get. Absent: there is nothing to give.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ConfigHash string `json:"configHash,omitempty"`

	// configHashWithoutEnv stands for what they get in other namespaces that do not accept env.
	// Absent: there is nothing to give.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ConfigHashWithoutEnv string `json:"configHashWithoutEnv,omitempty"`
}

// SpeaksFor reports whether the conditions about workloads are about those of a namespace.
func (s *ObservabilityStack) SpeaksFor(namespace string) bool {
	return namespace == s.Namespace || s.Spec.Injection != nil && s.Spec.Injection.RequireAll
}

// Version is the hash of the configuration that workloads get, of those that choose a project if
// there is one; env is whether they accept env. It is empty if there is nothing to give yet.
func (s *ObservabilityStackStatus) Version(project string, env bool) string {
	version := SentryProjectStatus{ConfigHash: s.ConfigHash, ConfigHashWithoutEnv: s.ConfigHashWithoutEnv}
	if project != "" {
		i := slices.IndexFunc(s.Projects, func(p SentryProjectStatus) bool { return p.Name == project })
		if i < 0 {
			return ""
		}
		version = s.Projects[i]
	}
	if env {
		return version.ConfigHash
	}
	return version.ConfigHashWithoutEnv
}

// SecretKeySource takes a value from a Secret.
type SecretKeySource struct {
	// secretKeyRef names the Secret, in the stack's namespace, and its key.
	// +required
	SecretKeyRef SecretKeySelector `json:"secretKeyRef,omitzero"`
}

// SecretKeySelector names one key of a Secret in the stack's namespace.
type SecretKeySelector struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// key in the Secret's data.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-._a-zA-Z0-9]+$')",message="a Secret's key consists of letters, digits, '-', '_' and '.'"
	Key string `json:"key,omitempty"`
}

// Duration is a length of time in hours, minutes, seconds and milliseconds,
// such as "30s", "1m30s" or "12h": what Prometheus and Go both read.
//
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?([0-9]{1,6}ms)?$')",message="a duration consists of hours, minutes, seconds and milliseconds, in this order and of at most 6 digits each: write for example 30s, 1m30s or 12h"
type Duration string
