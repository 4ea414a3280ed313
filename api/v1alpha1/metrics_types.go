// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MetricsSpec says which Services are scraped.
type MetricsSpec struct {
	// monitors are the Services to scrape.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Monitors []Monitor `json:"monitors,omitempty"`

	// labels are added to every ServiceMonitor and PrometheusRule of the stack,
	// so that the cluster's Prometheus selects them. kube-prometheus-stack wants
	// {"release": "<name of its Helm release>"}. The platform's are added to them.
	// Absent, there too: what the cluster's only Prometheus wants, if that is
	// nothing but labels; status.discovered says so.
	// +optional
	Labels Labels `json:"labels,omitempty"`
}

// Labels of Kubernetes objects.
//
// +kubebuilder:validation:MaxProperties=16
// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="the key of a label is a name of at most 63 letters, digits, '-', '_' and '.', such as release, or has a domain in front, such as example.com/team"
// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('obstack.dev/') && !k.startsWith('app.kubernetes.io/'))",message="labels that start with obstack.dev/ or app.kubernetes.io/ are set by obstack; choose other keys"
type Labels map[string]LabelValue

// LabelValue is the value of a Kubernetes label.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:XValidation:rule="self.matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$')",message="the value of a label consists of letters, digits, '-', '_' and '.', and starts and ends with a letter or digit"
type LabelValue string

// Framework is the library whose metric names a monitored application exposes.
//
// +kubebuilder:validation:Enum=fastapi;starlette;django;flask;opentelemetry
type Framework string

// The frameworks whose metric names obstack knows.
const (
	// FrameworkFastAPI is prometheus-fastapi-instrumentator.
	FrameworkFastAPI Framework = "fastapi"
	// FrameworkStarlette is starlette_exporter.
	FrameworkStarlette Framework = "starlette"
	// FrameworkDjango is django-prometheus.
	FrameworkDjango Framework = "django"
	// FrameworkFlask is prometheus-flask-exporter.
	FrameworkFlask Framework = "flask"
	// FrameworkOpenTelemetry is any SDK that follows the HTTP semantic conventions.
	FrameworkOpenTelemetry Framework = "opentelemetry"
)

// Monitor becomes one ServiceMonitor, named "<stack>-<name>". It selects
// Services in the stack's namespace.
//
// +kubebuilder:validation:XValidation:rule="!has(self.scrapeTimeout) || !has(self.interval) || [self.scrapeTimeout, self.interval].exists(d, !d.matches('^([0-9]{1,6}(h|m|s|ms))+$')) || duration(self.scrapeTimeout) <= duration(self.interval)",message="scrapeTimeout must not be longer than interval: lower scrapeTimeout or raise interval"
// +kubebuilder:validation:XValidation:rule="!(has(self.basicAuth) && has(self.authorization))",message="basicAuth and authorization exclude each other: remove one"
// +kubebuilder:validation:XValidation:rule="!has(self.tlsConfig) || (has(self.scheme) && self.scheme == 'https')",message="tlsConfig needs scheme: https"
type Monitor struct {
	// name of the monitor, unique in the stack. Series carry it as the label obstack_monitor.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=26
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="a monitor's name consists of lower-case letters, digits and '-', and neither starts nor ends with '-'"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('tasks-')",message="a monitor's name must not start with tasks-: such names belong to the task exporters; rename the monitor"
	Name string `json:"name,omitempty"`

	// selector chooses the Services to scrape by their labels.
	// +required
	// +kubebuilder:validation:XValidation:rule="(has(self.matchLabels) && self.matchLabels.size() > 0) || (has(self.matchExpressions) && self.matchExpressions.size() > 0)",message="an empty selector would select every Service of the namespace: name at least one label in matchLabels or matchExpressions"
	Selector metav1.LabelSelector `json:"selector,omitzero"`

	// framework says whose metric names dashboards and alerts expect:
	// fastapi (prometheus-fastapi-instrumentator), starlette (starlette_exporter),
	// django (django-prometheus), flask (prometheus-flask-exporter) or
	// opentelemetry (the HTTP semantic conventions).
	// +optional
	// +kubebuilder:default=fastapi
	Framework Framework `json:"framework,omitempty"`

	// port is the name of the Service's port. A port without a name cannot be scraped.
	// +optional
	// +kubebuilder:default=http
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.matches('[a-z]')",message="port is the name of a Service port, not its number: give the port a name in the Service and write that name"
	Port string `json:"port,omitempty"`

	// path of the metrics endpoint.
	// +optional
	// +kubebuilder:default=/metrics
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/')",message="path must start with '/'"
	Path string `json:"path,omitempty"`

	// interval between two scrapes. Absent: the platform's, else 30s, and at least scrapeTimeout.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[0hms]+$')",message="interval must be longer than 0"
	Interval Duration `json:"interval,omitempty"`

	// scrapeTimeout after which a scrape is given up; at most interval. Absent:
	// Prometheus' own default, at most interval.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[0hms]+$')",message="scrapeTimeout must be longer than 0; leave it out for the default"
	ScrapeTimeout Duration `json:"scrapeTimeout,omitempty"`

	// scheme of the metrics endpoint. Absent: http.
	// +optional
	// +kubebuilder:validation:Enum=http;https
	Scheme string `json:"scheme,omitempty"`

	// tlsConfig is how Prometheus verifies the endpoint and identifies itself, with
	// scheme https. Secrets and ConfigMaps are those of the stack's namespace;
	// files on Prometheus' own disk cannot be named.
	// +optional
	TLSConfig *monitoringv1.SafeTLSConfig `json:"tlsConfig,omitempty"`

	// basicAuth is the user name and password to scrape with, from Secrets beside the stack.
	// +optional
	BasicAuth *monitoringv1.BasicAuth `json:"basicAuth,omitempty"`

	// authorization is the token to scrape with, from a Secret of the stack's namespace.
	// +optional
	Authorization *monitoringv1.SafeAuthorization `json:"authorization,omitempty"`

	// relabelings are applied to targets before the scrape, as in a ServiceMonitor. What
	// Prometheus scrapes, and how, they cannot change. The labels that select this stack's
	// series, namespace among them, are set after them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(r, !has(r.action) || !(r.action in ['labelmap', 'LabelMap']))",message="labelmap must not be used before the scrape, because it could change what Prometheus scrapes: write one relabeling with sourceLabels and targetLabel for each label, or use labelmap in metricRelabelings"
	// +kubebuilder:validation:XValidation:rule="self.all(r, !has(r.targetLabel) || !r.targetLabel.startsWith('__') || r.targetLabel.startsWith('__tmp_'))",message="targetLabel must not begin with __, because such labels say what Prometheus scrapes: choose another label, or begin it with __tmp_ if only later relabelings need it"
	Relabelings []Relabeling `json:"relabelings,omitempty"`

	// metricRelabelings are applied to samples before they are stored, as in a ServiceMonitor.
	// The labels that select this stack's series, namespace among them, are set after them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	MetricRelabelings []Relabeling `json:"metricRelabelings,omitempty"`

	// sampleLimit is the highest number of samples that one scrape may yield;
	// beyond it the scrape fails as a whole. Absent: no limit.
	// +optional
	// +kubebuilder:validation:Minimum=1
	SampleLimit *int64 `json:"sampleLimit,omitempty"`
}

// Relabeling changes the labels of targets or samples, as in a ServiceMonitor.
type Relabeling struct {
	// sourceLabels are those whose values, joined by the separator, the regex is matched against.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	SourceLabels []string `json:"sourceLabels,omitempty"`

	// separator between the values of sourceLabels. Absent: ";".
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Separator *string `json:"separator,omitempty"`

	// targetLabel is the label that is written.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-zA-Z_][a-zA-Z0-9_]*$')",message="targetLabel is the name of a label: letters, digits and '_', without references to the regex such as ${1}"
	TargetLabel string `json:"targetLabel,omitempty"`

	// regex that the values are matched against, as a whole. Absent: "(.*)".
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Regex string `json:"regex,omitempty"`

	// modulus of the hash of the values, with the action hashmod.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Modulus int64 `json:"modulus,omitempty"`

	// replacement for the value of targetLabel, where $1 stands for the first group of the regex.
	// Absent: "$1".
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Replacement *string `json:"replacement,omitempty"`

	// action that is taken. Absent: replace.
	// +optional
	// +kubebuilder:validation:Enum=replace;Replace;keep;Keep;drop;Drop;hashmod;HashMod;labelmap;LabelMap;labeldrop;LabelDrop;labelkeep;LabelKeep;lowercase;Lowercase;uppercase;Uppercase;keepequal;KeepEqual;dropequal;DropEqual
	Action string `json:"action,omitempty"`
}
