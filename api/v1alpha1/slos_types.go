// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Indicator is what an SLO measures.
//
// +kubebuilder:validation:Enum=availability;latency;task-success;queue-wait;task-runtime
type Indicator string

// The indicators. Each divides events into good and bad ones.
const (
	// IndicatorAvailability counts requests; those with a 5xx response are bad.
	IndicatorAvailability Indicator = "availability"
	// IndicatorLatency counts requests; those slower than the threshold are bad.
	IndicatorLatency Indicator = "latency"
	// IndicatorTaskSuccess counts finished tasks; those that failed are bad.
	IndicatorTaskSuccess Indicator = "task-success"
	// IndicatorQueueWait counts started tasks; those that waited longer than the threshold are bad.
	IndicatorQueueWait Indicator = "queue-wait"
	// IndicatorTaskRuntime counts tasks that succeeded; those longer than the threshold are bad.
	IndicatorTaskRuntime Indicator = "task-runtime"
)

// SLO is a service level objective: the share of events that are to be good. It
// becomes recording rules and burn-rate alerts, in a PrometheusRule named "<stack>-slo-<name>".
//
// +kubebuilder:validation:XValidation:rule="self.indicator in ['availability', 'latency'] ? has(self.monitor) && !has(self.broker) : has(self.broker) && !has(self.monitor)",message="availability and latency are measured at a monitor, task-success, queue-wait and task-runtime at a broker: set the one of monitor and broker that belongs to the indicator"
// +kubebuilder:validation:XValidation:rule="(self.indicator in ['latency', 'queue-wait', 'task-runtime']) == has(self.threshold)",message="latency, queue-wait and task-runtime need a threshold, such as 500ms; availability and task-success have none: add or remove threshold"
// +kubebuilder:validation:XValidation:rule="!(self.indicator in ['availability', 'latency']) || !(has(self.task) || has(self.queue))",message="task and queue choose among the tasks of a broker: remove them from an SLO of a monitor"
type SLO struct {
	// name of the SLO, unique in the stack. Its series carry it as the label slo.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=22
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="an SLO's name consists of lower-case letters, digits and '-', and neither starts nor ends with '-'"
	Name string `json:"name,omitempty"`

	// indicator is what is measured: availability (requests without a 5xx response) or
	// latency (requests within the threshold) of a monitor; task-success (finished
	// tasks that did not fail), queue-wait (tasks that started within the threshold) or
	// task-runtime (successful tasks that ran no longer than the threshold) of a broker.
	// queue-wait needs task_send_sent_event in the clients.
	// +required
	Indicator Indicator `json:"indicator,omitempty"`

	// monitor of metrics.monitors whose requests are measured.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=26
	Monitor string `json:"monitor,omitempty"`

	// broker of tasks.brokers whose tasks are measured.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=19
	Broker string `json:"broker,omitempty"`

	// task is the name of the one task that is measured. Absent: all tasks of the broker.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	Task string `json:"task,omitempty"`

	// queue is the one queue whose tasks are measured. Absent: all queues of the broker.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Queue string `json:"queue,omitempty"`

	// objective is the percentage of events that are to be good, from 50 to 99.999,
	// as a string such as "99.9".
	// +required
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=6
	// +kubebuilder:validation:XValidation:rule="self.matches('^[5-9][0-9]([.][0-9]{1,3})?$')",message="objective is a percentage from 50 to 99.999 with at most three decimals, written as a string, such as \"99.9\""
	Objective string `json:"objective,omitempty"`

	// threshold divides good from bad events: the longest good response time, wait or
	// runtime. It must be the boundary of a bucket of the histogram; a condition lists
	// the boundaries if it is not.
	// +optional
	Threshold Duration `json:"threshold,omitempty"`

	// window is the time over which the objective is to be met. Prometheus must keep
	// data that long, or the window is only as long as the data.
	// +optional
	// +kubebuilder:default="30d"
	// +kubebuilder:validation:Enum="7d";"28d";"30d";"90d"
	Window SLOWindow `json:"window,omitempty"`

	// alerts tunes the burn-rate alerts.
	// +optional
	// +kubebuilder:default={}
	Alerts SLOAlerts `json:"alerts,omitzero"`
}

// SLOWindow is a number of days.
type SLOWindow string

// SLOAlerts tunes the alerts on how fast an SLO's error budget is used up.
type SLOAlerts struct {
	// page tunes ObstackErrorBudgetBurnFast, which wakes somebody: the budget burns
	// 14.4 times too fast over 1h, or 6 times over 6h. Its severity is critical if absent.
	// +optional
	// +kubebuilder:default={}
	Page BurnAlert `json:"page,omitzero"`

	// ticket tunes ObstackErrorBudgetBurnSlow, which can wait until morning: the
	// budget burns 3 times too fast over 1d, or faster than it lasts over 3d. Its
	// severity is warning if absent.
	// +optional
	// +kubebuilder:default={}
	Ticket BurnAlert `json:"ticket,omitzero"`

	// minimumFailures is the number of bad events within the longer window of an alert
	// below which it does not fire, so that one failure at night wakes nobody.
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=1
	MinimumFailures int64 `json:"minimumFailures,omitempty"`
}

// BurnAlert tunes one burn-rate alert.
type BurnAlert struct {
	// disabled leaves the alert out, and the recording rules that only it needs.
	// +optional
	Disabled bool `json:"disabled,omitempty"`

	// severity is the alert's label of that name.
	// +optional
	Severity Severity `json:"severity,omitempty"`
}
