// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers"
	"obstack.dev/obstack/controllers/metadata"
)

// certFile and keyFile are what a folder of certificates holds.
const (
	certFile = "tls.crt"
	keyFile  = "tls.key"
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
	fs.StringVar(&o.address, "webhook-bind-address", "0", "`address`, such as :9443, on which the webhooks are served "+
		"that inject settings into workloads; 0: none, and no injection without --injection-policy")
	fs.StringVar(&o.certDir, "webhook-cert-dir", filepath.Join(os.TempDir(), "obstack-webhook-certs"),
		"`folder` with tls.crt and tls.key of the webhooks")
	fs.StringVar(&o.secretFlag, "webhook-cert-secret", "", "`NAMESPACE/NAME` of the Secret, mounted at "+
		"--webhook-cert-dir, in which obstack makes and renews the certificate; empty if somebody else does")
	fs.StringVar(&o.serviceFlag, "webhook-service", "",
		"`NAMESPACE/NAME` of the Service of the webhooks, for the certificate; needed with --webhook-cert-secret")
	fs.StringVar(&o.configuration, "webhook-configuration", "obstack-webhook",
		"`name` of the MutatingWebhookConfiguration that gets the certificate's authority")
}

// parse checks the flags.
func (o *webhookOptions) parse() error {
	if o.address == "0" {
		return nil
	}
	if err := o.parseAddress(); err != nil {
		return err
	}
	o.enabled = true
	if o.certDir == "" {
		return errors.New("--webhook-cert-dir: must name a folder, in which tls.crt and tls.key are or will be")
	}
	if o.secretFlag == "" {
		return nil
	}
	var errs [2]error
	o.secret, errs[0] = parseName("webhook-cert-secret", o.secretFlag)
	o.service, errs[1] = parseName("webhook-service", o.serviceFlag)
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	if problems := validation.IsDNS1123Subdomain(o.configuration); len(problems) > 0 {
		return fmt.Errorf("--webhook-configuration=%s: must be the name of a MutatingWebhookConfiguration: %s",
			o.configuration, strings.Join(problems, "; "))
	}
	return nil
}

func (o *webhookOptions) parseAddress() error {
	host, port, err := net.SplitHostPort(o.address)
	if err == nil {
		o.port, err = strconv.Atoi(port)
	}
	if err != nil || o.port < 1 || o.port > 65535 {
		return fmt.Errorf("--webhook-bind-address=%s: must be HOST:PORT or :PORT with a port from 1 to 65535, or 0 for no "+
			"webhooks", o.address)
	}
	o.host = host
	return nil
}

// parseName reads NAMESPACE/NAME of an object.
func parseName(flagName, value string) (types.NamespacedName, error) {
	name, ok := metadata.ParseName(value, "")
	if !ok {
		return name, fmt.Errorf("--%s=%s: must be NAMESPACE/NAME, such as obstack-system/obstack-webhook", flagName, value)
	}
	return name, nil
}

// addWebhooks serves the webhooks, in every replica, as soon as there is a certificate.
func addWebhooks(ctx context.Context, mgr ctrl.Manager, opts *options) error {
	o := &opts.webhook
	if !o.enabled {
		return nil
	}
	certified := make(chan struct{})
	if o.secretFlag == "" {
		close(certified)
	} else if err := addRotator(ctx, mgr, o, certified); err != nil {
		return err
	}
	server := webhook.NewServer(webhook.Options{Host: o.host, Port: o.port, CertDir: o.certDir})
	controllers.AddWebhooks(mgr, server, opts.namespaces())
	certifiedServer := &webhookServer{server: server, options: o, certified: certified}
	return errors.Join(mgr.Add(certifiedServer), mgr.AddReadyzCheck("webhook", certifiedServer.ready))
}

// addRotator makes and renews the certificate. Every replica may: they share the Secret.
func addRotator(ctx context.Context, mgr ctrl.Manager, o *webhookOptions, certified chan struct{}) error {
	// obstack may not create it: Kubernetes cannot grant that for one name.
	switch err := mgr.GetAPIReader().Get(ctx, o.secret, metadata.Of(metadata.Secret)); {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("--webhook-cert-secret=%s: there is no such Secret: create it, empty; obstack fills it in",
			o.secret)
	case err != nil:
		return fmt.Errorf("look for the Secret of the webhooks' certificate: %w", err)
	}
	err := rotator.AddRotator(mgr, &rotator.CertRotator{
		SecretKey:            o.secret,
		CertDir:              o.certDir,
		CAName:               "obstack",
		CAOrganization:       "obstack",
		CertName:             certFile,
		DNSName:              o.service.Name + "." + o.service.Namespace + ".svc",
		FieldOwner:           obsv1.FieldManager,
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
	options   *webhookOptions
	certified <-chan struct{}
}

// NeedLeaderElection is false: every replica serves.
func (s *webhookServer) NeedLeaderElection() bool { return false }

// Start serves until ctx ends.
func (s *webhookServer) Start(ctx context.Context) error {
	if o := s.options; o.secretFlag != "" {
		ctrl.Log.Info("Waiting for the webhooks' certificate", "secret", o.secret, "folder", o.certDir, "configuration",
			o.configuration)
	}
	select {
	case <-ctx.Done():
		return nil
	case <-s.certified:
		return s.server.Start(ctx)
	}
}

// ready says what is missing before the webhooks are served.
func (s *webhookServer) ready(req *http.Request) error {
	select {
	case <-s.certified:
		return s.server.StartedChecker()(req)
	default:
	}
	if _, err := os.Stat(filepath.Join(s.options.certDir, certFile)); err != nil {
		return fmt.Errorf("--webhook-cert-dir=%s has no %s yet: obstack writes it into Secret %s, and the kubelet brings "+
			"it here, which takes about a minute",
			s.options.certDir, certFile, s.options.secret)
	}
	return fmt.Errorf("MutatingWebhookConfiguration %s does not have the authority of the certificate in Secret %s yet",
		s.options.configuration, s.options.secret)
}
