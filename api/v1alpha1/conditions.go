// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Condition types of an ObservabilityStack. Ready summarises the others; each
// other one is absent while its part is not requested.
const (
	// Ready is True when every requested part is.
	Ready = "Ready"
	// MetricsReady is about the ServiceMonitors of spec.metrics.
	MetricsReady = "MetricsReady"
	// TasksReady is about the task exporters of spec.tasks.
	TasksReady = "TasksReady"
	// DashboardsReady is about the dashboards of spec.dashboards.
	DashboardsReady = "DashboardsReady"
	// AlertsReady is about the PrometheusRule of spec.alerts.
	AlertsReady = "AlertsReady"
	// SLOsReady is about the PrometheusRules of spec.slos.
	SLOsReady = "SLOsReady"
	// SentryReady is about the settings Secret: spec.sentry, spec.logging and spec.environment.
	SentryReady = "SentryReady"
)

// Reasons of the conditions. docs/conditions.md says for each what to do.
const (
	// ReasonAvailable: everything that was asked for is there.
	ReasonAvailable = "Available"
	// ReasonDisabled: Sentry is off, because there is no DSN or an empty one.
	ReasonDisabled = "Disabled"
	// ReasonSecretNotFound: a Secret that the spec refers to does not exist.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonKeyNotFound: the Secret exists, the key that the spec refers to does not.
	ReasonKeyNotFound = "KeyNotFound"
	// ReasonInvalidDSN: the Secret's key holds something that is not a Sentry DSN.
	ReasonInvalidDSN = "InvalidDSN"
	// ReasonInvalidURL: the Secret's key holds something that is not a broker URL.
	ReasonInvalidURL = "InvalidURL"
	// ReasonInvalidThreshold: the threshold of an SLO is no boundary of a bucket of its histogram.
	ReasonInvalidThreshold = "InvalidThreshold"
	// ReasonScrapedTooSeldom: the monitor of an SLO is scraped too seldom for its shortest window.
	ReasonScrapedTooSeldom = "ScrapedTooSeldom"
	// ReasonMissingAPI: a CustomResourceDefinition that the part needs is not installed.
	ReasonMissingAPI = "MissingAPI"
	// ReasonNameConflict: an object that is not this stack's has the name of one that it needs.
	ReasonNameConflict = "NameConflict"
	// ReasonRejected: the API server refuses an object as invalid or forbidden.
	ReasonRejected = "Rejected"
	// ReasonApplyFailed: writing an object failed for a passing reason; obstack tries again.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonRollingOut: everything is written, and Kubernetes is still making it available.
	ReasonRollingOut = "RollingOut"
	// ReasonSuspended: spec.suspend is set and the cluster is as the spec says.
	ReasonSuspended = "Suspended"
	// ReasonDrifted: spec.suspend is set and the cluster differs from what the spec says.
	ReasonDrifted = "Drifted"
)
