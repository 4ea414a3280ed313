// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// DefaultPlatform is the name of the platform of stacks that name none, where there is one.
const DefaultPlatform = "default"

// ObservabilityPlatform is what stands behind the stacks: where Prometheus, Grafana and Sentry are,
// with which credentials obstack asks them, what the cluster is called, and what stacks get where
// they say nothing. Those who run the platform write it. Stacks use the one named "default", or the
// one that spec.platform names.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=obsp,categories=observability
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Cluster",type=string,JSONPath=`.spec.cluster`
// +kubebuilder:printcolumn:name="Stacks",type=integer,JSONPath=`.status.stacks`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="metadata.name must have at most 63 characters: it is the value of the label obstack.dev/platform on the Secrets with its credentials"
type ObservabilityPlatform struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec says what stands behind the stacks.
	// +optional
	Spec ObservabilityPlatformSpec `json:"spec,omitzero"`

	// status says what was found. obstack writes it.
	// +optional
	Status ObservabilityPlatformStatus `json:"status,omitzero"`
}

// ObservabilityPlatformList is a list of ObservabilityPlatforms.
//
// +kubebuilder:object:root=true
type ObservabilityPlatformList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ObservabilityPlatform `json:"items"`
}

// ObservabilityPlatformSpec says what stands behind the stacks.
type ObservabilityPlatformSpec struct {
	// namespaces says whose stacks may use the platform. Absent: those of all namespaces.
	// +optional
	Namespaces *PlatformNamespaces `json:"namespaces,omitempty"`

	// prometheus is what obstack asks whether the stacks' data arrives. Absent: nothing is asked.
	// +optional
	Prometheus *PlatformPrometheus `json:"prometheus,omitempty"`

	// grafana is where the stacks' dashboards are shown.
	// +optional
	Grafana *PlatformGrafana `json:"grafana,omitempty"`

	// sentry is where the stacks' errors are reported.
	// +optional
	Sentry *PlatformSentry `json:"sentry,omitempty"`

	// defaults are what stacks get where they say nothing. They add no part to a stack.
	// +optional
	Defaults PlatformDefaults `json:"defaults,omitzero"`

	// cluster is the name of this cluster where one Prometheus, Thanos or Mimir holds the series of
	// several: the label cluster of every series, rule and alert of the stacks, and a constant
	// variable of their dashboards. What was recorded before it was set has no such label and is
	// not found any more. Absent: no label.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')",message="cluster consists of letters, digits, '-', '_' and '.', and starts and ends with a letter or digit: write for example eu-1"
	Cluster string `json:"cluster,omitempty"`
}

// PlatformNamespacesFrom says which namespaces are meant.
//
// +kubebuilder:validation:Enum=All;Selector
type PlatformNamespacesFrom string

// The values of PlatformNamespacesFrom.
const (
	// PlatformNamespacesFromAll: every namespace.
	PlatformNamespacesFromAll PlatformNamespacesFrom = "All"
	// PlatformNamespacesFromSelector: those that the selector matches.
	PlatformNamespacesFromSelector PlatformNamespacesFrom = "Selector"
)

// PlatformNamespaces chooses the namespaces whose stacks may use a platform.
//
// +kubebuilder:validation:XValidation:rule="(self.from == 'Selector') == has(self.selector)",message="selector goes with from: Selector: add namespaces.selector, such as {matchLabels: {team: shop}}, or write from: All without one"
type PlatformNamespaces struct {
	// from is All, or Selector (by the labels of the Namespace).
	// +required
	From PlatformNamespacesFrom `json:"from,omitempty"`

	// selector of the Namespaces' labels, with from: Selector.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// PlatformURL is the address of a server.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=512
// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[^/@?#{}\\\\s]+(/[^?#@{}\\\\s]*)?$')",message="url is the address of a server, without a user, a query, a fragment or braces: write for example https://prometheus.example.com"
type PlatformURL string

// PlatformPrometheus says whom obstack asks about series, targets and rules.
//
// +kubebuilder:validation:XValidation:rule="has(self.ref) != has(self.url)",message="exactly one of ref and url must be set: ref for a Prometheus object of this cluster, url for any server with its query API"
// +kubebuilder:validation:XValidation:rule="!(has(self.authorization) && has(self.basicAuth))",message="authorization and basicAuth exclude each other: remove one"
type PlatformPrometheus struct {
	// ref names a Prometheus object of prometheus-operator. It is asked by the names that its
	// governing Service gives its Pods, every shard of it.
	// +optional
	Ref *PlatformPrometheusRef `json:"ref,omitempty"`

	// url of a server with the query API of Prometheus: Prometheus, Thanos, Mimir, VictoriaMetrics.
	// +optional
	URL PlatformURL `json:"url,omitempty"`

	// authorization is the token to ask with.
	// +optional
	Authorization *PlatformAuthorization `json:"authorization,omitempty"`

	// basicAuth is the user name and password to ask with.
	// +optional
	BasicAuth *PlatformBasicAuth `json:"basicAuth,omitempty"`

	// tenant is sent as the header X-Scope-OrgID, which Mimir, Cortex and Thanos read the tenant
	// from. Absent: no header.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[-A-Za-z0-9!._*()|]+$')",message="tenant consists of letters, digits and any of !-_.*(), and several are joined by '|'"
	Tenant string `json:"tenant,omitempty"`

	// tls is how the server is verified, and how obstack identifies itself to it.
	// +optional
	TLS *PlatformTLS `json:"tls,omitempty"`
}

// PlatformPrometheusRef names a Prometheus object.
type PlatformPrometheusRef struct {
	// namespace of the Prometheus object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="namespace is the name of a namespace: lower-case letters, digits and '-'"
	Namespace string `json:"namespace,omitempty"`

	// name of the Prometheus object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="name is the name of a Prometheus object: lower-case letters, digits, '-' and '.'"
	Name string `json:"name,omitempty"`
}

// PlatformAuthorization is the header Authorization.
type PlatformAuthorization struct {
	// type in front of the credentials. Absent: Bearer.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][-A-Za-z0-9]*$') && self.lowerAscii() != 'basic'",message="type is the word in front of a token, such as Bearer: for a user name and password write basicAuth"
	Type string `json:"type,omitempty"`

	// credentialsFrom takes the token.
	// +required
	CredentialsFrom PlatformSecretSource `json:"credentialsFrom,omitzero"`
}

// PlatformBasicAuth is a user name and a password.
type PlatformBasicAuth struct {
	// usernameFrom takes the user name.
	// +required
	UsernameFrom PlatformSecretSource `json:"usernameFrom,omitzero"`

	// passwordFrom takes the password.
	// +required
	PasswordFrom PlatformSecretSource `json:"passwordFrom,omitzero"`
}

// PlatformTLS is how a server is verified, and how obstack identifies itself to it.
//
// +kubebuilder:validation:XValidation:rule="has(self.certFrom) == has(self.keyFrom)",message="certFrom and keyFrom go together: set both, or none"
type PlatformTLS struct {
	// caFrom takes the certificates, in PEM, of the authorities that are trusted. Absent: those of
	// the system.
	// +optional
	CAFrom *PlatformSecretSource `json:"caFrom,omitempty"`

	// certFrom takes obstack's own certificate, in PEM.
	// +optional
	CertFrom *PlatformSecretSource `json:"certFrom,omitempty"`

	// keyFrom takes the private key of the certificate, in PEM.
	// +optional
	KeyFrom *PlatformSecretSource `json:"keyFrom,omitempty"`

	// serverName that the server's certificate must have. Absent: that of its address.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ServerName string `json:"serverName,omitempty"`
}

// PlatformSecretSource takes a value from a Secret of the operator's namespace.
type PlatformSecretSource struct {
	// secretKeyRef names the Secret and its key. The Secret must be in the operator's namespace and
	// have the label obstack.dev/platform with the name of the platform.
	// +required
	SecretKeyRef SecretKeySelector `json:"secretKeyRef,omitzero"`
}

// PlatformGrafana is where the stacks' dashboards are shown.
type PlatformGrafana struct {
	// url of Grafana, which links of alerts lead to, and which obstack asks for its dashboards if
	// tokenFrom is set.
	// +optional
	URL PlatformURL `json:"url,omitempty"`

	// tokenFrom takes the token of a service account with the role Viewer and the permission to
	// read data sources. Absent: Grafana is not asked.
	// +optional
	TokenFrom *PlatformSecretSource `json:"tokenFrom,omitempty"`

	// tls is how Grafana is verified.
	// +optional
	TLS *PlatformTLS `json:"tls,omitempty"`

	// datasource is the uid of the Prometheus data source that dashboards open with, where stacks
	// name none. Absent: prometheus.
	// +optional
	Datasource Datasource `json:"datasource,omitempty"`

	// folderAnnotation is the annotation from which Grafana's sidecar reads the folder, where
	// stacks name none. Absent: grafana_folder.
	// +optional
	FolderAnnotation FolderAnnotation `json:"folderAnnotation,omitempty"`

	// labels by which Grafana's sidecar finds the ConfigMaps, where stacks have none. Absent:
	// {"grafana_dashboard": "1"}.
	// +optional
	Labels Labels `json:"labels,omitempty"`
}

// PlatformSentry is where the stacks' errors are reported.
type PlatformSentry struct {
	// url of Sentry. Its host is one of those to which obstack may send a probe of a DSN. Absent:
	// https://sentry.io.
	// +optional
	URL PlatformURL `json:"url,omitempty"`

	// organization is its short name in Sentry.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=50
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9_]*[a-z0-9])?$')",message="organization is the short name in the address of an organization's pages: lower-case letters, digits, '-' and '_'"
	Organization string `json:"organization,omitempty"`

	// tokenFrom takes the token of an internal integration with the permission org:read. Absent:
	// Sentry's API is not asked.
	// +optional
	TokenFrom *PlatformSecretSource `json:"tokenFrom,omitempty"`

	// tls is how Sentry is verified.
	// +optional
	TLS *PlatformTLS `json:"tls,omitempty"`
}

// PlatformDefaults are what stacks get where they say nothing.
type PlatformDefaults struct {
	// metrics are defaults of spec.metrics.
	// +optional
	Metrics PlatformMetricsDefaults `json:"metrics,omitzero"`

	// alerts are defaults of spec.alerts, and of the alerts of SLOs.
	// +optional
	Alerts PlatformAlertsDefaults `json:"alerts,omitzero"`

	// dashboards are defaults of spec.dashboards.
	// +optional
	Dashboards PlatformDashboardsDefaults `json:"dashboards,omitzero"`

	// logging are defaults of spec.logging, for stacks that have settings for workloads at all: an
	// environment, sentry or logging. A change restarts the workloads of the stacks concerned.
	// +optional
	Logging LoggingSpec `json:"logging,omitzero"`
}

// PlatformMetricsDefaults are defaults of spec.metrics.
type PlatformMetricsDefaults struct {
	// labels of every ServiceMonitor and PrometheusRule. A stack's label of the same key wins.
	// +optional
	Labels Labels `json:"labels,omitempty"`

	// interval between two scrapes. A monitor with a longer scrapeTimeout gets that one. Absent: 30s.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[0hms]+$')",message="interval must be longer than 0"
	Interval Duration `json:"interval,omitempty"`
}

// PlatformAlertsDefaults are defaults of alerts.
type PlatformAlertsDefaults struct {
	// labels of every alert, for Alertmanager's routes. A stack's label of the same key wins.
	// +optional
	Labels AlertLabels `json:"labels,omitempty"`

	// runbookBase is the address under which each alert has a page of its name, such as
	// https://runbooks.example.com/obstack. Absent: the runbooks of obstack.
	// +optional
	RunbookBase RunbookBase `json:"runbookBase,omitempty"`
}

// PlatformDashboardsDefaults are defaults of spec.dashboards.
type PlatformDashboardsDefaults struct {
	// links are shown at the top of every dashboard, behind those of the stack. A stack's link of
	// the same title wins.
	// +optional
	// +listType=map
	// +listMapKey=title
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Links []DashboardLink `json:"links,omitempty"`
}

// ObservabilityPlatformStatus says what obstack found in its last look.
type ObservabilityPlatformStatus struct {
	// observedGeneration is the metadata.generation that the rest of the status is about.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// stacks is how many stacks use the platform. It is counted about once a minute.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Stacks *int32 `json:"stacks,omitempty"`

	// missingSecrets are the Secrets that the spec names and that are not in the operator's
	// namespace, or have not the label obstack.dev/platform with the platform's name.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=253
	MissingSecrets []string `json:"missingSecrets,omitempty"`

	// versions are what the servers say of themselves.
	// +optional
	Versions PlatformVersions `json:"versions,omitzero"`

	// conditions are Ready, and PrometheusReachable, GrafanaReachable and SentryReachable for those
	// that are asked. A condition that is not True says in its message what to change.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// PlatformVersions are the versions of the servers; absent if one does not say.
type PlatformVersions struct {
	// prometheus is the version of Prometheus, or of what stands in for it.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Prometheus string `json:"prometheus,omitempty"`

	// grafana is the version of Grafana.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Grafana string `json:"grafana,omitempty"`
}
