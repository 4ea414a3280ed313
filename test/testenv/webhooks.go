// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Webhooks are the registered webhooks of an operator that runs outside the
// cluster: those of config/webhook, reached on a loopback port instead of a Service.
type Webhooks struct {
	address, certDir string
	configurations   []*admissionv1.MutatingWebhookConfiguration
	clientset        kubernetes.Interface
}

// webhookTimeout, in seconds, is longer than in a cluster, where a slow webhook must delay nobody.
// On a busy machine a test's Job or Pod would go without its settings.
const webhookTimeout int32 = 20

// RegisterWebhooks registers the webhooks at the API server, with a certificate of
// their own, and keeps all in a folder of the control plane.
func RegisterWebhooks(plane *ControlPlane) (*Webhooks, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	address, err := FindAddress()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("read a free address: %w", err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("read a free port: %w", err)
	}
	options := envtest.WebhookInstallOptions{
		Paths:            []string{filepath.Join(root, "config", "webhook", "manifests.yaml")},
		LocalServingHost: host, LocalServingPort: number,
	}
	err = options.PrepWithoutInstalling()
	for _, configuration := range options.MutatingWebhooks {
		for i := range configuration.Webhooks {
			configuration.Webhooks[i].TimeoutSeconds = new(webhookTimeout)
		}
	}
	if err == nil {
		err = options.Install(plane.Config)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("register the webhooks: %w", err), options.Cleanup())
	}
	// envtest makes a folder that nobody would remove.
	certDir := filepath.Join(plane.Dir(), filepath.Base(options.LocalServingCertDir))
	if err := os.Rename(options.LocalServingCertDir, certDir); err != nil {
		return nil, errors.Join(fmt.Errorf("keep the certificate of the webhooks: %w", err), options.Cleanup())
	}
	clientset, err := kubernetes.NewForConfig(plane.Config)
	if err != nil {
		return nil, fmt.Errorf("connect to the control plane: %w", err)
	}
	return &Webhooks{
		address: address, certDir: certDir,
		configurations: options.MutatingWebhooks, clientset: clientset,
	}, nil
}

// Flags with which the operator serves them.
func (w *Webhooks) Flags() []string {
	return []string{"--webhook-bind-address=" + w.address, "--webhook-cert-dir=" + w.certDir}
}

// Break makes the API server reach nobody, as if the webhooks were down; Repair undoes it.
func (w *Webhooks) Break(ctx context.Context) error { return w.PointAt(ctx, "127.0.0.1:1") }

// Repair makes the operator's webhooks reachable again.
func (w *Webhooks) Repair(ctx context.Context) error { return w.PointAt(ctx, w.address) }

// PointAt makes the API server ask whoever listens on an address.
func (w *Webhooks) PointAt(ctx context.Context, address string) error {
	api := w.clientset.AdmissionregistrationV1().MutatingWebhookConfigurations()
	for _, configuration := range w.configurations {
		live, err := api.Get(ctx, configuration.Name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("read the registration: %w", err)
		}
		for i := range live.Webhooks {
			own, err := url.Parse(*configuration.Webhooks[i].ClientConfig.URL)
			if err != nil {
				return fmt.Errorf("read the registration: %w", err)
			}
			own.Host = address
			live.Webhooks[i].ClientConfig.URL = new(own.String())
		}
		if _, err := api.Update(ctx, live, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("change the registration: %w", err)
		}
	}
	return nil
}

// Remove removes the registration; Restore makes it again.
func (w *Webhooks) Remove(ctx context.Context) error {
	api := w.clientset.AdmissionregistrationV1().MutatingWebhookConfigurations()
	for _, configuration := range w.configurations {
		if err := api.Delete(ctx, configuration.Name, metav1.DeleteOptions{}); err != nil {
			return fmt.Errorf("remove the registration: %w", err)
		}
	}
	return nil
}

// Restore registers the webhooks that were removed.
func (w *Webhooks) Restore(ctx context.Context) error {
	api := w.clientset.AdmissionregistrationV1().MutatingWebhookConfigurations()
	for _, configuration := range w.configurations {
		fresh := &admissionv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: configuration.Name}, Webhooks: configuration.Webhooks,
		}
		if _, err := api.Create(ctx, fresh, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("restore the registration: %w", err)
		}
	}
	return nil
}
