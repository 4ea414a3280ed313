// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"context"
	"fmt"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// certificateStays writes, the first time, what the operator writes into the Secret
// and the registration of an installation, and checks afterwards that it is still there.
func (s *server) certificateStays(t *testing.T, namespace string) {
	t.Helper()
	secret, registered := &corev1.Secret{}, &admissionv1.MutatingWebhookConfiguration{}
	for object, key := range map[client.Object]client.ObjectKey{
		secret: {Namespace: namespace, Name: "obstack-webhook-cert"}, registered: {Name: "obstack-webhook"},
	} {
		if err := s.Get(t.Context(), key, object); err != nil {
			t.Fatal(err)
		}
	}
	authority := []byte(namespace)
	if s.filled[namespace] {
		if string(secret.Data["ca.crt"]) != namespace || len(secret.Data) != 2 {
			t.Errorf("the Secret of the certificate holds %v, which is not what was written into it", secret.Data)
		}
		for _, webhook := range registered.Webhooks {
			if string(webhook.ClientConfig.CABundle) != namespace {
				t.Errorf("the authority of %s is %q, which is not what was registered", webhook.Name, webhook.ClientConfig.CABundle)
			}
		}
		return
	}
	s.filled[namespace] = true
	secret.Data = map[string][]byte{"ca.crt": authority, "tls.crt": authority}
	for i := range registered.Webhooks {
		registered.Webhooks[i].ClientConfig.CABundle = authority
	}
	for _, object := range []client.Object{secret, registered} {
		if err := s.Update(t.Context(), object, client.FieldOwner("obstack")); err != nil {
			t.Fatal(err)
		}
	}
}

// routeWebhooks stands in for the cluster's network and the kubelet, and returns the
// flags of an operator that is reached and served by them.
func (s *server) routeWebhooks(t *testing.T) []string {
	t.Helper()
	clientset, err := kubernetes.NewForConfig(s.plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	address, dir := testenv.FreeAddress(t), t.TempDir()
	service := client.ObjectKey{Namespace: "team-a", Name: "obstack-webhook"}
	if err := testenv.RouteWebhooks(t.Context(), clientset, service, "obstack-webhook", address); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- testenv.MountSecret(ctx, clientset, client.ObjectKey{Namespace: "team-a", Name: "obstack-webhook-cert"}, dir)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("mount the certificate: %v", err)
		}
	})
	return []string{"--webhook-bind-address=" + address, "--webhook-cert-dir=" + dir, "--metrics-cert-dir=" + dir}
}

// injects waits until an annotated workload and an annotated Pod would get the
// stack's settings, with the certificate that the operator made.
func (s *server) injects(t *testing.T, process *testenv.Process, stack *obsv1.ObservabilityStack) {
	t.Helper()
	var lacks string
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Timeout)
	defer cancel()
	err := process.WaitFor(ctx, func(ctx context.Context) (bool, error) {
		deployment, pod := annotated(t, stack)
		if err := s.Create(ctx, deployment, client.DryRunAll); err != nil {
			return false, fmt.Errorf("create a Deployment: %w", err)
		}
		if err := s.Create(ctx, pod, client.DryRunAll); err != nil {
			return false, fmt.Errorf("create a Pod: %w", err)
		}
		lacks = ""
		if deployment.Spec.Template.Labels[obsv1.StampStack] != stack.Name {
			lacks = fmt.Sprintf("the Deployment's template has labels %v", deployment.Spec.Template.Labels)
		}
		want := obsv1.SettingsName(stack.Namespace, stack.Name, pod.Labels[obsv1.StampVersion])
		if envFrom := pod.Spec.Containers[0].EnvFrom; len(envFrom) != 1 || envFrom[0].SecretRef.Name != want {
			lacks += fmt.Sprintf(" the Pod has envFrom %v", envFrom)
		}
		return lacks == "", nil
	})
	if err != nil {
		t.Fatalf("%v: %s; the operator's log ends with\n%s", err, lacks, process.Tail())
	}
}

// podTemplate satisfies the Pod security standard of the namespaces.
const podTemplate = `
metadata: {labels: {app: shop}}
spec:
  restartPolicy: %s
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: api
    image: example.com/shop
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
`

func shopTemplate(t *testing.T, restart corev1.RestartPolicy) corev1.PodTemplateSpec {
	t.Helper()
	template := corev1.PodTemplateSpec{}
	if err := yaml.UnmarshalStrict(fmt.Appendf(nil, podTemplate, restart), &template); err != nil {
		t.Fatal(err)
	}
	return template
}

// annotated are a Deployment and a Pod that ask for the stack's settings.
func annotated(t *testing.T, stack *obsv1.ObservabilityStack) (*appsv1.Deployment, *corev1.Pod) {
	t.Helper()
	meta := asking(stack.Namespace, stack.Name)
	meta.Name = "new"
	template := shopTemplate(t, corev1.RestartPolicyAlways)
	return &appsv1.Deployment{
			ObjectMeta: meta,
			Spec:       appsv1.DeploymentSpec{Selector: metav1.SetAsLabelSelector(template.Labels), Template: template},
		},
		&corev1.Pod{ObjectMeta: *meta.DeepCopy(), Spec: *template.Spec.DeepCopy()}
}

func asking(namespace, stack string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: "shop", Annotations: map[string]string{obsv1.AnnotationStack: stack},
	}
}

// workloads are one of each kind whose template the operator may change.
func workloads(t *testing.T, namespace, stack string) []client.Object {
	t.Helper()
	meta, template := asking(namespace, stack), shopTemplate(t, corev1.RestartPolicyAlways)
	selector := metav1.SetAsLabelSelector(template.Labels)
	job := batchv1.JobSpec{Template: shopTemplate(t, corev1.RestartPolicyNever)}
	return []client.Object{
		&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Selector: selector, Template: template}},
		&appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template}},
		&appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template}},
		&batchv1.CronJob{
			ObjectMeta: meta, Spec: batchv1.CronJobSpec{Schedule: "@daily", JobTemplate: batchv1.JobTemplateSpec{Spec: job}},
		},
	}
}

// stamped reports whether all workloads have the stamp of a stack.
func (s *server) stamped(t *testing.T, workloads []client.Object) bool {
	t.Helper()
	for _, workload := range workloads {
		if err := s.Get(t.Context(), client.ObjectKeyFromObject(workload), workload); err != nil {
			t.Fatal(err)
		}
		var template corev1.PodTemplateSpec
		switch w := workload.(type) {
		case *appsv1.Deployment:
			template = w.Spec.Template
		case *appsv1.StatefulSet:
			template = w.Spec.Template
		case *appsv1.DaemonSet:
			template = w.Spec.Template
		case *batchv1.CronJob:
			template = w.Spec.JobTemplate.Spec.Template
		}
		if template.Labels[obsv1.StampStack] == "" {
			return false
		}
	}
	return true
}
