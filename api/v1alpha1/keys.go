// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// FieldManager is the name under which obstack applies every field it owns.
const FieldManager = "obstack"

// LeaderLease is the name of the Lease that the operator at work renews every few seconds, in its
// own namespace.
const LeaderLease = "obstack.obstack.dev"

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
	// LabelPlatform is what somebody puts on a Secret of the operator's namespace: the name of the
	// ObservabilityPlatform that may have it.
	LabelPlatform = "obstack.dev/platform"

	// ManagedBy is the value of LabelManagedBy.
	ManagedBy = "obstack"
)

// AnnotationApplied is on every object that obstack owns: the hash of what it applied last, by
// which it knows after a restart that nothing is to be applied.
const AnnotationApplied = "obstack.dev/applied"

// Target labels that every series scraped for a stack carries. Together with
// Prometheus' own "namespace" they select the series of one stack.
const (
	// SeriesStack is the name of the stack.
	SeriesStack = "obstack_stack"
	// SeriesMonitor is the name of the monitor in spec.metrics that scrapes the series.
	SeriesMonitor = "obstack_monitor"
	// SeriesWorkload is NAMESPACE/NAME of the workload of a process of spec.python.
	SeriesWorkload = "obstack_workload"
	// SeriesBroker is the name of the broker in spec.tasks whose exporter exposes the series.
	SeriesBroker = "obstack_broker"
	// SeriesCluster is the name of the cluster, where the platform gives it one.
	SeriesCluster = "cluster"
	// SeriesSLO is the name of the SLO in spec.slos that a recorded series is about.
	SeriesSLO = "slo"
)

// Annotations that users set on workloads, Pod templates and Pods.
const (
	// AnnotationStack names the stack whose settings are injected: NAME or NAMESPACE/NAME.
	AnnotationStack = "obstack.dev/stack"
	// AnnotationInject with the value "false" opts a workload or Pod out.
	AnnotationInject = "obstack.dev/inject"
	// AnnotationAccept on a Namespace lists what its workloads take of stacks of other namespaces
	// beside plain settings: "env", "python", or both with a comma between them.
	AnnotationAccept = "obstack.dev/accept"
	// AnnotationSentryProject chooses an entry of spec.sentry.projects.
	AnnotationSentryProject = "obstack.dev/sentry-project"
	// AnnotationContainers lists the containers to inject, by name and separated by
	// commas, or is "*". Absent: every regular container but known sidecars.
	AnnotationContainers = "obstack.dev/containers"
	// AnnotationSentryRelease with the value "false" keeps spec.sentry.release: FromImage
	// from setting SENTRY_RELEASE, for containers that get it elsewhere.
	AnnotationSentryRelease = "obstack.dev/sentry-release"
	// AnnotationPython with the value "false" keeps spec.python from a workload. With "true" a Job,
	// CronJob or Pod of no workload gets it, which it does not without.
	AnnotationPython = "obstack.dev/python"
	// AnnotationPythonPath repeats the PYTHONPATH of the image, which nobody sees from outside and
	// which the one that names the bundle hides.
	AnnotationPythonPath = "obstack.dev/python-path"
)

// What AnnotationAccept lists.
const (
	// AcceptEnv: spec.injection.env and the URLs of brokers.
	AcceptEnv = "env"
	// AcceptPython: the code of spec.python. Consent to a DSN is none to code.
	AcceptPython = "python"
)

// Labels on a Namespace: its workloads use that stack, unless they say otherwise. They are
// labels, so that webhooks and policies can select such namespaces.
const (
	// LabelUseStack is the name of the stack.
	LabelUseStack = "inject.obstack.dev/use-stack"
	// LabelUseNamespace is the namespace of the stack. Absent: the Namespace itself.
	LabelUseNamespace = "inject.obstack.dev/use-namespace"
)

// The stamp: what obstack writes on Pod templates of admitted workloads. Changing
// it makes Kubernetes replace the Pods.
const (
	// StampStack is the label with the name of the stack.
	StampStack = "inject.obstack.dev/stack"
	// StampNamespace is the label with the namespace of the stack.
	StampNamespace = "inject.obstack.dev/namespace"
	// StampVersion is the label with the configuration's hash, which names the Secret with the
	// settings: ReplicaSets and ControllerRevisions copy labels alone.
	StampVersion = "inject.obstack.dev/version"
	// StampWorkload is the annotation with the workload's name, of a Job that of its CronJob, which
	// begins SENTRY_RELEASE. It is there only where spec.sentry.release is FromImage.
	StampWorkload = "inject.obstack.dev/workload" // #nosec G101 -- "pW" is no password.
	// StampConfigHash is the annotation with the configuration's hash.
	StampConfigHash = "inject.obstack.dev/config-hash"
	// StampContainers is the annotation with the workload's choice of containers.
	StampContainers = "inject.obstack.dev/containers"
	// StampPython is the label with the hash of the bundle for Python, which names its ConfigMap. It
	// is not part of the configuration's hash: an operator with another bundle changes no template.
	StampPython = "inject.obstack.dev/python"
	// StampPythonPath is the annotation with the workload's PYTHONPATH.
	StampPythonPath = "inject.obstack.dev/python-path"
	// StampMetricsPort is the annotation with the port of the metrics in the first container.
	StampMetricsPort = "inject.obstack.dev/metrics-port"
	// StampAttempt is the annotation that counts how often the workload was rolled out
	// again because Pods had missed the webhook.
	StampAttempt = "inject.obstack.dev/attempt"
)

// AnnotationRecord is on workloads whose template obstack changed: what it did to them. It is
// written in the same request as the stamp, and outlives the operator.
const AnnotationRecord = "inject.obstack.dev/record"

// AnnotationPythonWithdrawn is on workloads from which obstack took the bundle for Python: which
// one, from which images, and why.
const AnnotationPythonWithdrawn = "inject.obstack.dev/python-withdrawn"

// AnnotationPythonWorks is on workloads that were seen to run with the bundle for Python, so that
// nothing is taken off for what breaks later. It stands for bundle, images and annotations.
const AnnotationPythonWorks = "inject.obstack.dev/python-works"

const (
	// MarkInjected is the annotation that the webhook puts on a Pod: the hash of the
	// configuration that it starts with.
	MarkInjected = "inject.obstack.dev/injected"
	// Probe is the annotation by which obstack asks, in a dry run, whether the
	// webhook responds; ProbeReached is the value that the webhook gives it.
	Probe = "inject.obstack.dev/probe"
	// ProbeReached is what the webhook writes there.
	ProbeReached = "reached"
)

// AnnotationSources is on objects that are made from Secrets: which versions of them.
const AnnotationSources = "obstack.dev/sources"

// AnnotationContent is on the Secrets with the settings of a stack: a hash of what they hold.
const AnnotationContent = "obstack.dev/content"

// LabelEnv is on the Secrets with settings that hold spec.injection.env or URLs of brokers, which
// another namespace may have only where it accepts them.
const LabelEnv = "inject.obstack.dev/env"

// Annotations on Secrets with settings that are to be deleted: since when, in RFC 3339.
const (
	// AnnotationUnusedSince: nothing that lives names the Secret.
	AnnotationUnusedSince = "obstack.dev/unused-since"
	// AnnotationRevokedSince: the stack does not admit the Secret's namespace any more.
	AnnotationRevokedSince = "obstack.dev/revoked-since"
	// AnnotationWithdrawnSince: the namespace does not accept the variables in it any more.
	AnnotationWithdrawnSince = "obstack.dev/withdrawn-since"
)

// DeletionMarks are those annotations, of which a Secret has one at most.
var DeletionMarks = []string{AnnotationUnusedSince, AnnotationRevokedSince, AnnotationWithdrawnSince}

// AnnotationRestored marks a Secret with settings that is there again after it was deleted: Pods
// that are older than it may have them all the same.
const AnnotationRestored = "obstack.dev/restored"

// SettingsName is the name of the Secret with a version of a stack's settings, in the
// stack's namespace and in all to which it is copied. Dots can appear in no part, so no
// two versions share a name.
func SettingsName(stackNamespace, stackName, hash string) string {
	return "obstack." + stackNamespace + "." + stackName + "." + hash
}

// PythonName is the name of the ConfigMap with a bundle for Python.
func PythonName(hash string) string { return "obstack-python-" + hash }
