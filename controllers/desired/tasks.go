// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/internal/brokerurl"
)

// ExporterPort is where a task exporter serves /metrics, as celery-exporter does.
const ExporterPort = 9808

// ExporterContainer is the container that serves it.
const ExporterContainer = "task-exporter"

// exporterPortName is the port's name in the Service.
const exporterPortName = "metrics"

// tasks makes a task exporter for each broker: a Deployment, a Service and a ServiceMonitor, and
// a NetworkPolicy where one is asked for.
func tasks(stack *obsv1.ObservabilityStack, in Inputs) Output {
	if stack.Spec.Tasks == nil {
		return Output{}
	}
	noMonitors := in.MissingAPIs[ServiceMonitorKind.GroupKind()]
	var objects []client.Object
	var problems []Output
	made := 0
	for i := range stack.Spec.Tasks.Brokers {
		broker := &stack.Spec.Tasks.Brokers[i]
		revision, problem := brokerRevision(broker, in)
		if invalid := invalidPrefix(broker); invalid != nil {
			problem = invalid
		}
		if problem != nil {
			// The broker's objects stay as they are: the exporter may work with the old value.
			problem.Hold = true
			problems = append(problems, *problem)
			continue
		}
		made++
		if broker.NetworkPolicy != nil { // in force before the Pod starts
			objects = append(objects, exporterNetworkPolicy(stack, broker, in.Operator))
		}
		if revision != "" {
			objects = append(objects, exporterSources(stack, broker, in))
		}
		objects = append(objects,
			exporterDeployment(stack, broker, in.ExporterImage, revision), exporterService(stack, broker))
		if !noMonitors {
			objects = append(objects, exporterMonitor(stack, broker, in))
		}
		if name := ExporterName(stack, broker.Name); !in.Available[name] {
			problems = append(problems, unavailable(nil, obsv1.ReasonRollingOut, rollingOut(broker.Name, name)))
		}
	}
	if noMonitors {
		problems = append(problems, missingAPI(nil, ServiceMonitorKind, prometheusOperator))
	}
	out := available(objects, count(len(stack.Spec.Tasks.Brokers), "task exporter")+" available")
	if len(problems) > 0 {
		out = worst(objects, problems)
	}
	if made > 0 {
		out.Covered = count(made, "broker")
	}
	return out
}

func rollingOut(broker, deployment string) string {
	return fmt.Sprintf("the task exporter of broker %s is not ready: it is starting, or it does not reach its broker; "+
		"see its Pods and logs with kubectl describe deployment %s and kubectl logs deployment/%s",
		broker, deployment, deployment)
}

// worst joins the problems of a part. What somebody must change comes before what passes by itself.
func worst(objects []client.Object, problems []Output) Output {
	slices.SortStableFunc(problems, func(a, b Output) int { return passing(a) - passing(b) })
	all := unavailable(objects, problems[0].Reason, "")
	var messages []string
	for _, problem := range problems {
		messages = append(messages, problem.Message)
		all.Hold = all.Hold || problem.Hold
	}
	all.Message = strings.Join(messages, "; ")
	return all
}

// passing is 1 for a problem that passes by itself, else 0.
func passing(problem Output) int {
	if problem.Reason == obsv1.ReasonRollingOut {
		return 1
	}
	return 0
}

// exporterSources is a Secret without data. Nobody who may not read Secrets must see the digests of
// what the exporter reads from them.
func exporterSources(stack *obsv1.ObservabilityStack, broker *obsv1.Broker, in Inputs) *corev1.Secret {
	secret := &corev1.Secret{ObjectMeta: exporterMeta(stack, broker, nil), Type: corev1.SecretTypeOpaque}
	secret.Name = SourcesName(secret.Name)
	var refs []KeyRef
	for _, key := range brokerKeys(broker) {
		refs = append(refs, key.KeyRef)
	}
	addSources(secret, in.Values, refs...)
	return secret
}

// brokerKey is a key that a broker's exporter reads, and the field of the broker that names it.
type brokerKey struct {
	KeyRef
	field string
}

// fieldURL names the key with a broker's URL.
const fieldURL = "urlFrom"

func brokerKeys(broker *obsv1.Broker) []brokerKey {
	var keys []brokerKey
	if ref := urlRef(broker); ref != nil {
		keys = append(keys, brokerKey{*ref, fieldURL})
	}
	if broker.SentinelPasswordFrom != nil {
		keys = append(keys, brokerKey{secretKey(broker.SentinelPasswordFrom.SecretKeyRef), "sentinelPasswordFrom"})
	}
	if broker.TLS != nil {
		for _, key := range broker.TLS.Keys() {
			keys = append(keys, brokerKey{secretKey(key), "tls"})
		}
	}
	return keys
}

// brokerRevision checks the URL of a broker and the Secrets that it refers to, and returns what
// changes with these, empty if there are none.
func brokerRevision(broker *obsv1.Broker, in Inputs) (string, *Output) {
	if broker.URL != "" {
		_, err := brokerurl.Parse(broker.URL)
		if problem := invalidURL(broker, err, "url of broker "+broker.Name); problem != nil {
			return "", problem
		}
	}
	var revisions []string
	for _, key := range brokerKeys(broker) {
		value, problem := keyValue(key.KeyRef, in.Values, fmt.Sprintf("%s of broker %s", key.field, broker.Name))
		if problem == nil && key.field == fieldURL {
			problem = invalidURL(broker, value.Problem, fmt.Sprintf("%s, for broker %s,", key.KeyRef, broker.Name))
		}
		if problem != nil {
			return "", problem
		}
		revisions = append(revisions, value.Revision)
	}
	return strings.Join(revisions, "."), nil
}

// invalidURL is the condition of a broker whose URL cannot be read, if that matters: what another
// image accepts is not known, but for the scheme.
func invalidURL(broker *obsv1.Broker, err error, holder string) *Output {
	_, scheme := errors.AsType[brokerurl.SchemeError](err)
	if err == nil || broker.Image != "" && !scheme {
		return nil
	}
	message := fmt.Sprintf("%s holds no broker URL that the task exporter can read: %v", holder, err)
	if scheme {
		message += "; it must start with " + strings.Join(brokerurl.Schemes(), "://, ") + "://"
	}
	return new(unavailable(nil, obsv1.ReasonInvalidURL, message))
}

// ExporterLabels are on the Pods of every exporter, and on nobody else's unless they pretend.
func ExporterLabels() map[string]string {
	return map[string]string{"app.kubernetes.io/name": "obstack-" + componentTasks, obsv1.LabelManagedBy: obsv1.ManagedBy}
}

// exporterSelector selects the Pods of one exporter, and its Service.
func exporterSelector(stack *obsv1.ObservabilityStack, broker *obsv1.Broker) map[string]string {
	return map[string]string{
		"app.kubernetes.io/name": "obstack-" + componentTasks,
		obsv1.LabelStack:         stack.Name,
		labelBroker:              broker.Name,
	}
}

// labelBroker distinguishes the exporters of one stack.
const labelBroker = "obstack.dev/broker"

func exporterMeta(
	stack *obsv1.ObservabilityStack, broker *obsv1.Broker, extra map[string]obsv1.LabelValue,
) metav1.ObjectMeta {
	meta := objectMeta(stack, componentTasks, ExporterName(stack, broker.Name), extra)
	meta.Labels[labelBroker] = broker.Name
	return meta
}

func exporterService(stack *obsv1.ObservabilityStack, broker *obsv1.Broker) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: exporterMeta(stack, broker, nil),
		Spec: corev1.ServiceSpec{
			Selector: exporterSelector(stack, broker),
			Ports: []corev1.ServicePort{{
				Name: exporterPortName, Port: ExporterPort, Protocol: corev1.ProtocolTCP,
				TargetPort: intstr.FromString(exporterPortName),
			}},
			// An exporter that has lost its broker is unready and still has
			// counters to show, and celery_exporter_broker_up to say why.
			PublishNotReadyAddresses: true,
		},
	}
}

func exporterMonitor(
	stack *obsv1.ObservabilityStack, broker *obsv1.Broker, in Inputs,
) *monitoringv1.ServiceMonitor {
	return &monitoringv1.ServiceMonitor{
		ObjectMeta: exporterMeta(stack, broker, prometheusLabels(stack, in.discovered().ServiceMonitors)),
		Spec: monitoringv1.ServiceMonitorSpec{
			Selector: metav1.LabelSelector{MatchLabels: exporterSelector(stack, broker)},
			Endpoints: []monitoringv1.Endpoint{{
				Port: exporterPortName, Path: "/metrics", Interval: "15s",
				// An exporter is in the stack's namespace, which Prometheus says by itself.
				RelabelConfigs: ownLabels(stack, in.Platform, obsv1.SeriesBroker, broker.Name)[1:],
			}},
		},
	}
}
