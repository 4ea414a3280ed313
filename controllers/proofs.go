// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/injection"
	"obstack.dev/obstack/controllers/platform"
	"obstack.dev/obstack/controllers/proof"
)

// ProofOptions say whom the operator asks whether what it wrote works, and how often: never, if an
// interval is 0.
type ProofOptions struct {
	// Interval of Prometheus and the task exporters.
	Interval time.Duration
	// DashboardInterval of Grafana and its sidecars.
	DashboardInterval time.Duration
	// SentryInterval of DSNs that have not changed.
	SentryInterval time.Duration
	// SentryHosts may be asked about DSNs beside those of platforms.
	SentryHosts []string
	// PodLabels are those of the operator's Pods; none if they are not known.
	PodLabels map[string]string
}

// SendTestEvents sends an event to Sentry for each ID, from wherever it is called.
func SendTestEvents(ctx context.Context, dsn string, ids []string) error {
	return proof.SendTestEvents(ctx, dsn, ids)
}

// off are the sources that are never asked.
func (o ProofOptions) off() map[proof.Source]bool {
	return map[proof.Source]bool{
		proof.SourcePrometheus: o.Interval == 0, proof.SourceExporter: o.Interval == 0,
		proof.SourceGrafana: o.DashboardInterval == 0, proof.SourceSentry: o.SentryInterval == 0,
	}
}

// proofs adds to a manager what asks beside the passes.
func proofs(
	mgr ctrl.Manager, opts Options, store *proof.Store, asked unwatched, injector *injection.Injector,
) error {
	backends, err := platforms(mgr, opts)
	if err != nil {
		return err
	}
	resolver := platform.Resolver{Reader: mgr.GetClient()}
	platformOf := func(
		ctx context.Context, stack *obsv1.ObservabilityStack,
	) (string, *obsv1.ObservabilityPlatformSpec, error) {
		found, err := resolver.For(ctx, stack)
		return found.Name, found.Spec, err
	}
	cluster := proof.Cluster{
		Live: mgr.GetAPIReader(), Requests: proof.NewRequests(), Namespaces: slices.Sorted(maps.Keys(opts.Namespaces)),
	}
	asked.addresses.Cluster, asked.bindings.Cluster = cluster, cluster
	sources := []struct {
		interval time.Duration
		source   manager.Runnable
	}{
		{opts.Proofs.Interval, &proof.Prometheus{
			Reader: mgr.GetClient(), Store: store, Platform: platformOf, Servers: backends.Prometheus,
			Interval: opts.Proofs.Interval, Python: withBundle(injector),
			Events: mgr.GetEventRecorder("obstack"),
		}},
		{opts.Proofs.Interval, &proof.Exporters{
			Reader: mgr.GetClient(), Cluster: cluster, Store: store, Image: opts.ExporterImage, Interval: opts.Proofs.Interval,
		}},
		{opts.Proofs.Interval, asked.addresses},
		{opts.Proofs.Interval, asked.bindings},
		{opts.Proofs.DashboardInterval, &proof.Grafana{
			Reader: mgr.GetClient(), Cluster: cluster, Store: store, Platform: platformOf, Servers: backends.Grafana,
			Interval: opts.Proofs.DashboardInterval,
		}},
		{opts.Proofs.SentryInterval, &proof.Sentry{
			Reader: mgr.GetClient(), Cluster: cluster, Store: store, Platform: platformOf, Ingest: backends.Ingest,
			Hosts: opts.Proofs.SentryHosts, Interval: opts.Proofs.SentryInterval,
		}},
	}
	for _, s := range sources {
		if s.interval == 0 {
			continue // The Store has those that are off.
		}
		// It runs in the leader alone, as what does not say that it need not be elected.
		if err := mgr.Add(s.source); err != nil {
			return err
		}
	}
	return nil
}

// withBundle finds the workloads that have the bundle for Python: none, if nothing is injected.
func withBundle(
	injector *injection.Injector,
) func(context.Context, *obsv1.ObservabilityStack) ([]*corev1.ObjectReference, error) {
	if injector == nil {
		return func(context.Context, *obsv1.ObservabilityStack) ([]*corev1.ObjectReference, error) { return nil, nil }
	}
	return injector.Reader.Python
}

// operatorPeer is how a NetworkPolicy names the operator's Pods; nil if it cannot.
func operatorPeer(opts Options) *networkingv1.NetworkPolicyPeer {
	if opts.Namespace == "" || len(opts.Proofs.PodLabels) == 0 {
		return nil
	}
	return &networkingv1.NetworkPolicyPeer{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{
			"kubernetes.io/metadata.name": opts.Namespace,
		}},
		PodSelector: &metav1.LabelSelector{MatchLabels: opts.Proofs.PodLabels},
	}
}
