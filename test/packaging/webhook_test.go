// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

func TestChartAndKustomizeRegisterTheWebhooksOfTheManifest(t *testing.T) {
	want := &admissionv1.MutatingWebhookConfiguration{}
	if err := yaml.UnmarshalStrict(read(t, root+"/config/webhook/manifests.yaml"), want); err != nil {
		t.Fatal(err)
	}
	for i := range want.Webhooks {
		service := want.Webhooks[i].ClientConfig.Service
		service.Namespace, service.Name = namespace, "obstack-"+service.Name
	}
	for name, objects := range map[string][]*unstructured.Unstructured{
		"chart": renderChart(t), "kustomize": kustomize(t, "default"),
	} {
		got := webhooks(t, objects)
		if diff := cmp.Diff(want.Webhooks, got.Webhooks); diff != "" {
			t.Errorf("%s (-manifest +rendered):\n%s", name, diff)
		}
		if got.Name != "obstack-"+want.Name || len(got.Annotations) > 0 {
			t.Errorf("%s: %s with annotations %v", name, got.Name, got.Annotations)
		}
	}
}

// No Pod waits for obstack, whatever the values are.
func TestWebhooksCannotKeepAnythingFromStarting(t *testing.T) {
	for name := range valuesFiles(t) {
		if name == "minimal" || name == "policy" {
			continue // has no webhooks
		}
		for _, webhook := range webhooks(t, renderChart(t, values(name))).Webhooks {
			if *webhook.FailurePolicy != admissionv1.Ignore || *webhook.SideEffects != admissionv1.SideEffectClassNone ||
				*webhook.TimeoutSeconds > 5 || !onlyWhatAsks(webhook) {
				t.Errorf("%s: webhook %s is %+v", name, webhook.Name, webhook)
			}
			excluded := webhook.NamespaceSelector.MatchExpressions[0]
			if !excludes(excluded, metav1.NamespaceSystem, namespace) {
				t.Errorf("%s: webhook %s excludes %+v, want kube-system and the operator's namespace", name, webhook.Name, excluded)
			}
		}
	}
}

func excludes(r metav1.LabelSelectorRequirement, namespaces ...string) bool {
	return r.Operator == metav1.LabelSelectorOpNotIn && !slices.ContainsFunc(namespaces, func(namespace string) bool {
		return !slices.Contains(r.Values, namespace)
	})
}

// onlyWhatAsks reports whether a webhook is called for nothing that has no use for it.
func onlyWhatAsks(webhook admissionv1.MutatingWebhook) bool {
	return len(webhook.MatchConditions) > 0 || asks(webhook.ObjectSelector) || asks(webhook.NamespaceSelector)
}

// asks reports whether a selector chooses only what is stamped, or Namespaces that name a stack.
func asks(selector *metav1.LabelSelector) bool {
	return selector != nil && slices.ContainsFunc(selector.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
		return (r.Key == obsv1.StampStack || r.Key == obsv1.LabelUseStack) && r.Operator == metav1.LabelSelectorOpExists
	})
}

func TestWebhooksLookAtTheChosenNamespacesOnly(t *testing.T) {
	const name = corev1.LabelMetadataName
	cases := map[string]metav1.LabelSelector{
		"namespaced": {MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: name, Operator: metav1.LabelSelectorOpNotIn, Values: []string{"kube-system", namespace}},
			{Key: name, Operator: metav1.LabelSelectorOpIn, Values: []string{"team-a", "team-b"}},
		}},
		"everything": {
			MatchLabels: map[string]string{"team": "shop"},
			MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: name, Operator: metav1.LabelSelectorOpNotIn, Values: []string{"kube-system", namespace, "kube-node-lease"}},
				{Key: name, Operator: metav1.LabelSelectorOpIn, Values: []string{"team-a"}},
				{Key: "example.com/injection", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"never"}},
			},
		},
	}
	for file, want := range cases {
		for _, webhook := range webhooks(t, renderChart(t, values(file))).Webhooks {
			// Which Namespaces name a stack is the manifest's.
			webhook.NamespaceSelector.MatchExpressions = slices.DeleteFunc(webhook.NamespaceSelector.MatchExpressions,
				func(r metav1.LabelSelectorRequirement) bool { return r.Key == obsv1.LabelUseStack })
			if diff := cmp.Diff(want, *webhook.NamespaceSelector); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", file, webhook.Name, diff)
			}
		}
	}
}

// The operator fills the Secret in; rendered data would empty it at each upgrade.
func TestCertificatesSecretIsRenderedWithoutData(t *testing.T) {
	for name, objects := range map[string][]*unstructured.Unstructured{
		"chart": renderChart(t), "kustomize": kustomize(t, "default"),
	} {
		secret := only[corev1.Secret](t, objects, "Secret")
		if secret.Data != nil || secret.StringData != nil || secret.Type != "" || secret.Immutable != nil {
			t.Errorf("%s: the Secret is %+v, want nothing but its name", name, secret)
		}
		for _, webhook := range webhooks(t, objects).Webhooks {
			if webhook.ClientConfig.CABundle != nil {
				t.Errorf("%s: webhook %s has an authority, which the operator is to write", name, webhook.Name)
			}
		}
		wantMounted(t, only[appsv1.Deployment](t, objects, "Deployment"), secret.Name)
	}
}

func TestCertificatesOfCertManager(t *testing.T) {
	selfSigned := map[string]any{"kind": "Issuer", "name": "obstack-webhook"}
	existing := map[string]any{"group": "cert-manager.io", "kind": "ClusterIssuer", "name": "cluster-ca"}
	for name, issuer := range map[string]map[string]any{"cert-manager": selfSigned, "cert-manager-issuer": existing} {
		objects := renderChart(t, values(name))
		certificate := only[unstructured.Unstructured](t, objects, "Certificate")
		want := map[string]any{
			"secretName": "obstack-webhook-tls", "dnsNames": []any{"obstack-webhook.obstack-system.svc"},
			"usages": []any{"digital signature", "key encipherment", "server auth"}, "issuerRef": issuer,
		}
		if diff := cmp.Diff(want, certificate.Object["spec"]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if got := webhooks(t, objects).Annotations["cert-manager.io/inject-ca-from"]; got != path(certificate) {
			t.Errorf("%s: the authority is that of %q, want that of the Certificate %s", name, got, path(certificate))
		}
		if issuers := len(ofKind(objects, "Issuer")); issuers > 1 || (issuers == 1) != (name == "cert-manager") {
			t.Errorf("%s: %d Issuers", name, issuers)
		}
		if secrets := ofKind(objects, "Secret"); len(secrets) != 0 {
			t.Errorf("%s: Secrets %v, which cert-manager is to make", name, secrets)
		}
		wantMounted(t, only[appsv1.Deployment](t, objects, "Deployment"), "obstack-webhook-tls")
	}
}

func TestCertificatesOfSomebodyElse(t *testing.T) {
	objects := renderChart(t, "--set", "webhook.certSecret=mine,webhook.caBundle=bWluZQ==")
	for _, webhook := range webhooks(t, objects).Webhooks {
		if string(webhook.ClientConfig.CABundle) != "mine" {
			t.Errorf("the authority of %s is %q", webhook.Name, webhook.ClientConfig.CABundle)
		}
	}
	if secrets := ofKind(objects, "Secret"); len(secrets) != 0 {
		t.Errorf("Secrets %v, which somebody else makes", secrets)
	}
	wantMounted(t, only[appsv1.Deployment](t, objects, "Deployment"), "mine")
}

func TestWithoutInjectionThereAreNoWebhooks(t *testing.T) {
	objects := renderChart(t, "--set",
		"injection.enabled=false,webhook.certManager.enabled=true,networkPolicy.enabled=true")
	for _, kind := range []string{"MutatingWebhookConfiguration", "Secret", "Certificate", "Issuer"} {
		if found := ofKind(objects, kind); len(found) > 0 {
			t.Errorf("%s %s is rendered", kind, path(found[0]))
		}
	}
	if service := only[corev1.Service](t, objects, "Service"); service.Name != "obstack-metrics" {
		t.Errorf("the Service is %s", service.Name)
	}
	deployment := only[appsv1.Deployment](t, objects, "Deployment")
	got := container(t, deployment)
	if slices.ContainsFunc(got.Args, func(arg string) bool { return len(arg) > 9 && arg[:9] == "--webhook" }) ||
		len(got.Ports) != 2 || got.Lifecycle != nil || len(deployment.Spec.Template.Spec.Volumes) != 0 {
		t.Errorf("the container still serves webhooks: %+v", got)
	}
}

// Kubernetes refuses a sleep that is longer than the time to terminate.
func TestPodsServeUntilTheyAreForgotten(t *testing.T) {
	for grace, want := range map[string]int64{"30": 5, "6": 3, "1": 0} {
		lifecycle := container(t,
			only[appsv1.Deployment](t, renderChart(t, "--set", "terminationGracePeriodSeconds="+grace), "Deployment")).Lifecycle
		var got int64
		if lifecycle != nil {
			got = lifecycle.PreStop.Sleep.Seconds
		}
		if got != want {
			t.Errorf("with %s s to terminate, the Pod serves %d s longer, want %d", grace, got, want)
		}
	}
}

func webhooks(t *testing.T, objects []*unstructured.Unstructured) *admissionv1.MutatingWebhookConfiguration {
	t.Helper()
	return only[admissionv1.MutatingWebhookConfiguration](t, objects, "MutatingWebhookConfiguration")
}

// wantMounted checks that the Secret is mounted where the operator looks for its certificate.
func wantMounted(t *testing.T, deployment *appsv1.Deployment, secret string) {
	t.Helper()
	volumes, c := deployment.Spec.Template.Spec.Volumes, container(t, deployment)
	volume := slices.IndexFunc(volumes, func(v corev1.Volume) bool {
		return v.Secret != nil && v.Secret.SecretName == secret
	})
	if volume < 0 {
		t.Fatalf("volumes %+v, want one of the Secret %s", volumes, secret)
	}
	var keys []string
	for _, item := range volumes[volume].Secret.Items {
		keys = append(keys, item.Key)
	}
	if !slices.Equal(keys, []string{"tls.crt", "tls.key"}) {
		t.Errorf("keys %v of the Secret %s are mounted, want those of the certificate and not the authority's", keys, secret)
	}
	// The operator fills its own Secret in after the start; for another's, the Pod waits.
	if optional := volumes[volume].Secret.Optional; (optional != nil && *optional) != (secret == "obstack-webhook-cert") {
		t.Errorf("the volume of the Secret %s is optional: %v", secret, optional)
	}
	mount := slices.IndexFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
		return m.Name == volumes[volume].Name && m.ReadOnly
	})
	if mount < 0 || !slices.Contains(c.Args, "--webhook-cert-dir="+c.VolumeMounts[mount].MountPath) {
		t.Errorf("mounts %+v and arguments %v, want the Secret %s at --webhook-cert-dir", c.VolumeMounts, c.Args, secret)
	}
}
