// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"obstack.dev/obstack/controllers"
)

// webhookOptions are the flags about the webhooks.
type webhookOptions struct {
	certDir       string
	configuration string

	address, secretFlag, serviceFlag string // as given

	enabled         bool
	host            string
	port            int
	secret, service types.NamespacedName
}

func (o *webhookOptions) register(fs *flag.FlagSet) {
	fs.StringVar(&o.address, "webhook-bind-address", "0", "`address`, such as :9443, on which the webhooks are served that inject settings into workloads; 0 turns injection off")
	fs.StringVar(&o.certDir, "webhook-cert-dir", filepath.Join(os.TempDir(), "obstack-webhook-certs"), "`folder` with tls.crt and tls.key of the webhooks")
	fs.StringVar(&o.secretFlag, "webhook-cert-secret", "", "`NAMESPACE/NAME` of the Secret, mounted at --webhook-cert-dir, in which obstack makes and renews the certificate; empty if somebody else does")
	fs.StringVar(&o.serviceFlag, "webhook-service", "", "`NAMESPACE/NAME` of the Service of the webhooks, for the certificate; needed with --webhook-cert-secret")
	fs.StringVar(&o.configuration, "webhook-configuration", "obstack", "`name` of the MutatingWebhookConfiguration that gets the certificate's authority")
}

// parse checks the flags.
func (o *webhookOptions) parse() error {
	if o.address == "0" {
		return nil
	}
	host, port, err := net.SplitHostPort(o.address)
	if err == nil {
		o.port, err = strconv.Atoi(port)
	}
	if err != nil || o.port < 1 || o.port > 65535 {
		return fmt.Errorf("--webhook-bind-address=%s: must be HOST:PORT or :PORT with a port from 1 to 65535, or 0 for no injection", o.address)
	}
	o.enabled, o.host = true, host
	if o.secretFlag == "" {
		return nil
	}
	if o.secret, err = parseName("webhook-cert-secret", o.secretFlag); err != nil {
		return err
	}
	o.service, err = parseName("webhook-service", o.serviceFlag)
	return err
}

func parseName(flagName, value string) (types.NamespacedName, error) {
	namespace, name, ok := strings.Cut(value, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return types.NamespacedName{}, fmt.Errorf("--%s=%s: must be NAMESPACE/NAME", flagName, value)
	}
	return types.NamespacedName{Namespace: namespace, Name: name}, nil
}

// addWebhooks serves the webhooks, in every replica, as soon as there is a certificate.
func addWebhooks(mgr ctrl.Manager, opts *options) error {
	o := &opts.webhook
	if !o.enabled {
		return nil
	}
	certified := make(chan struct{})
	if o.secretFlag == "" {
		close(certified)
	} else if err := addRotator(mgr, o, certified); err != nil {
		return err
	}
	server := webhook.NewServer(webhook.Options{Host: o.host, Port: o.port, CertDir: o.certDir})
	controllers.AddWebhooks(server, controllers.WebhookLookup(mgr, opts.namespaces()))
	return errors.Join(
		mgr.Add(&webhookServer{server: server, certified: certified}),
		mgr.AddReadyzCheck("webhook", server.StartedChecker()),
	)
}

// addRotator makes and renews the certificate. Every replica may: they share the Secret.
func addRotator(mgr ctrl.Manager, o *webhookOptions, certified chan struct{}) error {
	err := rotator.AddRotator(mgr, &rotator.CertRotator{
		SecretKey:            o.secret,
		CertDir:              o.certDir,
		CAName:               "obstack",
		CAOrganization:       "obstack",
		DNSName:              o.service.Name + "." + o.service.Namespace + ".svc",
		IsReady:              certified,
		Webhooks:             []rotator.WebhookInfo{{Name: o.configuration, Type: rotator.Mutating}},
		EnableReadinessCheck: true,
	})
	if err != nil {
		return fmt.Errorf("set up the webhooks' certificate: %w", err)
	}
	return nil
}

// webhookServer starts a server when it is certified.
type webhookServer struct {
	server    webhook.Server
	certified <-chan struct{}
}

// NeedLeaderElection is false: every replica serves.
func (s *webhookServer) NeedLeaderElection() bool { return false }

// Start serves until ctx ends.
func (s *webhookServer) Start(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.certified:
		return s.server.Start(ctx)
	}
}
