// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Endpoint is a server to ask.
type Endpoint struct {
	// Name of it for people, such as "monitoring/k8s, shard 0".
	Name string
	// URL in front of the paths of its API.
	URL *url.URL
	// Client has the credentials, and sends them to this server only.
	Client *http.Client
}

// Problem is why a server cannot be asked: something about the platform that must be changed.
type Problem struct {
	// Reason and Message of a condition. They hold nothing of a Secret.
	Reason, Message string
	// Secret that is missing or has not the label; empty if it is something else.
	Secret string
}

// Error implements error.
func (p *Problem) Error() string { return p.Message }

// Backends are the servers that platforms name. They are made anew when the platform, a Secret or
// the Prometheus object changes; until then asking for them costs no request but, once in a while,
// those for what is not in the cache.
type Backends struct {
	// Live reads from the API server.
	Live client.Reader
	// Secrets reads their metadata: through the cache where the operator's namespace is in it.
	Secrets client.Reader
	// Namespace of the operator, which has the Secrets; empty if it is not known.
	Namespace string
	// Dial connects to servers; nil for what the system does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Now is the clock.
	Now func() time.Time

	mu      sync.Mutex
	made    map[string]made             // by platform and kind of server
	objects map[client.ObjectKey]object // Prometheus objects
}

// made is what was made of a version of a platform and of its Secrets.
type made struct {
	version   string
	endpoints []Endpoint
}

// object is what a Prometheus object said, and until when that is believed.
type object struct {
	shards []shard
	until  time.Time
}

// rereadAfter is how long it takes to notice that a Prometheus has another number of shards.
const rereadAfter = 5 * time.Minute

// Prometheus returns the servers of spec.prometheus, one for each shard; none if there is none. The
// error is a Problem unless the API server is away.
func (b *Backends) Prometheus(ctx context.Context, platform *obsv1.ObservabilityPlatform) ([]Endpoint, error) {
	spec := platform.Spec.Prometheus
	if spec == nil {
		return nil, nil
	}
	shards := []shard{{name: "prometheus"}}
	if spec.Ref == nil {
		parsed, problem := parseURL(spec.URL)
		if problem != nil {
			return nil, problem
		}
		shards[0].urls = []*url.URL{parsed}
	} else {
		var err error
		if shards, err = b.shards(ctx, *spec.Ref); err != nil {
			return nil, err
		}
	}
	return b.endpoints(ctx, platform, "prometheus", shards, toPrometheus(spec))
}

// Grafana returns the server of spec.grafana; none if it is not to be asked.
func (b *Backends) Grafana(ctx context.Context, platform *obsv1.ObservabilityPlatform) ([]Endpoint, error) {
	spec := platform.Spec.Grafana
	if spec == nil || spec.URL == "" || spec.TokenFrom == nil {
		return nil, nil
	}
	return b.single(ctx, platform, "grafana", spec.URL, toGrafana(spec))
}

// defaultSentry is where Sentry is if a platform does not say.
const defaultSentry obsv1.PlatformURL = "https://sentry.io"

// Sentry returns the server of spec.sentry; none if its API is not to be asked.
func (b *Backends) Sentry(ctx context.Context, platform *obsv1.ObservabilityPlatform) ([]Endpoint, error) {
	spec := platform.Spec.Sentry
	if spec == nil || spec.TokenFrom == nil {
		return nil, nil
	}
	return b.single(ctx, platform, "sentry", cmp.Or(spec.URL, defaultSentry), toSentry(spec))
}

// Ingest returns the server of spec.sentry as those reach it who report errors: without the token.
func (b *Backends) Ingest(ctx context.Context, platform *obsv1.ObservabilityPlatform) ([]Endpoint, error) {
	spec := platform.Spec.Sentry
	if spec == nil || spec.URL == "" {
		return nil, nil
	}
	return b.single(ctx, platform, "ingest", spec.URL, access{tls: spec.TLS})
}

func (b *Backends) single(ctx context.Context, platform *obsv1.ObservabilityPlatform, kind string,
	address obsv1.PlatformURL, with access) ([]Endpoint, error) {
	parsed, problem := parseURL(address)
	if problem != nil {
		return nil, problem
	}
	return b.endpoints(ctx, platform, kind, []shard{{name: kind, urls: []*url.URL{parsed}}}, with)
}

// parseURL reads an address that CEL has checked.
func parseURL(address obsv1.PlatformURL) (*url.URL, *Problem) {
	parsed, err := url.Parse(string(address))
	if err != nil || parsed.Host == "" {
		return nil, &Problem{Reason: obsv1.ReasonUnreachable, Message: "url is not an address: write for example " +
			"https://prometheus.example.com"}
	}
	return parsed, nil
}

// endpoints are those of the last time while nothing changed.
func (b *Backends) endpoints(ctx context.Context, platform *obsv1.ObservabilityPlatform, kind string,
	shards []shard, with access) ([]Endpoint, error) {
	version, err := b.version(ctx, platform, shards, with.sources())
	if err != nil {
		return nil, err
	}
	key := platform.Name + "/" + kind
	b.mu.Lock()
	last := b.made[key]
	b.mu.Unlock()
	if last.version == version {
		return last.endpoints, nil
	}
	credentials, err := b.credentials(ctx, platform.Name, with)
	if err != nil {
		return nil, err
	}
	now := made{version: version}
	for _, shard := range shards {
		now.endpoints = append(now.endpoints, Endpoint{
			Name: shard.name, URL: shard.urls[0], Client: b.httpClient(shard, credentials),
		})
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.made == nil {
		b.made = map[string]made{}
	}
	b.made[key] = now
	for _, endpoint := range last.endpoints {
		endpoint.Client.CloseIdleConnections()
	}
	return now.endpoints, nil
}

// Forget drops what is kept of a platform that is gone.
func (b *Backends) Forget(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, made := range b.made {
		if strings.HasPrefix(key, name+"/") {
			delete(b.made, key)
			for _, endpoint := range made.endpoints {
				endpoint.Client.CloseIdleConnections()
			}
		}
	}
}

// shard is a part of a Prometheus, at one of several addresses.
type shard struct {
	name string
	urls []*url.URL
	// direct is set for what is in the cluster, where no proxy is in between.
	direct bool
}

// prometheusPort is that of every Pod of a Prometheus object.
const prometheusPort = 9090

// shards of a Prometheus object. Its Pods have names in the DNS by its governing Service.
func (b *Backends) shards(ctx context.Context, ref obsv1.PlatformPrometheusRef) ([]shard, error) {
	key := client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}
	b.mu.Lock()
	known := b.objects[key]
	b.mu.Unlock()
	if b.Now().Before(known.until) {
		return known.shards, nil
	}
	prometheus := &monitoringv1.Prometheus{}
	err := b.Live.Get(ctx, key, prometheus)
	switch {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err), meta.IsNoMatchError(err):
		return nil, &Problem{Reason: obsv1.ReasonPrometheusNotFound, Message: fmt.Sprintf(
			"there is no Prometheus %s, or obstack may not read it: correct spec.prometheus.ref, or write url", key)}
	case err != nil:
		return nil, fmt.Errorf("read Prometheus %s: %w", key, err)
	}
	shards := shardsOf(prometheus)
	if len(shards) == 0 || prometheus.Spec.ListenLocal {
		return nil, &Problem{Reason: obsv1.ReasonUnreachable, Message: fmt.Sprintf(
			"Prometheus %s has no replica, or listens on its loopback address only: write url instead of ref", key)}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.objects == nil {
		b.objects = map[client.ObjectKey]object{}
	}
	b.objects[key] = object{shards, b.Now().Add(rereadAfter)}
	return shards, nil
}

func shardsOf(prometheus *monitoringv1.Prometheus) []shard {
	spec := &prometheus.Spec.CommonPrometheusFields
	count := func(number *int32) int {
		if number == nil {
			return 1
		}
		return int(*number)
	}
	service := "prometheus-operated"
	if spec.ServiceName != nil {
		service = *spec.ServiceName
	}
	var shards []shard
	for i := range count(spec.Shards) {
		set := "prometheus-" + prometheus.Name
		if i > 0 {
			set += fmt.Sprintf("-shard-%d", i)
		}
		of := shard{name: fmt.Sprintf("%s/%s, shard %d", prometheus.Namespace, prometheus.Name, i), direct: true}
		for replica := range count(spec.Replicas) {
			of.urls = append(of.urls, &url.URL{
				Scheme: spec.PrometheusURIScheme(), Path: spec.WebRoutePrefix(),
				Host: fmt.Sprintf("%s-%d.%s.%s.svc:%d", set, replica, service, prometheus.Namespace, prometheusPort),
			})
		}
		if len(of.urls) > 0 {
			shards = append(shards, of)
		}
	}
	return shards
}
