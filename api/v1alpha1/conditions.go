// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Condition types of an ObservabilityStack. Ready summarises the others; each
// other one is absent while its part is not requested.
const (
	// Ready is True when every requested part is.
	Ready = "Ready"
	// PlatformReady is about the ObservabilityPlatform behind the stack. It is absent where there is
	// none and the stack names none.
	PlatformReady = "PlatformReady"
	// MetricsReady is about the ServiceMonitors of spec.metrics.
	MetricsReady = "MetricsReady"
	// TasksReady is about the task exporters of spec.tasks.
	TasksReady = "TasksReady"
	// PythonReady is about the processes of spec.python, and Unknown while nobody could be asked.
	PythonReady = "PythonReady"
	// DashboardsReady is about the dashboards of spec.dashboards.
	DashboardsReady = "DashboardsReady"
	// AlertsReady is about the PrometheusRule of spec.alerts.
	AlertsReady = "AlertsReady"
	// SLOsReady is about the PrometheusRules of spec.slos.
	SLOsReady = "SLOsReady"
	// SentryReady is about the DSN that spec.sentry.dsnFrom asks for.
	SentryReady = "SentryReady"
	// SettingsReady is about the Secret with the settings of workloads: spec.environment,
	// spec.sentry and spec.logging.
	SettingsReady = "SettingsReady"
	// InjectionReady is about the workloads that take the stack's settings.
	InjectionReady = "InjectionReady"
	// Verified is True when every requested part was seen to work, and Unknown while nobody could
	// be asked.
	Verified = "Verified"
)

// Condition types of an ObservabilityPlatform, beside Ready. Each is absent while nothing is asked.
const (
	// PrometheusReachable is about the server of spec.prometheus.
	PrometheusReachable = "PrometheusReachable"
	// GrafanaReachable is about the server of spec.grafana.
	GrafanaReachable = "GrafanaReachable"
	// SentryReachable is about the server of spec.sentry.
	SentryReachable = "SentryReachable"
)

// Reasons of the conditions of an ObservabilityPlatform, beside Available, SecretNotFound and
// KeyNotFound. docs/reference/conditions.md says for each what to do.
const (
	// ReasonReachable: the server responds and accepts the credentials.
	ReasonReachable = "Reachable"
	// ReasonUnreachable: the server does not respond, or not as what it should be.
	ReasonUnreachable = "Unreachable"
	// ReasonUnauthorized: the server refuses the credentials.
	ReasonUnauthorized = "Unauthorized"
	// ReasonSecretNotLabelled: a Secret has not the label that lets the platform have it.
	ReasonSecretNotLabelled = "SecretNotLabelled"
	// ReasonInvalidCredentials: a Secret's key holds nothing that can be used.
	ReasonInvalidCredentials = "InvalidCredentials"
	// ReasonPrometheusNotFound: the Prometheus object of spec.prometheus.ref does not exist.
	ReasonPrometheusNotFound = "PrometheusNotFound"
)

// Reasons of the conditions. docs/reference/conditions.md says for each what to do.
const (
	// ReasonAvailable: everything that was asked for is there.
	ReasonAvailable = "Available"
	// ReasonSelected: objects of the cluster say that they take what was written.
	ReasonSelected = "Selected"
	// ReasonSeen: what was written was seen to work.
	ReasonSeen = "Seen"
	// ReasonNotAsked: nobody was asked yet whether the part works.
	ReasonNotAsked = "NotAsked"
	// ReasonNotReady: a part that does not work as written cannot be seen to work.
	ReasonNotReady = "NotReady"
	// ReasonNotScraped: Prometheus has no target of a monitor or a task exporter.
	ReasonNotScraped = "NotScraped"
	// ReasonTargetDown: no target of a monitor or a task exporter is up.
	ReasonTargetDown = "TargetDown"
	// ReasonFrameworkMismatch: the targets of a monitor serve the metrics of another framework.
	ReasonFrameworkMismatch = "FrameworkMismatch"
	// ReasonRulesNotLoaded: Prometheus does not evaluate the rules of alerts or of an SLO.
	ReasonRulesNotLoaded = "RulesNotLoaded"
	// ReasonRuleFailing: Prometheus cannot evaluate a rule of alerts or of an SLO.
	ReasonRuleFailing = "RuleFailing"
	// ReasonNoData: what is read has no series yet, or, where it must have some, none.
	ReasonNoData = "NoData"
	// ReasonNotServed: the server that the platform names cannot say it.
	ReasonNotServed = "NotServed"
	// ReasonNoPlatform: the stack uses no ObservabilityPlatform.
	ReasonNoPlatform = "NoPlatform"
	// ReasonNoPrometheus: the stack's platform names no Prometheus.
	ReasonNoPrometheus = "NoPrometheus"
	// ReasonNoToken: there are no credentials for whoever could be asked, or they do not suffice.
	ReasonNoToken = "NoToken"
	// ReasonForeignImage: a broker's exporter is not obstack's own, and is not asked.
	ReasonForeignImage = "ForeignImage"
	// ReasonNoEvents: the broker is reached, and no worker has sent an event yet.
	ReasonNoEvents = "NoEvents"
	// ReasonBrokerUnreachable: the task exporter is not connected to its broker.
	ReasonBrokerUnreachable = "BrokerUnreachable"
	// ReasonEventsDisabled: a worker sends no task events.
	ReasonEventsDisabled = "EventsDisabled"
	// ReasonNoConsumer: messages wait in a queue of the spec that no worker consumes.
	ReasonNoConsumer = "NoConsumer"
	// ReasonNoSidecar: no sidecar of Grafana takes the ConfigMaps with the dashboards.
	ReasonNoSidecar = "NoSidecar"
	// ReasonDashboardNotLoaded: Grafana does not have a dashboard.
	ReasonDashboardNotLoaded = "DashboardNotLoaded"
	// ReasonDatasourceNotFound: Grafana does not have the data source of the dashboards.
	ReasonDatasourceNotFound = "DatasourceNotFound"
	// ReasonKeyRejected: Sentry does not accept what is sent to the DSN.
	ReasonKeyRejected = "KeyRejected"
	// ReasonProjectMismatch: the DSN's key is not one of its project.
	ReasonProjectMismatch = "ProjectMismatch"
	// ReasonRateLimited: Sentry knows the DSN's key and refuses events for a while.
	ReasonRateLimited = "RateLimited"
	// ReasonHostNotAllowed: the DSN's host is not one that may be asked.
	ReasonHostNotAllowed = "HostNotAllowed"
	// ReasonNotSelected: no Prometheus selects a ServiceMonitor or PrometheusRule of the stack.
	ReasonNotSelected = "NotSelected"
	// ReasonNotAccepted: prometheus-operator says that it does not accept a ServiceMonitor or
	// PrometheusRule of the stack, which a Prometheus selects.
	ReasonNotAccepted = "NotAccepted"
	// ReasonNoService: a monitor selects no Service.
	ReasonNoService = "NoService"
	// ReasonPortNotFound: no Service of a monitor has a port of that name.
	ReasonPortNotFound = "PortNotFound"
	// ReasonNoReadyAddress: nothing that is ready stands behind the Services of a monitor.
	ReasonNoReadyAddress = "NoReadyAddress"
	// ReasonSentrySDKMissing: processes have no sentry_sdk that spec.python could initialise.
	ReasonSentrySDKMissing = "SentrySDKMissing"
	// ReasonPythonFailed: a part of spec.python failed in processes, which go on without it.
	ReasonPythonFailed = "PythonFailed"
	// ReasonPythonWithdrawn: workloads did not run with the bundle for Python, and have it no more.
	ReasonPythonWithdrawn = "PythonWithdrawn"
	// ReasonNotReported: workloads have the bundle for Python, and no process reports itself.
	ReasonNotReported = "NotReported"
	// ReasonDisabled: Sentry is off, because the DSN is empty.
	ReasonDisabled = "Disabled"
	// ReasonSecretNotFound: a Secret that the spec refers to does not exist.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonSecretUnreadable: the API server does not let obstack read a Secret or ConfigMap, or is
	// away.
	ReasonSecretUnreadable = "SecretUnreadable"
	// ReasonKeyNotFound: the Secret exists, the key that the spec refers to does not.
	ReasonKeyNotFound = "KeyNotFound"
	// ReasonConfigMapNotFound: a ConfigMap that the spec refers to does not exist.
	ReasonConfigMapNotFound = "ConfigMapNotFound"
	// ReasonPlatformNotFound: the ObservabilityPlatform that the spec names does not exist.
	ReasonPlatformNotFound = "PlatformNotFound"
	// ReasonPlatformNotAdmitted: that platform does not admit the stack's namespace.
	ReasonPlatformNotAdmitted = "PlatformNotAdmitted"
	// ReasonInvalidVariable: a variable of spec.injection.env or of a broker cannot be given.
	ReasonInvalidVariable = "InvalidVariable"
	// ReasonInvalidDSN: the Secret's key holds something that is not a Sentry DSN.
	ReasonInvalidDSN = "InvalidDSN"
	// ReasonInvalidURL: the Secret's key holds something that is not a broker URL.
	ReasonInvalidURL = "InvalidURL"
	// ReasonInvalidArgument: an argument of a broker's exporter is not valid.
	ReasonInvalidArgument = "InvalidArgument"
	// ReasonInvalidRelabeling: a relabeling could change what Prometheus scrapes.
	ReasonInvalidRelabeling = "InvalidRelabeling"
	// ReasonInvalidThreshold: the threshold of an SLO is no boundary of a bucket of its histogram.
	ReasonInvalidThreshold = "InvalidThreshold"
	// ReasonScrapeIntervalTooLong: the monitor of an SLO is not scraped often enough for its
	// shortest window.
	ReasonScrapeIntervalTooLong = "ScrapeIntervalTooLong"
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
	// ReasonWaitingForSentry: the settings cannot be made, because their DSN is not valid.
	ReasonWaitingForSentry = "WaitingForSentry"
	// ReasonTooManyVersions: workloads keep more versions of the settings than they should need.
	ReasonTooManyVersions = "TooManyVersions"
	// ReasonWaitingForSettings: there is no Secret with settings to inject yet.
	ReasonWaitingForSettings = "WaitingForSettings"
	// ReasonInvalidSelector: a label selector of the spec is not valid.
	ReasonInvalidSelector = "InvalidSelector"
	// ReasonWebhookUnavailable: neither the policy nor the webhook is there, so a rollout would
	// inject nothing.
	ReasonWebhookUnavailable = "WebhookUnavailable"
	// ReasonRolloutRequired: workloads run an old configuration, and spec.injection.rollout
	// leaves it to their owners to restart them.
	ReasonRolloutRequired = "RolloutRequired"
	// ReasonRolloutStuck: workloads make no progress within their progress deadline, so others
	// were given their places.
	ReasonRolloutStuck = "RolloutStuck"
	// ReasonStampContested: somebody takes the stamp off a template again and again, which is
	// left alone.
	ReasonStampContested = "StampContested"
	// ReasonInjectionBlocked: Pods start without the settings, and no further retry is made.
	ReasonInjectionBlocked = "InjectionBlocked"
	// ReasonSuspended: spec.suspend is set and the cluster is as the spec says.
	ReasonSuspended = "Suspended"
	// ReasonDrifted: spec.suspend is set and the cluster differs from what the spec says.
	ReasonDrifted = "Drifted"
)

// Reasons of events on workloads that name a stack. docs/guides/injection.md says what to do.
const (
	// ReasonInvalidAnnotation: an annotation of obstack holds something that it does not accept.
	ReasonInvalidAnnotation = "InvalidAnnotation"
	// ReasonStackNotFound: the stack that is named does not exist.
	ReasonStackNotFound = "StackNotFound"
	// ReasonNamespaceNotAdmitted: the stack does not admit the workload's namespace.
	ReasonNamespaceNotAdmitted = "NamespaceNotAdmitted"
	// ReasonUnknownContainers: no container has a name that obstack.dev/containers lists.
	ReasonUnknownContainers = "UnknownContainers"
	// ReasonUnknownSentryProject: the stack has no project of the name in obstack.dev/sentry-project.
	ReasonUnknownSentryProject = "UnknownSentryProject"
	// ReasonNothingToInject: the stack has no settings for workloads.
	ReasonNothingToInject = "NothingToInject"
	// ReasonJobNotInjected: the Job started without, and a Job's template cannot be changed.
	ReasonJobNotInjected = "JobNotInjected"
	// ReasonPythonBundleRestored: the ConfigMap with the bundle for Python was deleted or altered, and
	// is written again. The event is on the stack.
	ReasonPythonBundleRestored = "PythonBundleRestored"
	// ReasonInjectionFailed: writing the workload failed; obstack tries again.
	ReasonInjectionFailed = "InjectionFailed"
)
