// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// AlertsSpec asks for the default alerts and tunes them. An alert that is not
// named has its defaults.
type AlertsSpec struct {
	// labels are added to every alert, for Alertmanager's routes, such as {"team": "shop"}.
	// The platform's are added to them.
	// +optional
	Labels AlertLabels `json:"labels,omitempty"`

	// runbookBase is the address under which each alert has a page of its name, such as
	// https://runbooks.example.com/obstack. Absent: the platform's, else the runbooks of obstack.
	// +optional
	RunbookBase RunbookBase `json:"runbookBase,omitempty"`

	// latency tunes ObstackHighLatency: the 95th percentile of the response time of a monitor.
	// +optional
	// +kubebuilder:default={}
	Latency LatencyAlert `json:"latency,omitzero"`

	// errorRatio tunes ObstackHighErrorRatio: the share of a monitor's responses with 5xx.
	// +optional
	// +kubebuilder:default={}
	ErrorRatio RatioAlert `json:"errorRatio,omitzero"`

	// taskFailureRatio tunes ObstackHighTaskFailureRatio: the share of finished tasks that failed.
	// +optional
	// +kubebuilder:default={}
	TaskFailureRatio RatioAlert `json:"taskFailureRatio,omitzero"`

	// queueBacklog tunes ObstackQueueBacklog: the messages that wait in a queue.
	// +optional
	// +kubebuilder:default={}
	QueueBacklog QueueBacklogAlert `json:"queueBacklog,omitzero"`

	// queueStalled tunes ObstackQueueStalled: messages wait in a queue whose tasks do not start.
	// +optional
	// +kubebuilder:default={}
	QueueStalled QueueStalledAlert `json:"queueStalled,omitzero"`

	// workersLost tunes ObstackWorkersLost: workers that fell silent without a goodbye.
	// +optional
	// +kubebuilder:default={}
	WorkersLost WorkersLostAlert `json:"workersLost,omitzero"`

	// schedulerSilent tunes ObstackSchedulerSilent: a task of periodicTasks of a
	// broker was neither sent nor received for its interval.
	// +optional
	// +kubebuilder:default={}
	SchedulerSilent SchedulerSilentAlert `json:"schedulerSilent,omitzero"`

	// targetDown tunes ObstackTargetDown: the share of a monitor's or task
	// exporter's targets that cannot be scraped. No target at all counts as all of them.
	// +optional
	// +kubebuilder:default={}
	TargetDown TargetDownAlert `json:"targetDown,omitzero"`

	// brokerUnreachable tunes ObstackBrokerUnreachable: a task exporter does not reach its broker.
	// +optional
	// +kubebuilder:default={}
	BrokerUnreachable BrokerUnreachableAlert `json:"brokerUnreachable,omitzero"`
}

// AlertLabels are labels of alerts.
//
// +kubebuilder:validation:MaxProperties=16
// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^[a-zA-Z_][a-zA-Z0-9_]*$'))",message="the labels of alerts are Prometheus labels: letters, digits and '_', not starting with a digit"
// +kubebuilder:validation:XValidation:rule="!('severity' in self) && !('alertname' in self)",message="severity is set for each alert by its severity field, and alertname by obstack; remove them from labels"
// +kubebuilder:validation:XValidation:rule="self.all(k, !(k in ['namespace', 'queue_name', 'task', 'slo']) && !k.startsWith('obstack_'))",message="namespace, queue_name, task, slo and labels that begin with obstack_ say what an alert is about, and are set by obstack; choose other keys"
type AlertLabels map[string]AlertLabelValue

// RunbookBase is the address under which alerts have their pages.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=512
// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[^/@?#{}\\\\s]+(/[^?#@{}\\\\s]*)?$')",message="runbookBase is the address of a folder of pages, without a user, a query, a fragment or braces: write for example https://runbooks.example.com/obstack"
type RunbookBase string

// AlertLabelValue is the value of a label on an alert. It is taken literally: Prometheus' templates
// could read series of other stacks.
//
// +kubebuilder:validation:MaxLength=256
// +kubebuilder:validation:XValidation:rule="!self.contains('{{')",message="the value of an alert's label is taken literally: remove the template {{ }}"
type AlertLabelValue string

// Severity of an alert, as Alertmanager's routes see it.
//
// +kubebuilder:validation:Enum=info;warning;critical
type Severity string

// Window is the time that an alert looks back on.
//
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=16
// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,2}h)?([0-9]{1,4}m)?([0-9]{1,5}s)?$') && duration(self) >= duration('1m') && duration(self) <= duration('24h')",message="window must be a duration from 1m to 24h in hours, minutes and seconds, such as 5m, 90s or 1h30m"
type Window string

// LatencyAlert tunes an alert on a response time.
type LatencyAlert struct {
	// disabled leaves the alert out.
	// +optional
	Disabled bool `json:"disabled,omitempty"`

	// threshold is the response time above which the alert fires.
	// +optional
	// +kubebuilder:default="1s"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[0hms]+$')",message="threshold must be longer than 0; to leave the alert out set disabled: true"
	Threshold Duration `json:"threshold,omitempty"`

	// window is the time over which the 95th percentile is taken. Absent: 5m. A
	// monitor that is scraped less than four times in it gets four scrapes.
	// +optional
	Window Window `json:"window,omitempty"`

	// for is how long the threshold must be exceeded before the alert fires.
	// +optional
	// +kubebuilder:default="10m"
	For Duration `json:"for,omitempty"`

	// severity is the alert's label of that name.
	// +optional
	// +kubebuilder:default=warning
	Severity Severity `json:"severity,omitempty"`
}

// RatioAlert tunes an alert on the share of something that went wrong.
type RatioAlert struct {
	// disabled leaves the alert out.
	// +optional
	Disabled bool `json:"disabled,omitempty"`

	// threshold is the share above which the alert fires, between 0 and 1, as a
	// string: "0.05" is 5 %.
	// +optional
	// +kubebuilder:default="0.05"
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^0?[.][0-9]*[1-9][0-9]*$')",message="threshold must be a share between 0 and 1, written as a string, such as \"0.05\" for 5 %"
	Threshold string `json:"threshold,omitempty"`

	// window is the time over which the share is taken. Absent: 5m for requests
	// and 10m for tasks. A monitor that is scraped less than four times in it gets
	// four scrapes.
	// +optional
	Window Window `json:"window,omitempty"`

	// for is how long the threshold must be exceeded before the alert fires.
	// +optional
	// +kubebuilder:default="10m"
	For Duration `json:"for,omitempty"`

	// severity is the alert's label of that name.
	// +optional
	// +kubebuilder:default=warning
	Severity Severity `json:"severity,omitempty"`
}

// QueueBacklogAlert tunes the alert on the length of a queue.
type QueueBacklogAlert struct {
	// disabled leaves the alert out.
	// +optional
	Disabled bool `json:"disabled,omitempty"`

	// threshold is the number of waiting messages above which the alert fires.
	// +optional
	// +kubebuilder:default=1000
	// +kubebuilder:validation:Minimum=1
	Threshold int64 `json:"threshold,omitempty"`

	// ignoredQueues are left out, such as those that nobody is meant to consume.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	IgnoredQueues []string `json:"ignoredQueues,omitempty"`

	// for is how long this must last before the alert fires.
	// +optional
	// +kubebuilder:default="15m"
	For Duration `json:"for,omitempty"`

	// severity is the alert's label of that name.
	// +optional
	// +kubebuilder:default=warning
	Severity Severity `json:"severity,omitempty"`
}

// QueueStalledAlert tunes the alert on a queue in which messages wait while nothing is started.
type QueueStalledAlert struct {
	// disabled leaves the alert out.
	// +optional
	Disabled bool `json:"disabled,omitempty"`

	// window is how long messages must have waited without a start. It must be
	// longer than the longest task, because workers that are all busy start nothing.
	// +optional
	// +kubebuilder:default="10m"
	Window Window `json:"window,omitempty"`

	// ignoredQueues are left out, such as those that nobody is meant to consume.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	IgnoredQueues []string `json:"ignoredQueues,omitempty"`

	// for is how long this must last before the alert fires.
	// +optional
	// +kubebuilder:default="5m"
	For Duration `json:"for,omitempty"`

	// severity is the alert's label of that name.
	// +optional
	// +kubebuilder:default=warning
	Severity Severity `json:"severity,omitempty"`
}

// WorkersLostAlert tunes the alert on workers that fell silent.
type WorkersLostAlert struct {
	// disabled leaves the alert out.
	// +optional
	Disabled bool `json:"disabled,omitempty"`

	// threshold is the number of workers lost within the window from which the alert fires.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	Threshold int64 `json:"threshold,omitempty"`

	// window is the time in which losses are counted. The alert ends when the last is older.
	// +optional
	// +kubebuilder:default="15m"
	Window Window `json:"window,omitempty"`

	// severity is the alert's label of that name.
	// +optional
	// +kubebuilder:default=warning
	Severity Severity `json:"severity,omitempty"`
}

// SchedulerSilentAlert tunes the alert on periodic tasks that do not come.
type SchedulerSilentAlert struct {
	// disabled leaves the alert out.
	// +optional
	Disabled bool `json:"disabled,omitempty"`

	// for is how much later than its interval a task may come before the alert fires.
	// +optional
	// +kubebuilder:default="10m"
	For Duration `json:"for,omitempty"`

	// severity is the alert's label of that name.
	// +optional
	// +kubebuilder:default=warning
	Severity Severity `json:"severity,omitempty"`
}

// TargetDownAlert tunes the alert on targets that cannot be scraped.
type TargetDownAlert struct {
	// disabled leaves the alert out.
	// +optional
	Disabled bool `json:"disabled,omitempty"`

	// threshold is the share of the targets above which the alert fires, between 0
	// and 1, as a string: "0.1" is 10 %.
	// +optional
	// +kubebuilder:default="0.1"
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^0?[.][0-9]*[1-9][0-9]*$')",message="threshold must be a share between 0 and 1, written as a string, such as \"0.1\" for 10 %"
	Threshold string `json:"threshold,omitempty"`

	// for is how long this must last before the alert fires.
	// +optional
	// +kubebuilder:default="10m"
	For Duration `json:"for,omitempty"`

	// severity is the alert's label of that name.
	// +optional
	// +kubebuilder:default=warning
	Severity Severity `json:"severity,omitempty"`
}

// BrokerUnreachableAlert tunes the alert on a task exporter that does not reach its broker.
type BrokerUnreachableAlert struct {
	// disabled leaves the alert out.
	// +optional
	Disabled bool `json:"disabled,omitempty"`

	// for is how long this must last before the alert fires.
	// +optional
	// +kubebuilder:default="5m"
	For Duration `json:"for,omitempty"`

	// severity is the alert's label of that name.
	// +optional
	// +kubebuilder:default=warning
	Severity Severity `json:"severity,omitempty"`
}
