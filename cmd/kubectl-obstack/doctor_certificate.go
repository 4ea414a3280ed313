// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
)

// checkCertificates says whether those of the webhooks are there, valid, and signed by whom the API
// server trusts. Private keys are not looked at.
func checkCertificates(in *installation, now time.Time) (findings []DoctorFinding) {
	const name = "certificate"
	served := false
	for i := range in.operators {
		o := &in.operators[i]
		if flag := o.flags["webhook-cert-secret"]; o.malformed() {
			findings = append(findings, DoctorFinding{Name: name, State: StateProblem,
				Message: fmt.Sprintf("operator %s has --webhook-cert-secret=%s, which is no NAMESPACE/NAME", o, flag),
				Remedy:  "correct the flag, such as obstack-system/obstack-webhook-cert"})
		}
		key := o.certificate()
		if key.Name == "" {
			continue
		}
		served = true
		if findings := in.unread(name, ofCertificate); findings != nil {
			findings[0].Message += fmt.Sprintf(": Secret %s has the certificate of the webhooks", key)
			return findings
		}
		state, message := in.wrongCertificate(o, in.certificates[key], now)
		if message == "" {
			continue
		}
		remedy := "renew it where it is made: by cert-manager, or by you"
		if o.makesCertificate() {
			remedy = fmt.Sprintf("kubectl -n %s rollout restart deployment/%s: the operator makes it", o.deployment.Namespace,
				o.deployment.Name)
		}
		findings = append(findings, DoctorFinding{Name: name, State: state,
			Message: fmt.Sprintf("the certificate of the webhooks in Secret %s %s", key, message), Remedy: remedy})
	}
	if !served {
		return findings
	}
	return orOK(findings, ok(name, "that of the webhooks is valid, and the API server trusts it"))
}

// lateShare is the share of its time after which a certificate should have been renewed: the
// operator does it 90 days before the end of 10 years, and cert-manager at two thirds.
const lateShare = 50

// wrongCertificate says what is wrong; nothing if all is well.
func (in *installation) wrongCertificate(o *operator, secret *corev1.Secret, now time.Time) (FindingState, string) {
	if secret == nil {
		return StateProblem, "does not exist"
	}
	block, _ := pem.Decode(secret.Data[corev1.TLSCertKey])
	if block == nil {
		return StateProblem, "has not been made yet"
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return StateProblem, "cannot be parsed"
	}
	left := certificate.NotAfter.Sub(now)
	switch {
	case left <= 0:
		return StateProblem, "has expired on " + certificate.NotAfter.UTC().Format(time.DateOnly)
	case now.Before(certificate.NotBefore):
		return StateProblem, "is not valid before " + certificate.NotBefore.UTC().Format(time.DateOnly)
	}
	for _, configuration := range in.webhooks {
		if !trusted(o, configuration, certificate, secret.Data[corev1.TLSCertKey], now) {
			return StateProblem, fmt.Sprintf("is not one that MutatingWebhookConfiguration %s has the API server trust",
				configuration.Name)
		}
	}
	if left < certificate.NotAfter.Sub(certificate.NotBefore)/lateShare {
		return StateWarning, "has not been renewed: it expires on " + certificate.NotAfter.UTC().Format(time.DateOnly)
	}
	return "", ""
}

// trusted reports whether the API server accepts the certificate of each webhook of an operator.
// What has no authority is verified with those of the API server's system, which are not known.
func trusted(o *operator, configuration *admissionv1.MutatingWebhookConfiguration, certificate *x509.Certificate,
	chain []byte, now time.Time) bool {
	_, injected := configuration.Annotations["cert-manager.io/inject-ca-from"]
	intermediates := x509.NewCertPool()
	intermediates.AppendCertsFromPEM(chain)
	for i := range configuration.Webhooks {
		of := &configuration.Webhooks[i].ClientConfig
		if of.Service == nil || of.Service.Namespace != o.deployment.Namespace {
			continue
		}
		if len(of.CABundle) == 0 {
			if injected || o.makesCertificate() {
				return false
			}
			continue
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(of.CABundle)
		_, err := certificate.Verify(x509.VerifyOptions{
			DNSName: of.Service.Name + "." + of.Service.Namespace + ".svc", Roots: roots, Intermediates: intermediates,
			CurrentTime: now,
		})
		if err != nil {
			return false
		}
	}
	return true
}
