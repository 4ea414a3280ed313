// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

func TestArguments(t *testing.T) {
	const podLabels = "app.kubernetes.io/component=controller-manager,app.kubernetes.io/instance=obstack," +
		"app.kubernetes.io/name=obstack"
	cases := map[string][]string{
		"default": {
			"--log-format=json", "--log-level=info", "--leader-elect=true", "--max-concurrent-reconciles=8",
			"--max-concurrent-rollouts=20",
			"--exporter-image=ghcr.io/obstack/obstack:" + appVersion(t),
			"--proof-interval=1m", "--dashboard-proof-interval=10m", "--sentry-proof-interval=8h",
			"--sentry-hosts=sentry.io,*.sentry.io", "--pod-labels=" + podLabels,
			"--metrics-bind-address=:8443", "--metrics-secure=true", "--metrics-cert-dir=/etc/obstack/webhook-certs",
			"--webhook-bind-address=:9443", "--webhook-cert-dir=/etc/obstack/webhook-certs",
			"--webhook-cert-secret=obstack-system/obstack-webhook-cert", "--webhook-service=obstack-system/obstack-webhook",
			"--webhook-configuration=obstack-webhook",
		},
		"everything": {
			"--log-format=console", "--log-level=debug", "--leader-elect=true", "--max-concurrent-reconciles=2",
			"--max-concurrent-rollouts=10",
			"--exporter-image=registry.example.com/mirror/task-exporter:v1",
			"--proof-interval=30s", "--dashboard-proof-interval=5m", "--sentry-proof-interval=0s",
			"--sentry-hosts=sentry.example.com:8443",
			"--pod-labels=" + strings.Replace(podLabels, "name=obstack", "name=observability", 1),
			"--metrics-bind-address=:9443", "--metrics-secure=true", "--metrics-cert-dir=/etc/obstack/metrics-certs",
			"--webhook-bind-address=:10260", "--webhook-cert-dir=/etc/obstack/webhook-certs",
			"--watch-namespaces=team-a", "--health-probe-bind-address=:8081",
		},
		"minimal": {
			"--log-format=json", "--log-level=info", "--leader-elect=false", "--max-concurrent-reconciles=8",
			"--max-concurrent-rollouts=20",
			"--exporter-image=ghcr.io/obstack/obstack:" + appVersion(t),
			"--proof-interval=1m", "--dashboard-proof-interval=10m", "--sentry-proof-interval=8h",
			"--sentry-hosts=sentry.io,*.sentry.io", "--pod-labels=" + podLabels, "--metrics-bind-address=0",
		},
	}
	for name, want := range cases {
		got := container(t, only[appsv1.Deployment](t, renderChart(t, values(name)), "Deployment")).Args
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestMirroredImageIsAlsoTheExporters(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	got := container(t, only[appsv1.Deployment](t,
		renderChart(t, "--set", "image.registry=mirror.example.com,image.digest="+digest), "Deployment"))
	want := "mirror.example.com/obstack/obstack@" + digest
	if got.Image != want || !slices.Contains(got.Args, "--exporter-image="+want) {
		t.Errorf("image %s, args %v, want both to name %s", got.Image, got.Args, want)
	}
}

func TestSentryDSNComesFromTheSecret(t *testing.T) {
	got := container(t,
		only[appsv1.Deployment](t, renderChart(t, "--set", "sentry.existingSecret=obstack-sentry"), "Deployment")).Env
	want := []corev1.EnvVar{{Name: "SENTRY_DSN", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: "obstack-sentry"}, Key: "dsn",
	}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestReplicasAreSpreadAndProtected(t *testing.T) {
	single := renderChart(t)
	if budgets := ofKind(single, "PodDisruptionBudget"); len(budgets) != 0 {
		t.Error("a single replica has a PodDisruptionBudget, which would block draining its node")
	}
	alone := only[appsv1.Deployment](t, single, "Deployment").Spec.Template.Spec
	if spread := alone.TopologySpreadConstraints; spread != nil {
		t.Errorf("a single replica is spread: %v", spread)
	}

	objects := renderChart(t, values("ha"))
	deployment := only[appsv1.Deployment](t, objects, "Deployment")
	budget := only[policyv1.PodDisruptionBudget](t, objects, "PodDisruptionBudget")
	if !matches(t, budget.Spec.Selector, deployment) ||
		budget.Spec.MinAvailable.IntValue() != 1 || budget.Spec.MaxUnavailable != nil {
		t.Errorf("PodDisruptionBudget %+v, want one that keeps 1 Pod of the Deployment", budget.Spec)
	}
	spread := deployment.Spec.Template.Spec.TopologySpreadConstraints
	if len(spread) != 2 || spread[0].TopologyKey != corev1.LabelHostname || !matches(t, spread[0].LabelSelector,
		deployment) {
		t.Errorf("topology spread %+v, want nodes and zones", spread)
	}
}

func TestNetworkPolicyLetsOnlyMetricsAndWebhooksIn(t *testing.T) {
	objects := renderChart(t, values("ha"))
	policy := only[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy").Spec
	if !matches(t, &policy.PodSelector, only[appsv1.Deployment](t, objects, "Deployment")) {
		t.Error("the NetworkPolicy does not select the operator's Pods")
	}
	if len(policy.Ingress) != 2 {
		t.Fatalf("ingress %+v, want that of the metrics and that of the webhooks", policy.Ingress)
	}
	if metrics := policy.Ingress[0]; len(metrics.From) != 1 || metrics.Ports[0].Port.StrVal != "metrics" {
		t.Errorf("ingress %+v, want the port metrics from one peer", metrics)
	}
	// Where the API server is, only the cluster's administrator can say.
	if webhook := policy.Ingress[1]; len(webhook.From) != 0 || webhook.Ports[0].Port.StrVal != "webhook" {
		t.Errorf("ingress %+v, want the port webhook from everywhere", webhook)
	}
	var ports []int
	for _, rule := range policy.Egress {
		for _, port := range rule.Ports {
			ports = append(ports, port.Port.IntValue())
		}
	}
	if want := []int{53, 53, 5353, 5353, 443, 6443}; !slices.Equal(ports, want) {
		t.Errorf("egress ports %v, want %v", ports, want)
	}
}

// By default nothing is kept out that could be needed: the API server knows who may read metrics.
func TestNetworkPolicyCannotBreakByDefault(t *testing.T) {
	byDefault := only[networkingv1.NetworkPolicy](t, renderChart(t), "NetworkPolicy").Spec
	byKustomize := only[networkingv1.NetworkPolicy](t, kustomize(t, "default"), "NetworkPolicy").Spec
	if diff := cmp.Diff(byKustomize.Ingress, byDefault.Ingress); diff != "" {
		t.Errorf("ingress (-kustomize +chart):\n%s", diff)
	}
	ingress := []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	if !slices.Equal(byDefault.PolicyTypes, ingress) || !slices.Equal(byKustomize.PolicyTypes, ingress) {
		t.Errorf("policies %v and %v, want both for ingress only", byDefault.PolicyTypes, byKustomize.PolicyTypes)
	}
	for _, rule := range byDefault.Ingress {
		if len(rule.From) > 0 {
			t.Errorf("ingress %+v, want it from everywhere", rule)
		}
	}

	closed := only[networkingv1.NetworkPolicy](t, renderChart(t, values("minimal")), "NetworkPolicy").Spec
	if len(closed.Ingress) != 0 || !slices.Contains(closed.PolicyTypes, networkingv1.PolicyTypeIngress) {
		t.Errorf("without metrics and webhooks the ingress is %+v, want none", closed.Ingress)
	}
}

func TestServicesSelectTheOperator(t *testing.T) {
	for name, objects := range map[string][]*unstructured.Unstructured{
		"chart": renderChart(t), "kustomize": kustomize(t, "default"),
	} {
		deployment := only[appsv1.Deployment](t, objects, "Deployment")
		var names []string
		for _, object := range ofKind(objects, "Service") {
			service := convert[corev1.Service](t, object)
			names = append(names, service.Name)
			if !matches(t, metav1.SetAsLabelSelector(service.Spec.Selector), deployment) {
				t.Errorf("%s: Service %s selects %v", name, service.Name, service.Spec.Selector)
			}
			named := func(port corev1.ContainerPort) bool { return port.Name == service.Spec.Ports[0].TargetPort.StrVal }
			if !slices.ContainsFunc(container(t, deployment).Ports, named) {
				t.Errorf("%s: Service %s leads to a port %v that the container does not have", name, service.Name,
					service.Spec.Ports[0].TargetPort)
			}
		}
		slices.Sort(names)
		if want := []string{"obstack-metrics", "obstack-webhook"}; !slices.Equal(names, want) {
			t.Errorf("%s: Services %v, want %v", name, names, want)
		}
	}
}

func TestVersionsAgree(t *testing.T) {
	want := "ghcr.io/obstack/obstack:" + appVersion(t)
	for name, objects := range map[string][]*unstructured.Unstructured{
		"chart": renderChart(t), "kustomize": kustomize(t, "default"),
	} {
		if got := container(t, only[appsv1.Deployment](t, objects, "Deployment")).Image; got != want {
			t.Errorf("%s installs %s, want %s", name, got, want)
		}
	}
}

// container is the operator's container.
func container(t *testing.T, deployment *appsv1.Deployment) corev1.Container {
	t.Helper()
	containers := deployment.Spec.Template.Spec.Containers
	if len(containers) != 1 || containers[0].Name != "manager" {
		t.Fatalf("containers %v, want one named manager", containers)
	}
	return containers[0]
}

// matches reports whether a selector selects the Pods of a Deployment.
func matches(t *testing.T, selector *metav1.LabelSelector, deployment *appsv1.Deployment) bool {
	t.Helper()
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return !parsed.Empty() && parsed.Matches(labels.Set(deployment.Spec.Template.Labels))
}

// appVersion is the version of the operator that the chart installs.
func appVersion(t *testing.T) string {
	t.Helper()
	var metadata struct{ AppVersion string }
	if err := yaml.Unmarshal(read(t, chart+"/Chart.yaml"), &metadata); err != nil {
		t.Fatal(err)
	}
	return metadata.AppVersion
}
