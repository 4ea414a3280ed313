// SPDX-License-Identifier: Apache-2.0

// Package certificates tests that the operator makes, shares and renews the
// certificate of its webhooks, with two replicas as processes of their own.
package certificates

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

const (
	// namespace of the operator, and host by which the API server knows its webhooks.
	namespace     = "obstack-system"
	host          = "obstack-webhook.obstack-system.svc"
	configuration = "obstack-webhook"
)

var (
	secretKey  = client.ObjectKey{Namespace: namespace, Name: "obstack-webhook-cert"}
	serviceKey = client.ObjectKey{Namespace: namespace, Name: "obstack-webhook"}
)

// cluster is a control plane with what an installation registers: the Service, the
// empty Secret, and the webhooks.
type cluster struct {
	*testenv.ControlPlane
	api       client.Client
	clientset kubernetes.Interface
	binary    string
}

func start(t *testing.T) *cluster {
	t.Helper()
	plane, api := testenv.Start(t, testenv.Options{Log: os.Stderr})
	c := &cluster{ControlPlane: plane, api: api}
	var err error
	if c.clientset, err = kubernetes.NewForConfig(plane.Config); err != nil {
		t.Fatal(err)
	}
	if c.binary, err = testenv.BuildOperator(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	testenv.Create(t, c.api, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	testenv.Create(t, c.api, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: serviceKey.Name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "webhook", Port: 443}}},
	})
	c.register(t)
	return c
}

// register the webhooks of config/webhook under the names of an installation.
func (c *cluster) register(t *testing.T) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "config", "webhook", "manifests.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	webhooks := &admissionv1.MutatingWebhookConfiguration{}
	if err := yaml.UnmarshalStrict(content, webhooks); err != nil {
		t.Fatal(err)
	}
	webhooks.Name = configuration
	for i := range webhooks.Webhooks {
		service := webhooks.Webhooks[i].ClientConfig.Service
		service.Namespace, service.Name = serviceKey.Namespace, serviceKey.Name
	}
	testenv.Create(t, c.api, webhooks)
}

// replica is one Pod of the operator.
type replica struct {
	*testenv.Operator
	address, certDir string
}

func (c *cluster) flags(r *replica) []string {
	return []string{
		"--leader-elect", "--leader-election-namespace=" + namespace,
		"--webhook-bind-address=" + r.address, "--webhook-cert-dir=" + r.certDir,
		"--webhook-cert-secret=" + secretKey.String(),
		"--webhook-service=" + serviceKey.String(), "--webhook-configuration=" + configuration,
	}
}

// replica starts a replica without a volume; mount brings it.
func (c *cluster) replica(t *testing.T, name string) *replica {
	t.Helper()
	r := &replica{address: testenv.FreeAddress(t), certDir: t.TempDir()}
	var err error
	if r.Operator, err = testenv.StartOperator(c.ControlPlane, c.binary, name, c.flags(r)...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", name, r.Tail())
		}
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// mount shows the replica the Secret until the test ends.
func (c *cluster) mount(t *testing.T, r *replica) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- testenv.MountSecret(ctx, c.clientset, secretKey, r.certDir) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("mount the Secret: %v", err)
		}
	})
}

// secret is the live Secret of the certificate.
func (c *cluster) secret(t *testing.T) *corev1.Secret {
	t.Helper()
	secret := &corev1.Secret{}
	if err := c.api.Get(t.Context(), secretKey, secret); err != nil {
		t.Fatal(err)
	}
	return secret
}

// authorities are those with which the API server checks the webhooks.
func (c *cluster) authorities(t *testing.T) []string {
	t.Helper()
	webhooks := &admissionv1.MutatingWebhookConfiguration{}
	if err := c.api.Get(t.Context(), client.ObjectKey{Name: configuration}, webhooks); err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, webhook := range webhooks.Webhooks {
		found = append(found, string(webhook.ClientConfig.CABundle))
	}
	return found
}

// served is the certificate that a replica serves, checked as the API server does.
func (r *replica) served(authority []byte) (string, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	conn, err := tls.DialWithDialer(dialer, "tcp", r.address, &tls.Config{RootCAs: roots, ServerName: host})
	if err != nil {
		return "", err
	}
	leaf := conn.ConnectionState().PeerCertificates[0]
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})), conn.Close()
}

// injects asks the API server what would become of an annotated Pod while it knows
// of this replica only.
func (c *cluster) injects(t *testing.T, r *replica) {
	t.Helper()
	if err := testenv.RouteWebhooks(t.Context(), c.clientset, serviceKey, configuration, r.address); err != nil {
		t.Fatal(err)
	}
	testenv.Poll(t, func(ctx context.Context) string {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "default", Name: "api",
				Annotations: map[string]string{obsv1.AnnotationStack: "shop"},
			},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "api", Image: "example.com/shop:1"}}},
		}
		if err := c.api.Create(ctx, pod, client.DryRunAll); err != nil {
			return err.Error()
		}
		if pod.Annotations[obsv1.MarkInjected] == "" || len(pod.Spec.Containers[0].EnvFrom) != 1 {
			return fmt.Sprintf("the Pod is not injected by the replica on %s: %v", r.address, pod.Annotations)
		}
		return ""
	})
}
