// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"cmp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/internal/brokerurl"
)

// annotationBrokerRevision restarts the exporter when the Secret with its broker's
// URL changes, which the environment of a running container would not show.
const annotationBrokerRevision = "obstack.dev/broker-revision"

// exporterDeployment runs the task exporter of one broker.
func exporterDeployment(stack *obsv1.ObservabilityStack, broker *obsv1.Broker,
	ownImage, revision string) *appsv1.Deployment {
	meta := exporterMeta(stack, broker, nil)
	handover := handoverGroup(stack, broker)
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: meta.Labels},
		Spec: corev1.PodSpec{
			Containers:                   []corev1.Container{exporterContainer(broker, ownImage, handover)},
			AutomountServiceAccountToken: new(false),
			EnableServiceLinks:           new(false),
			ImagePullSecrets:             broker.ImagePullSecrets,
			NodeSelector:                 stringMap(broker.NodeSelector),
			Tolerations:                  broker.Tolerations,
			Affinity:                     broker.Affinity,
			PriorityClassName:            broker.PriorityClassName,
			SecurityContext:              orDefault(broker.PodSecurityContext, restrictedPod),
			Volumes:                      tlsVolumes(broker.TLS),
		},
	}
	if revision != "" {
		template.Annotations = map[string]string{annotationBrokerRevision: revision}
	}
	// Every exporter receives every event, so two at a time would count twice, unless they take
	// over from each other.
	strategy := appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	minReadySeconds := int32(0)
	if handover != "" {
		minReadySeconds = provenSeconds
		strategy = appsv1.DeploymentStrategy{
			Type: appsv1.RollingUpdateDeploymentStrategyType,
			RollingUpdate: &appsv1.RollingUpdateDeployment{
				MaxSurge: new(intstr.FromInt32(1)), MaxUnavailable: new(intstr.FromInt32(0)),
			},
		}
		template.Spec.TerminationGracePeriodSeconds = new(handoverSeconds)
	}
	return &appsv1.Deployment{
		ObjectMeta: meta,
		Spec: appsv1.DeploymentSpec{
			Replicas:        new(int32(1)),
			Strategy:        strategy,
			MinReadySeconds: minReadySeconds,
			Selector:        &metav1.LabelSelector{MatchLabels: exporterSelector(stack, broker)},
			Template:        template,
		},
	}
}

// handoverSeconds is longer than an exporter waits for its successor and for its last scrape.
const handoverSeconds = int64(60)

// provenSeconds is how long a new exporter has to be ready before the old one is asked to end, so
// that one that crashes soon replaces nothing.
const provenSeconds = int32(10)

// handoverGroup is the name under which the exporters of a broker take over from each other, over
// the broker itself. It is empty for other images, and where the user says that there is none, or
// that the exporter may not publish: one that may not ask workers may not speak to another either.
// On RabbitMQ it need not.
func handoverGroup(stack *obsv1.ObservabilityStack, broker *obsv1.Broker) string {
	if broker.Image != "" {
		return ""
	}
	group := stack.Namespace + "." + ExporterName(stack, broker.Name)
	silent := slices.ContainsFunc(broker.Args, func(arg string) bool { return strings.HasPrefix(arg, "--no-inspect") })
	address, err := brokerurl.Parse(broker.URL) // empty where a Secret holds it
	if silent && (err != nil || address.Kind != brokerurl.RabbitMQ) {
		group = ""
	}
	return exporterOption(broker, "handover", group)
}

func exporterContainer(broker *obsv1.Broker, ownImage, handover string) corev1.Container {
	isOwn := broker.Image == ""
	container := corev1.Container{
		Name:         ExporterContainer,
		Image:        cmp.Or(broker.Image, ownImage),
		Args:         broker.Args,
		Env:          exporterEnv(broker, isOwn),
		VolumeMounts: tlsMounts(broker.TLS),
		Ports: []corev1.ContainerPort{
			{Name: exporterPortName, ContainerPort: ExporterPort, Protocol: corev1.ProtocolTCP},
		},
		Resources:       *orDefault(broker.Resources, smallResources),
		SecurityContext: orDefault(broker.SecurityContext, restrictedContainer),
		LivenessProbe:   orDefault(broker.LivenessProbe, portOpen),
		ReadinessProbe:  orDefault(broker.ReadinessProbe, func() *corev1.Probe { return brokerReached(isOwn) }),
	}
	if handover != "" {
		container.Env = append(container.Env, corev1.EnvVar{Name: "CE_HANDOVER", Value: handover})
	}
	if isOwn {
		// The operator's image holds the exporter beside the operator.
		container.Command = []string{"/task-exporter"}
	}
	return container
}

func exporterEnv(broker *obsv1.Broker, isOwn bool) []corev1.EnvVar {
	url := corev1.EnvVar{Name: "CE_BROKER_URL", Value: broker.URL}
	if broker.URLFrom != nil {
		url = variableFrom(url.Name, broker.URLFrom)
	}
	env := []corev1.EnvVar{url}
	if broker.SentinelPasswordFrom != nil {
		env = append(env, variableFrom("CE_SENTINEL_PASSWORD", broker.SentinelPasswordFrom))
	}
	if len(broker.Queues) > 0 {
		env = append(env, corev1.EnvVar{Name: "CE_QUEUES", Value: strings.Join(broker.Queues, ",")})
	}
	if broker.TLS != nil {
		env = append(env, corev1.EnvVar{Name: "CE_BROKER_SSL_OPTION", Value: sslOptions(broker.TLS)})
	}
	if !isOwn {
		// Other exporters exit when the broker goes away, unless this makes them retry.
		env = append(env, corev1.EnvVar{Name: "CE_RETRY_INTERVAL", Value: "5"})
	}
	return env
}

// variableFrom takes a variable of the exporter from a Secret.
func variableFrom(name string, source *obsv1.SecretKeySource) corev1.EnvVar {
	ref := source.SecretKeyRef
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: ref.Name}, Key: ref.Key,
	}}}
}

// tlsFolder is where the Secret with the broker's certificates is mounted.
const tlsFolder = "/etc/obstack/broker-tls"

const tlsVolume = "broker-tls"

func tlsVolumes(tls *obsv1.BrokerTLS) []corev1.Volume {
	if tls == nil {
		return nil
	}
	var items []corev1.KeyToPath
	for _, ref := range tls.Keys() {
		items = append(items, corev1.KeyToPath{Key: ref.Key, Path: ref.Key})
	}
	return []corev1.Volume{{Name: tlsVolume, VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: tls.SecretName, Items: items},
	}}}
}

func tlsMounts(tls *obsv1.BrokerTLS) []corev1.VolumeMount {
	if tls == nil {
		return nil
	}
	return []corev1.VolumeMount{{Name: tlsVolume, MountPath: tlsFolder, ReadOnly: true}}
}

// sslOptions are celery-exporter's, which are those of Python's ssl module.
func sslOptions(tls *obsv1.BrokerTLS) string {
	options := []string{"ca_certs=" + tlsFolder + "/" + obsv1.KeyCA, "cert_reqs=CERT_REQUIRED"}
	if tls.ClientCertificate {
		options = append(options, "certfile="+tlsFolder+"/"+obsv1.KeyCertificate,
			"keyfile="+tlsFolder+"/"+obsv1.KeyPrivateKey)
	}
	return strings.Join(options, " ")
}

// portOpen depends on nothing but the process: an exporter that lost its
// broker must not be restarted, or its counters start again at 0.
func portOpen() *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString(exporterPortName)}},
		PeriodSeconds: 10, TimeoutSeconds: 5, FailureThreshold: 6,
	}
}

// brokerReached reports whether the exporter is connected. celery-exporter and
// its like say so at /health.
func brokerReached(isOwn bool) *corev1.Probe {
	path := "/health"
	if isOwn {
		path = "/ready"
	}
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString(exporterPortName)},
		},
		PeriodSeconds: 10, TimeoutSeconds: 5, FailureThreshold: 3,
	}
}

func smallResources() *corev1.ResourceRequirements {
	return &corev1.ResourceRequirements{
		Requests: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("10m"),
			corev1.ResourceMemory: resource.MustParse("32Mi"),
		},
		Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
	}
}

// restrictedPod and restrictedContainer satisfy the Pod security standard "restricted". The user is
// the image's: OpenShift chooses one of the namespace's own range.
func restrictedPod() *corev1.PodSecurityContext {
	return &corev1.PodSecurityContext{
		RunAsNonRoot:   new(true),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

func restrictedContainer() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false),
		ReadOnlyRootFilesystem:   new(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

// orDefault returns what the user set, or a default made afresh.
func orDefault[T any](set *T, fallback func() *T) *T {
	if set != nil {
		return set
	}
	return fallback()
}

func stringMap(values map[string]obsv1.LabelValue) map[string]string {
	if len(values) == 0 {
		return nil
	}
	out := make(map[string]string, len(values))
	for key, value := range values {
		out[key] = string(value)
	}
	return out
}
