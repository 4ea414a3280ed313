// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
	"obstack.dev/obstack/controllers/proof/promclient"
)

// promServer is a Prometheus with its name for people.
type promServer struct {
	name   string
	client promclient.Client
}

// writeURL is what to do where no Prometheus is found.
const writeURL = "write --url, for example of what kubectl port-forward serves"

// prometheus of --url, of the platform, or the only one of the cluster.
func (o *dashboardOptions) prometheus(
	ctx context.Context, flags *genericclioptions.ConfigFlags, api client.Reader, behind desired.Platform,
) (promServer, error) {
	if o.url != "" {
		parsed, err := url.Parse(o.url)
		return promServer{o.url, promclient.Client{URL: parsed, HTTP: queriesOnly(http.DefaultTransport, parsed, "")}}, err
	}
	through, err := newProxy(flags)
	if err != nil {
		return promServer{}, err
	}
	if spec := behind.Spec; spec != nil && spec.Prometheus != nil && spec.Prometheus.Ref == nil {
		return through.platformURL(spec.Prometheus)
	}
	object, err := prometheusObject(ctx, api, behind)
	if err != nil {
		return promServer{}, err
	}
	if shards := object.Spec.Shards; shards != nil && *shards > 1 {
		return promServer{}, fmt.Errorf("the Prometheus %s/%s has %d shards: %s and asks them all", object.Namespace,
			object.Name, *shards, writeURL)
	}
	address, err := through.prometheus(object)
	if err != nil {
		return promServer{}, fmt.Errorf("%w; or %s", err, writeURL)
	}
	return promServer{
		fmt.Sprintf("Prometheus %s/%s by way of the API server", object.Namespace, object.Name),
		promclient.Client{URL: address, HTTP: queriesOnly(through.http.Transport, address, "")},
	}, nil
}

// aService is the name of a Service in the DNS of a cluster: that of another domain may be a host
// somewhere else.
var aService = regexp.MustCompile(`^([a-z0-9-]+)\.([a-z0-9-]+)\.svc(?:\.cluster\.local)?\.?$`)

// platformURL asks the Service that a platform names by its url, by way of the API server. That
// passes no credentials on, and the caller has none of the operator's.
func (p proxy) platformURL(named *obsv1.PlatformPrometheus) (promServer, error) {
	parsed, err := url.Parse(string(named.URL))
	if err != nil {
		return promServer{}, fmt.Errorf("the url of the ObservabilityPlatform's Prometheus is no address: %s", writeURL)
	}
	of := aService.FindStringSubmatch(parsed.Hostname())
	port, err := strconv.Atoi(cmp.Or(parsed.Port(), map[string]string{"http": "80", "https": "443"}[parsed.Scheme]))
	switch {
	case named.Authorization != nil || named.BasicAuth != nil || named.TLS != nil && named.TLS.CertFrom != nil:
		return promServer{}, fmt.Errorf("only the operator has the credentials for %s, which the ObservabilityPlatform "+
			"names: %s", named.URL, writeURL)
	case of == nil || err != nil || !stays(parsed.EscapedPath()):
		return promServer{}, fmt.Errorf("%s, which the ObservabilityPlatform names, is no Service of this cluster such as "+
			"http://prometheus.monitoring.svc:9090, and may be reached from inside of it only: write --url=%s if you reach "+
			"it from here, or %s", named.URL, named.URL, strings.TrimPrefix(writeURL, "write "))
	}
	address := p.service(parsed.Scheme, of[2], of[1], port).JoinPath(parsed.Path)
	return promServer{
		fmt.Sprintf("%s by way of the API server", named.URL),
		promclient.Client{URL: address, HTTP: queriesOnly(p.http.Transport, address, named.Tenant)},
	}, nil
}

// prometheusObject is the one that the platform names, or the only one.
func prometheusObject(
	ctx context.Context, api client.Reader, behind desired.Platform,
) (*monitoringv1.Prometheus, error) {
	if behind.Spec != nil && behind.Spec.Prometheus != nil {
		return namedPrometheus(ctx, api, behind.Spec.Prometheus.Ref)
	}
	list := &monitoringv1.PrometheusList{}
	err := api.List(ctx, list, client.Limit(2))
	switch {
	case meta.IsNoMatchError(err):
		return nil, errors.New("no ObservabilityPlatform names a Prometheus, and the cluster has no Prometheus objects: " +
			writeURL)
	case err != nil:
		return nil, fmt.Errorf("no ObservabilityPlatform names a Prometheus: %s: %w", writeURL,
			readError("Prometheus objects", "", err))
	case len(list.Items) != 1:
		return nil, errors.New("no ObservabilityPlatform names a Prometheus, and the cluster has not exactly one: " +
			writeURL)
	}
	return &list.Items[0], nil
}

func namedPrometheus(
	ctx context.Context, api client.Reader, ref *obsv1.PlatformPrometheusRef,
) (*monitoringv1.Prometheus, error) {
	object := &monitoringv1.Prometheus{}
	err := api.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, object)
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("there is no Prometheus %s/%s, which the ObservabilityPlatform names: %s",
			ref.Namespace, ref.Name, writeURL)
	}
	if err != nil {
		return nil, fmt.Errorf("%w; or %s", readError("Prometheus objects", ref.Namespace, err), writeURL)
	}
	return object, nil
}

// queriesOnly lets nothing pass but queries of one server, and follows nobody to another: what is
// sent has the caller's credentials.
func queriesOnly(next http.RoundTripper, server *url.URL, tenant string) *http.Client {
	if next == nil {
		next = http.DefaultTransport // As http.Client has it.
	}
	return &http.Client{
		Transport:     queries{next, server, tenant},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// queries of a server, with the header of a tenant if there is one.
type queries struct {
	next   http.RoundTripper
	server *url.URL
	tenant string
}

var errNoQuery = errors.New("only queries are sent to Prometheus")

// RoundTrip implements http.RoundTripper.
func (q queries) RoundTrip(request *http.Request) (*http.Response, error) {
	prefix := "/" + strings.TrimPrefix(q.server.JoinPath("api/v1").EscapedPath()+"/", "/")
	path, below := strings.CutPrefix(request.URL.EscapedPath(), prefix)
	label, ofLabel := strings.CutPrefix(path, "label/")
	label, isValues := strings.CutSuffix(label, "/values")
	asks := path == "query" || path == "query_range" || ofLabel && isValues && !strings.Contains(label, "/")
	if request.Method != http.MethodGet || request.URL.Host != q.server.Host || request.URL.Scheme != q.server.Scheme ||
		!below || !asks {
		return nil, errNoQuery
	}
	if q.tenant != "" {
		request = request.Clone(request.Context())
		request.Header.Set("X-Scope-OrgID", q.tenant)
	}
	return q.next.RoundTrip(request)
}
