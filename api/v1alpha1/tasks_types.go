// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// TasksSpec says which Celery brokers are watched.
//
// +kubebuilder:validation:XValidation:rule="self.brokers.all(a, !has(a.env) || self.brokers.exists_one(b, has(b.env) && b.env == a.env))",message="two brokers must not share one env: a variable has one value, so give each broker a name of its own"
type TasksSpec struct {
	// brokers to watch. Each gets a task exporter of its own.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Brokers []Broker `json:"brokers,omitempty"`
}

// Broker becomes a Deployment, a Service and a ServiceMonitor, named
// "<stack>-tasks-<name>".
//
// +kubebuilder:validation:XValidation:rule="has(self.url) != has(self.urlFrom)",message="exactly one of url and urlFrom must be set: url for an address without a password, urlFrom for one in a Secret"
type Broker struct {
	// name of the broker, unique in the stack. Series carry it as the label obstack_broker.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=19
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="a broker's name consists of lower-case letters, digits and '-', and neither starts nor ends with '-'"
	Name string `json:"name,omitempty"`

	// url of the broker, if it holds no password, such as redis://redis:6379/0.
	// Schemes: redis, rediss, sentinel, redis+socket, socket, amqp, amqps, pyamqp, librabbitmq.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^(redis|rediss|sentinel|redis[+]socket|socket|amqp|amqps|pyamqp|librabbitmq)://')",message="url must start with redis://, rediss://, sentinel://, redis+socket://, socket://, amqp://, amqps://, pyamqp:// or librabbitmq://"
	// +kubebuilder:validation:XValidation:rule="!self.matches('://[^@]*:[^@]*@') && !self.matches('(?i)[?&][a-z_]*password=')",message="url must not contain a password, which everybody who may read this object would see: put the whole URL into a Secret and name it in urlFrom"
	URL string `json:"url,omitempty"`

	// urlFrom takes the broker's URL from a Secret. The exporter is restarted when it changes.
	// +optional
	URLFrom *SecretKeySource `json:"urlFrom,omitempty"`

	// env is the variable under which workloads that take the stack's settings get the broker's
	// URL, such as CELERY_BROKER_URL. In other namespaces they do where the Namespace accepts env.
	// Absent: they do not get it.
	// +optional
	Env VariableName `json:"env,omitempty"`

	// sentinelPasswordFrom takes the password of the sentinels themselves from a Secret, for a
	// URL with sentinel://. That of the servers is part of the URL. The exporter is restarted
	// when it changes.
	// +optional
	SentinelPasswordFrom *SecretKeySource `json:"sentinelPasswordFrom,omitempty"`

	// tls is how the exporter verifies the broker and identifies itself, where the
	// authorities of its image or a password do not do. It turns TLS on.
	// Absent: the URL's scheme alone decides.
	// +optional
	TLS *BrokerTLS `json:"tls,omitempty"`

	// args are more options of the exporter, such as --enable-events,
	// --max-series=100000 or --broker-transport-option=global_keyprefix=shop.
	// docs/reference/task-exporter.md lists them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.all(a, a.startsWith('--') && !a.startsWith('--broker-url') && !a.startsWith('--port'))",message="args are options of the form --NAME or --NAME=VALUE; the broker is set by url or urlFrom, and the port is always 9808"
	// +kubebuilder:validation:XValidation:rule="self.all(a, !a.startsWith('--metric-prefix') || a.matches('^--metric-prefix=[a-zA-Z_:][a-zA-Z0-9_:]*$'))",message="the prefix of metrics consists of letters, digits, '_' and ':' and does not start with a digit: write for example --metric-prefix=celery_"
	// +kubebuilder:validation:XValidation:rule="self.all(a, !a.matches('(?is)sentinel_kwargs.*(password|\\\\x5c)'))",message="args must not contain the password of the sentinels, nor a backslash that could spell it, which everybody who may read this object would see: put it into a Secret and name it in sentinelPasswordFrom"
	Args []string `json:"args,omitempty"`

	// queues whose length is always reported, even before a worker consumes from
	// them. Absent: the queues that workers are seen to consume from.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:XValidation:rule="!self.matches('[,\\\\s]')",message="a queue's name must not contain a comma or white space, because the exporter takes the queues as one comma-separated list"
	Queues []string `json:"queues,omitempty"`

	// periodicTasks are tasks that a scheduler, such as Celery beat, sends at regular
	// intervals. The alert ObstackSchedulerSilent fires for each that does not come.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	PeriodicTasks []PeriodicTask `json:"periodicTasks,omitempty"`

	// image of the exporter. Absent: the operator's own. Any image that takes its
	// broker from CE_BROKER_URL and serves /metrics on port 9808 will do.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image,omitempty"`

	// imagePullSecrets with which the image is pulled.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`

	// resources of the exporter. Absent: requests of 10m CPU and 32Mi memory, limit 256Mi memory.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`

	// nodeSelector of the exporter's Pod.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="the key of a label is a name of at most 63 letters, digits, '-', '_' and '.', such as release, or has a domain in front, such as example.com/team"
	NodeSelector map[string]LabelValue `json:"nodeSelector,omitempty"`

	// tolerations of the exporter's Pod.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// affinity of the exporter's Pod.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`

	// priorityClassName of the exporter's Pod.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	PriorityClassName string `json:"priorityClassName,omitempty"`

	// podSecurityContext of the exporter's Pod. Absent: what the Pod security
	// standard "restricted" asks for, as the user of the image.
	// +optional
	// +kubebuilder:validation:XValidation:rule="(!has(self.seLinuxOptions) || !(has(self.seLinuxOptions.user) || has(self.seLinuxOptions.role) || has(self.seLinuxOptions.type))) && (!has(self.seccompProfile) || self.seccompProfile.type != 'Unconfined') && (!has(self.appArmorProfile) || self.appArmorProfile.type != 'Unconfined') && (!has(self.windowsOptions) || !has(self.windowsOptions.hostProcess) || !self.windowsOptions.hostProcess) && (!has(self.sysctls) || self.sysctls.size() == 0)",message="an exporter's Pod must be confined: of seLinuxOptions set the level alone, and leave out sysctls, windowsOptions.hostProcess and the profile Unconfined"
	PodSecurityContext *corev1.PodSecurityContext `json:"podSecurityContext,omitempty"`

	// securityContext of the exporter's container. Absent: what the Pod security
	// standard "restricted" asks for, with a read-only root file system.
	// +optional
	// +kubebuilder:validation:XValidation:rule="(!has(self.privileged) || !self.privileged) && (!has(self.capabilities) || !has(self.capabilities.add) || self.capabilities.add.size() == 0) && (!has(self.procMount) || self.procMount == 'Default')",message="an exporter needs no privilege: leave out privileged, capabilities.add and procMount"
	// +kubebuilder:validation:XValidation:rule="(!has(self.seLinuxOptions) || !(has(self.seLinuxOptions.user) || has(self.seLinuxOptions.role) || has(self.seLinuxOptions.type))) && (!has(self.seccompProfile) || self.seccompProfile.type != 'Unconfined') && (!has(self.appArmorProfile) || self.appArmorProfile.type != 'Unconfined') && (!has(self.windowsOptions) || !has(self.windowsOptions.hostProcess) || !self.windowsOptions.hostProcess)",message="an exporter must be confined: of seLinuxOptions set the level alone, and leave out windowsOptions.hostProcess and the profile Unconfined"
	SecurityContext *corev1.SecurityContext `json:"securityContext,omitempty"`

	// livenessProbe of the exporter. Absent: the port is open. It must not depend
	// on the broker, or the exporter is restarted whenever the broker is away.
	// +optional
	// +kubebuilder:validation:XValidation:rule="(!has(self.httpGet) || !has(self.httpGet.host)) && (!has(self.tcpSocket) || !has(self.tcpSocket.host))",message="a probe asks the exporter itself: leave out host"
	LivenessProbe *corev1.Probe `json:"livenessProbe,omitempty"`

	// readinessProbe of the exporter. Absent: /ready, which reports whether
	// the broker is reached; for another image /health.
	// +optional
	// +kubebuilder:validation:XValidation:rule="(!has(self.httpGet) || !has(self.httpGet.host)) && (!has(self.tcpSocket) || !has(self.tcpSocket.host))",message="a probe asks the exporter itself: leave out host"
	ReadinessProbe *corev1.Probe `json:"readinessProbe,omitempty"`

	// networkPolicy restricts the traffic of the exporter's Pod: out to its broker and to
	// DNS, in to its metrics. Absent: it is not restricted.
	// +optional
	NetworkPolicy *BrokerNetworkPolicy `json:"networkPolicy,omitempty"`
}

// BrokerNetworkPolicy becomes a NetworkPolicy of the exporter's Pod.
type BrokerNetworkPolicy struct {
	// broker is where the broker is, as in the "to" of a NetworkPolicy: Pods, or a range of
	// addresses such as {ipBlock: {cidr: 10.0.0.0/8}}. All its ports are open.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Broker []networkingv1.NetworkPolicyPeer `json:"broker,omitempty"`

	// scraper is who may read the metrics, as in the "from" of a NetworkPolicy. Absent: everybody.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Scraper []networkingv1.NetworkPolicyPeer `json:"scraper,omitempty"`
}

// PeriodicTask is a task that a scheduler sends at regular intervals.
type PeriodicTask struct {
	// name of the task, as Celery has it, such as shop.tasks.clean_up.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +kubebuilder:validation:XValidation:rule="!self.matches('[{}\\\\s]')",message="a task's name must not contain white space or braces: write it as Celery shows it, such as shop.tasks.clean_up"
	Name string `json:"name,omitempty"`

	// interval is the longest time between two runs, such as 5m or 24h. For a
	// schedule with pauses, such as one that rests on Sundays, it is the longest pause.
	// +required
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,6}(h|m|s|ms))+$') || (duration(self) >= duration('1m') && duration(self) <= duration('8760h'))",message="interval must be from 1m to 8760h: write 1m for what runs more often"
	Interval Duration `json:"interval,omitempty"`
}

// BrokerTLS names the certificates for the connection to a broker.
type BrokerTLS struct {
	// secretName of the Secret, in the stack's namespace, that holds under ca.crt the
	// authorities which the broker's certificate is verified against. The exporter
	// is restarted when it changes.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName,omitempty"`

	// clientCertificate makes the exporter identify itself by the tls.crt and
	// tls.key of the Secret, as cert-manager writes them. Absent or false: it does not.
	// +optional
	ClientCertificate bool `json:"clientCertificate,omitempty"`
}

// Keys of the Secret that BrokerTLS names.
const (
	KeyCA          = "ca.crt"
	KeyCertificate = "tls.crt"
	KeyPrivateKey  = "tls.key"
)

// Keys are those that the Secret must hold.
func (t *BrokerTLS) Keys() []SecretKeySelector {
	names := []string{KeyCA}
	if t.ClientCertificate {
		names = append(names, KeyCertificate, KeyPrivateKey)
	}
	keys := make([]SecretKeySelector, 0, len(names))
	for _, name := range names {
		keys = append(keys, SecretKeySelector{Name: t.SecretName, Key: name})
	}
	return keys
}
