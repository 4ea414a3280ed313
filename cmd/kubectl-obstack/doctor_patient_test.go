// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// patient has a healthy stack and what it needs, and an installation to be looked at.
type patient struct {
	client.Client
	plane *testenv.ControlPlane
}

func newPatient(t testing.TB) *patient {
	t.Helper()
	plane, _ := testenv.Start(t, testenv.Options{})
	scheme := testenv.Scheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	api, err := client.New(plane.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"shop", "monitoring", "team-a", "team-b", "obstack-system"} {
		testenv.Create(t, api, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	createStack(t, api, "healthy")
	testenv.Create(t, api, healthyMonitor(t, api))
	everything := &metav1.LabelSelector{}
	testenv.Create(t, api, &monitoringv1.Prometheus{
		ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: "k8s"},
		Spec: monitoringv1.PrometheusSpec{RuleSelector: everything, RuleNamespaceSelector: everything,
			CommonPrometheusFields: monitoringv1.CommonPrometheusFields{
				ServiceMonitorSelector: everything, ServiceMonitorNamespaceSelector: everything,
			}},
	})
	return &patient{Client: api, plane: plane}
}

// healthyMonitor is the ServiceMonitor of the healthy stack.
func healthyMonitor(t testing.TB, api client.Client) *monitoringv1.ServiceMonitor {
	t.Helper()
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "healthy"}}
	testenv.Read(t, api, stack)
	return &monitoringv1.ServiceMonitor{
		ObjectMeta: childOf(stack, "healthy-api", "metrics"),
		Spec:       monitoringv1.ServiceMonitorSpec{Endpoints: []monitoringv1.Endpoint{}},
	}
}

// childOf a stack, as the operator makes it for a component.
func childOf(stack *obsv1.ObservabilityStack, name, component string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: stack.Namespace, Name: name,
		Labels: map[string]string{
			obsv1.LabelManagedBy: obsv1.ManagedBy, obsv1.LabelStack: stack.Name, obsv1.LabelStackNamespace: stack.Namespace,
			obsv1.LabelComponent: component,
		},
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(stack, stackKind)},
	}
}

// kustomized is what a folder below config renders to, and charted the chart with some values.
func kustomized(t *testing.T, dir string) []*unstructured.Unstructured {
	t.Helper()
	return rendered(t, "kustomize", "build", filepath.Join("..", "..", "config", dir))
}

func charted(t *testing.T, args ...string) []*unstructured.Unstructured {
	t.Helper()
	return rendered(t, "helm", append([]string{"template", "obstack", filepath.Join("..", "..", "charts", "obstack"),
		"--namespace", "obstack-system", "--kube-version", "1.33.0"}, args...)...)
}

func rendered(t *testing.T, tool string, args ...string) (objects []*unstructured.Unstructured) {
	t.Helper()
	path, err := testenv.Tool(t.Context(), tool)
	if err != nil {
		t.Fatal(err)
	}
	output, err := exec.CommandContext(t.Context(), path, args...).Output() // #nosec G204 -- a tool of this repository
	if err != nil {
		t.Fatalf("%s %v: %v", tool, args, err)
	}
	for document := range strings.SplitSeq(string(output), "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			t.Fatal(err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
	return objects
}

// install what was rendered until the test ends, as if the operator ran and had made its
// certificate.
func (p *patient) install(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, object := range objects {
		err := p.Create(t.Context(), object)
		switch kind := object.GetKind(); {
		case kind == "CustomResourceDefinition" || kind == "Namespace":
			if err != nil && !apierrors.IsAlreadyExists(err) {
				t.Fatal(err)
			}
		case err != nil:
			t.Fatalf("create %s %s: %v", kind, object.GetName(), err)
		default:
			t.Cleanup(func() { p.remove(t, object) })
		}
		if object.GetKind() == "Deployment" {
			p.roll(t, client.ObjectKeyFromObject(object), 1)
		}
	}
	p.certify(t, 24*time.Hour)
}

// remove an object although the context of the test has ended.
func (p *patient) remove(t *testing.T, object client.Object) {
	t.Helper()
	if err := p.Delete(context.WithoutCancel(t.Context()), object); client.IgnoreNotFound(err) != nil {
		t.Error(err)
	}
}

// roll has so many Pods of a Deployment available.
func (p *patient) roll(t *testing.T, key client.ObjectKey, available int32) {
	t.Helper()
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	if err := p.Get(context.WithoutCancel(t.Context()), key, deployment); err != nil {
		t.Fatal(err)
	}
	deployment.Status = appsv1.DeploymentStatus{Replicas: 1, AvailableReplicas: available, ReadyReplicas: available}
	p.writeStatus(t, deployment)
}

// writeStatus also when the test ends.
func (p *patient) writeStatus(t *testing.T, object client.Object) {
	t.Helper()
	if err := p.Status().Update(context.WithoutCancel(t.Context()), object); err != nil {
		t.Fatal(err)
	}
}

// certify the webhooks, if there are any, for a time that began an hour ago.
func (p *patient) certify(t *testing.T, age time.Duration) {
	t.Helper()
	secret := webhookSecret()
	if err := p.Get(t.Context(), client.ObjectKeyFromObject(secret), secret); apierrors.IsNotFound(err) {
		return
	}
	const host = "obstack-webhook.obstack-system.svc"
	chain, _, err := cert.GenerateSelfSignedCertKeyWithOptions(cert.SelfSignedCertKeyOptions{Host: host, MaxAge: age})
	if err != nil {
		t.Fatal(err)
	}
	testenv.Change(t, p, secret, func(secret *corev1.Secret) {
		secret.Data = map[string][]byte{"tls.crt": chain, "tls.key": []byte("marked-secret")}
	})
	configuration := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "obstack-webhook"}}
	testenv.Change(t, p, configuration, func(configuration *admissionv1.MutatingWebhookConfiguration) {
		for i := range configuration.Webhooks {
			configuration.Webhooks[i].ClientConfig.CABundle = chain
		}
	})
}

// change an object until the test ends.
func change[T client.Object](t *testing.T, p *patient, object T, edit func(T)) {
	t.Helper()
	testenv.Read(t, p, object)
	before := object.DeepCopyObject().(client.Object)
	testenv.Change(t, p, object, edit)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := p.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			t.Error(err)
		}
		before.SetResourceVersion(object.GetResourceVersion())
		if err := p.Update(ctx, before); err != nil {
			t.Error(err)
		}
	})
}

// without an object until the test ends.
func without(t *testing.T, p *patient, object client.Object) {
	t.Helper()
	testenv.Read(t, p, object)
	testenv.Delete(t, p, object)
	t.Cleanup(func() {
		object.SetResourceVersion("")
		object.SetUID("")
		if err := p.Create(context.WithoutCancel(t.Context()), object); err != nil {
			t.Error(err)
		}
	})
}

// doctor runs the command, with more arguments.
func (p *patient) doctor(t *testing.T, args ...string) (string, int) {
	t.Helper()
	out, errs, code := kubectlObstack(t, p.plane.Kubeconfig, append([]string{"doctor"}, args...)...)
	if errs != "" {
		t.Errorf("it says %q", errs)
	}
	if strings.Contains(out, "marked-secret") {
		t.Error("it shows a secret")
	}
	return out, code
}

// flat is a text without its line breaks.
func flat(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \n│", r) }), " ")
}
