// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/proof"
	"obstack.dev/obstack/controllers/proof/judge"
	"obstack.dev/obstack/controllers/proof/promclient"
)

// proxy asks Services by way of the API server.
type proxy struct {
	base *url.URL
	http *http.Client
}

func newProxy(flags *genericclioptions.ConfigFlags) (proxy, error) {
	config, err := flags.ToRESTConfig()
	if err != nil {
		return proxy{}, fmt.Errorf("read the kubeconfig: %w", err)
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return proxy{}, fmt.Errorf("read the kubeconfig: %w", err)
	}
	made, err := rest.HTTPClientFor(config)
	if err != nil {
		return proxy{}, fmt.Errorf("read the kubeconfig: %w", err)
	}
	client := *made // It may be http.DefaultClient.
	// Whoever serves behind a Service may name any address, and each request has the caller's token.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return proxy{base, &client}, nil
}

func (p proxy) service(scheme, namespace, name string, port int) *url.URL {
	of := fmt.Sprintf("%s:%s:%d", scheme, name, port)
	return p.base.JoinPath("api/v1/namespaces", namespace, "services", of, "proxy")
}

// governing is the Service of a Prometheus.
func governing(object *monitoringv1.Prometheus) string {
	return ptr.Deref(object.Spec.ServiceName, "prometheus-operated")
}

// aPath has no character that is decoded on its way.
var aPath = regexp.MustCompile(`^[/A-Za-z0-9._~-]*$`)

// stays reports whether a path stays below what it is joined to.
func stays(path string) bool {
	dots := func(segment string) bool { return segment == "." || segment == ".." }
	return aPath.MatchString(path) && !slices.ContainsFunc(strings.Split(path, "/"), dots)
}

// prometheus is where the API of a Prometheus is. Whoever may write the object chooses a part of
// the path below the Service: with .. in it, it would be another one of the API server.
func (p proxy) prometheus(object *monitoringv1.Prometheus) (*url.URL, error) {
	name, prefix := governing(object), object.Spec.WebRoutePrefix()
	if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
		return nil, fmt.Errorf("serviceName of Prometheus %s/%s is %q: must be the name of a Service: %s",
			object.Namespace, object.Name, name, strings.Join(problems, "; "))
	}
	if !stays(prefix) {
		return nil, fmt.Errorf("routePrefix of Prometheus %s/%s is %q: must be a path such as /prometheus, of letters, "+
			"digits and -._~, in which no segment is . or .. alone", object.Namespace, object.Name, prefix)
	}
	scheme := strings.ToLower(object.Spec.PrometheusURIScheme())
	return p.service(scheme, object.Namespace, name, prometheusPort).JoinPath(prefix), nil
}

// metrics are the checks of what Prometheus scrapes and evaluates.
func (v *verification) metrics(ctx context.Context) []source {
	parts := v.parts(obsv1.PartMonitor, obsv1.PartPython, obsv1.PartBroker, obsv1.PartAlerts, obsv1.PartSLO)
	if len(parts) == 0 {
		return nil
	}
	var why cannotAsk
	if _, err := v.prometheus(ctx); errors.As(err, &why) {
		return []source{v.fromStatus(parts, why)}
	}
	return []source{v.askPrometheus()}
}

// byProxy says of whom there was no response, and why. It may not run, or a NetworkPolicy may keep
// the API server out.
func byProxy(whom string, err error) string {
	return whom + " was asked by way of the API server: " + err.Error()
}

// clock is what time it is for Prometheus.
const clock = "vector(time())"

// parts of the stack that are of some kinds, and can be tried: processes in Python report
// themselves by their metrics alone.
func (v *verification) parts(kinds ...obsv1.PartKind) []judge.Part {
	return slices.DeleteFunc(judge.Parts(v.stack), func(p judge.Part) bool {
		return !slices.Contains(kinds, p.Kind) || p.Kind == obsv1.PartPython && v.stack.Spec.Python.MetricsPort() == 0
	})
}

// prometheusPort is that of the governing Service of a Prometheus object.
const prometheusPort = 9090

// prometheus returns the platform's; the error is a cannotAsk if it is never asked from here.
func (v *verification) prometheus(ctx context.Context) (*promclient.Client, error) {
	const without = "what the operator saw counts"
	if v.platform == nil { // It could not be read before.
		v.findPlatform(ctx)
	}
	switch {
	case v.platform == nil:
		return nil, v.noPlatform
	case v.platform.Spec.Prometheus == nil:
		return nil, cannotAsk("the ObservabilityPlatform names no Prometheus")
	case v.platform.Spec.Prometheus.Ref == nil:
		return nil, cannotAsk("only the operator asks the Prometheus that the ObservabilityPlatform names by its url")
	}
	ref := v.platform.Spec.Prometheus.Ref
	if !v.may(ctx, "get", "prometheuses.monitoring.coreos.com", ref.Namespace, ref.Name, without) {
		return nil, cannotAsk(mayNot("get", "Prometheus objects", ref.Namespace))
	}
	object := &monitoringv1.Prometheus{}
	if err := v.api.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, object); err != nil {
		return nil, readError("Prometheus objects", ref.Namespace, err)
	}
	if shards := object.Spec.Shards; shards != nil && *shards > 1 {
		return nil, cannotAsk(fmt.Sprintf("the Prometheus has %d shards, which only the operator asks", *shards))
	}
	address, err := v.proxy.prometheus(object)
	if err != nil {
		return nil, err
	}
	if !v.may(ctx, "get", "services/proxy", ref.Namespace, governing(object), without) {
		return nil, cannotAsk(mayNot("get", "services/proxy", ref.Namespace))
	}
	return &promclient.Client{URL: address, HTTP: v.proxy.http}, nil
}

// askPrometheus about scrapes that came after the first look, by its own clock, and about rules.
func (v *verification) askPrometheus() source {
	began := 0.0
	return func(ctx context.Context) (checks []Check, final bool) {
		scrapes, now, series, err := v.series(ctx)
		if began == 0 {
			began = now
		}
		for _, f := range append(judge.Scraped(v.stack, series), v.processes(series)...) {
			check := checkOf(f, "scraped", sourcePrometheus)
			if check.State == metav1.ConditionTrue && scrapes[f.Part] <= began {
				check.State, check.Says = metav1.ConditionUnknown, "Prometheus has not scraped it since: its interval is longer "+
					"than --timeout, or it stopped"
			}
			checks = append(checks, check)
		}
		for _, f := range judge.Loaded(v.stack, series) {
			checks = append(checks, checkOf(f, "its rules are loaded", sourcePrometheus))
		}
		for i := range checks {
			if err != nil {
				checks[i].State = metav1.ConditionUnknown
				checks[i].Says = err.Error()
			}
		}
		return checks, false
	}
}

// processes judges those in Python that report themselves. Which workloads they should be of, the
// operator knows.
func (v *verification) processes(series judge.Series) []judge.Finding {
	if len(v.parts(obsv1.PartPython)) == 0 {
		return nil
	}
	found := judge.Python(v.stack, series, nil)
	if found[0].Reason == obsv1.ReasonNoData {
		found[0].Message = "no process reports itself to Prometheus: the stack's PythonReady says which workloads should"
	}
	return found
}

// series are what Prometheus has of the stack, when each part was last scraped well, and what time
// it is, by Prometheus' clock.
func (v *verification) series(
	ctx context.Context,
) (scrapes map[judge.Part]float64, now float64, series judge.Series, err error) {
	server, err := v.prometheus(ctx)
	if err != nil {
		return nil, 0, series, err
	}
	if scrapes, now, err = v.lastScrapes(ctx, *server); err == nil {
		series, err = proof.Ask(ctx, v.stack, v.platform.Spec.Cluster, *server)
	}
	if err != nil {
		err = errors.New(byProxy("Prometheus", err))
	}
	return scrapes, now, series, err
}

// lastScrapes are when each part was last scraped well, and what time it is, by Prometheus' clock.
func (v *verification) lastScrapes(
	ctx context.Context, server promclient.Client,
) (at map[judge.Part]float64, now float64, err error) {
	if err := server.Query(ctx, clock, func(s promclient.Sample) { now = s.Value }); err != nil {
		return nil, 0, err
	}
	series := fmt.Sprintf(`up{namespace=%q,%s=%q}`, v.stack.Namespace, obsv1.SeriesStack, v.stack.Name)
	expr := fmt.Sprintf(`max by (%s,%s) (timestamp(%s) and %s == 1)`,
		obsv1.SeriesMonitor, obsv1.SeriesBroker, series, series)
	at = map[judge.Part]float64{}
	return at, now, server.Query(ctx, expr, func(s promclient.Sample) {
		part := judge.Part{Kind: obsv1.PartMonitor, Name: s.Labels[obsv1.SeriesMonitor]}
		switch {
		case part.Name == "":
			part = judge.Part{Kind: obsv1.PartBroker, Name: s.Labels[obsv1.SeriesBroker]}
		case part.Name == obsv1.MonitorPython && v.stack.Spec.Python != nil:
			part.Kind = obsv1.PartPython
		}
		at[part] = s.Value
	})
}

// checkOf a finding. That nothing has happened yet which a part counts is not wrong; processes are
// not counted by what happens.
func checkOf(f judge.Finding, well, from string) Check {
	check := Check{Name: partName(f.Part), State: f.State, Says: f.Message, Source: from}
	if f.Reason == obsv1.ReasonNoData && f.State == metav1.ConditionUnknown && f.Kind != obsv1.PartPython {
		check.State = metav1.ConditionTrue
	}
	if check.State == metav1.ConditionTrue {
		check.Says = strings.TrimSuffix(well+"; "+f.Message, "; ")
	}
	return check
}

func partName(part judge.Part) string {
	if part.Kind == obsv1.PartAlerts || part.Kind == obsv1.PartPython {
		return strings.ToLower(string(part.Kind))
	}
	return strings.ToLower(string(part.Kind)) + " " + part.Name
}
