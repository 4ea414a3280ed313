// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/metadata"
)

// access is what a platform says about asking a server.
type access struct {
	// scheme in front of the token; empty for Bearer.
	scheme string
	token  *obsv1.PlatformSecretSource
	basic  *obsv1.PlatformBasicAuth
	tls    *obsv1.PlatformTLS
	// headers beside Authorization.
	headers map[string]string
}

func toPrometheus(spec *obsv1.PlatformPrometheus) access {
	with := access{basic: spec.BasicAuth, tls: spec.TLS}
	if spec.Tenant != "" {
		with.headers = map[string]string{"X-Scope-OrgID": spec.Tenant}
	}
	if spec.Authorization != nil {
		with.scheme, with.token = spec.Authorization.Type, &spec.Authorization.CredentialsFrom
	}
	return with
}

func toGrafana(spec *obsv1.PlatformGrafana) access {
	return access{token: spec.TokenFrom, tls: spec.TLS}
}

func toSentry(spec *obsv1.PlatformSentry) access { return access{token: spec.TokenFrom, tls: spec.TLS} }

// secretNames are those of the Secrets that a platform names.
func secretNames(spec *obsv1.ObservabilityPlatformSpec) (names []string) {
	var all []access
	if spec.Prometheus != nil {
		all = append(all, toPrometheus(spec.Prometheus))
	}
	if spec.Grafana != nil {
		all = append(all, toGrafana(spec.Grafana))
	}
	if spec.Sentry != nil {
		all = append(all, toSentry(spec.Sentry))
	}
	for _, one := range all {
		for _, source := range one.sources() {
			names = append(names, source.SecretKeyRef.Name)
		}
	}
	return names
}

// sources are the Secrets that are read.
func (a access) sources() (sources []*obsv1.PlatformSecretSource) {
	sources = append(sources, a.token)
	if a.basic != nil {
		sources = append(sources, &a.basic.UsernameFrom, &a.basic.PasswordFrom)
	}
	if a.tls != nil {
		sources = append(sources, a.tls.CAFrom, a.tls.CertFrom, a.tls.KeyFrom)
	}
	return slices.DeleteFunc(sources, func(source *obsv1.PlatformSecretSource) bool { return source == nil })
}

// credentials are what a client has.
type credentials struct {
	headers map[string]string
	tls     *tls.Config
}

// version changes with the platform's spec, the addresses and the Secrets.
func (b *Backends) version(ctx context.Context, platform *obsv1.ObservabilityPlatform, shards []shard,
	sources []*obsv1.PlatformSecretSource) (string, error) {
	parts := []string{string(platform.UID), strconv.FormatInt(platform.Generation, 10)}
	for _, shard := range shards {
		for _, address := range shard.urls {
			parts = append(parts, address.String())
		}
	}
	for _, source := range sources {
		name := source.SecretKeyRef.Name
		secret, err := metadata.Find(ctx, b.Secrets, metadata.Secret, client.ObjectKey{Namespace: b.Namespace, Name: name})
		switch {
		case b.Namespace == "", err == nil && secret == nil:
			return "", b.notFound(platform.Name, name)
		case err != nil:
			return "", err
		}
		parts = append(parts, string(secret.UID), secret.ResourceVersion)
	}
	return strings.Join(parts, " "), nil
}

// credentials reads the Secrets.
func (b *Backends) credentials(ctx context.Context, platform string, with access) (credentials, error) {
	r := secretReader{Backends: b, platform: platform, read: map[string]*corev1.Secret{}}
	made := credentials{headers: map[string]string{}, tls: &tls.Config{MinVersion: tls.VersionTLS12}}
	maps.Copy(made.headers, with.headers)
	if with.token != nil {
		made.headers["Authorization"] = cmp.Or(with.scheme, "Bearer") + " " + r.header(ctx, with.token)
	}
	if with.basic != nil {
		user, password := r.text(ctx, &with.basic.UsernameFrom), r.text(ctx, &with.basic.PasswordFrom)
		made.headers["Authorization"] = "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	if with.tls != nil {
		r.trust(ctx, with.tls, made.tls)
	}
	return made, r.err
}

// secretReader reads keys of Secrets, and keeps the first thing that is wrong.
type secretReader struct {
	*Backends

	platform string
	read     map[string]*corev1.Secret
	err      error
}

// text of a key, without the white space around it.
func (r *secretReader) text(ctx context.Context, source *obsv1.PlatformSecretSource) string {
	if r.err != nil {
		return ""
	}
	ref := source.SecretKeyRef
	secret, err := r.secret(ctx, ref.Name)
	if err != nil {
		r.err = err
		return ""
	}
	value, found := secret.Data[ref.Key]
	text := strings.TrimSpace(string(value))
	switch {
	case !found:
		r.err = &Problem{Reason: obsv1.ReasonKeyNotFound, Message: fmt.Sprintf(
			"Secret %s in namespace %s has no key %s: add it, or change the platform", ref.Name, r.Namespace, ref.Key)}
	case text == "":
		r.invalid(source, "is empty")
	}
	return text
}

// header is a text that may be in the header of a request.
func (r *secretReader) header(ctx context.Context, source *obsv1.PlatformSecretSource) string {
	text := r.text(ctx, source)
	if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
		r.invalid(source, "has line breaks, or characters that no token has")
	}
	return text
}

// invalid says what is wrong with a key, without its value.
func (r *secretReader) invalid(source *obsv1.PlatformSecretSource, what string) {
	if r.err == nil {
		r.err = &Problem{Reason: obsv1.ReasonInvalidCredentials, Message: fmt.Sprintf(
			"key %s of Secret %s in namespace %s %s: write it anew", source.SecretKeyRef.Key, source.SecretKeyRef.Name,
			r.Namespace, what)}
	}
}

// trust says whom a client trusts, and who it is itself.
func (r *secretReader) trust(ctx context.Context, from *obsv1.PlatformTLS, config *tls.Config) {
	config.ServerName = from.ServerName
	if from.CAFrom != nil {
		config.RootCAs = x509.NewCertPool()
		if text := r.text(ctx, from.CAFrom); !config.RootCAs.AppendCertsFromPEM([]byte(text)) {
			r.invalid(from.CAFrom, "has no certificate in PEM")
		}
	}
	if from.CertFrom != nil && from.KeyFrom != nil {
		certificate, err := tls.X509KeyPair([]byte(r.text(ctx, from.CertFrom)), []byte(r.text(ctx, from.KeyFrom)))
		if err != nil {
			r.invalid(from.KeyFrom, "is not the private key, in PEM, of the certificate")
		}
		config.Certificates = []tls.Certificate{certificate}
	}
}

// secret that the platform may have: one of the operator's namespace that says so by its label.
// Whoever writes platforms could else read every Secret there, by sending it to a server of theirs.
func (r *secretReader) secret(ctx context.Context, name string) (*corev1.Secret, error) {
	if secret := r.read[name]; secret != nil {
		return secret, nil
	}
	secret := &corev1.Secret{}
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: name}, secret)
	switch {
	case apierrors.IsNotFound(err):
		return nil, r.notFound(r.platform, name)
	case err != nil:
		return nil, fmt.Errorf("read Secret %s: %w", name, err)
	case secret.Labels[obsv1.LabelPlatform] != r.platform:
		return nil, &Problem{Reason: obsv1.ReasonSecretNotLabelled, Secret: name, Message: fmt.Sprintf(
			"Secret %s in namespace %s has not the label %s=%s, so this platform may not have it: add the label",
			name, r.Namespace, obsv1.LabelPlatform, r.platform)}
	}
	r.read[name] = secret
	return secret, nil
}

func (b *Backends) notFound(platform, name string) error {
	if b.Namespace == "" {
		return &Problem{Reason: obsv1.ReasonSecretNotFound, Secret: name,
			Message: "obstack does not know its own namespace, in which the Secrets are: start it with --namespace"}
	}
	return &Problem{Reason: obsv1.ReasonSecretNotFound, Secret: name, Message: fmt.Sprintf(
		"Secret %s does not exist in namespace %s: create it there, with the label %s=%s",
		name, b.Namespace, obsv1.LabelPlatform, platform)}
}
