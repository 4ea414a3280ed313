// SPDX-License-Identifier: Apache-2.0

// Command obstack is the operator: it keeps the cluster as its
// ObservabilityStacks say.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers"
	"obstack.dev/obstack/internal/backoff"
	"obstack.dev/obstack/internal/failures"
	"obstack.dev/obstack/internal/watchdog"
)

// version is set by the linker for releases.
var version = "dev"

const (
	// passTimeout bounds one pass over one stack.
	passTimeout = 2 * time.Minute
	// stuckAfter is when a pass that ignores its timeout makes the process unhealthy.
	stuckAfter = 5 * time.Minute
	// memoryRatio is the share of the container's memory limit that Go may fill
	// before it collects garbage harder.
	memoryRatio = 0.9
	// testEvent is the word before the IDs of events that are to be sent to SENTRY_DSN, instead of
	// being the operator: kubectl obstack verify runs the image so in a namespace.
	testEvent = "test-event"
)

func main() {
	if err := run(ctrl.SetupSignalHandler(), os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "obstack:", err)
		os.Exit(1)
	}
}

// run is the program: it returns when ctx ends or something fails for good.
func run(ctx context.Context, args []string, output io.Writer) error {
	if len(args) > 0 && args[0] == testEvent {
		return controllers.SendTestEvents(ctx, os.Getenv("SENTRY_DSN"), args[1:])
	}
	opts, err := parseFlags(args, output)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if opts.showVersion {
		_, err := fmt.Fprintln(output, "obstack", version)
		return err
	}
	log := zap.New(opts.logging(output)...)
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	// Without a limit of the container there is nothing to honour.
	if _, err := memlimit.Set(memlimit.WithRatio(memoryRatio)); err != nil {
		log.V(1).Info("Found no memory limit to honour", "reason", err.Error())
	}
	reporter, err := failures.NewReporter(os.Getenv, version)
	if err != nil {
		return err
	}
	defer reporter.Flush()

	restConfig, err := config.GetConfig()
	if err != nil {
		return fmt.Errorf("find the cluster: %w; run inside a cluster, or set --kubeconfig or KUBECONFIG", err)
	}
	mgr, err := newManager(restConfig, opts)
	if err != nil {
		return err
	}
	if err := setup(ctx, mgr, opts, reporter); err != nil {
		return err
	}
	log.Info("Starting obstack", "version", version, "exporterImage", opts.exporterImage)
	return mgr.Start(ctx)
}

func newManager(restConfig *rest.Config, opts *options) (ctrl.Manager, error) {
	// The API server's priority and fairness bounds us; a second limit in the
	// client would only make a restart slow. When it says that it is too much, all wait.
	restConfig.QPS = -1
	restConfig.Wrap(backoff.Together())
	restConfig.UserAgent = "obstack/" + version

	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(monitoringv1.AddToScheme(scheme))
	utilruntime.Must(obsv1.AddToScheme(scheme))

	cacheOptions := controllers.CacheOptions()
	cacheOptions.DefaultNamespaces, cacheOptions.SyncPeriod = opts.namespaces(), &opts.resyncPeriod

	mgr, err := ctrl.NewManager(restConfig, ctrl.Options{
		Scheme:                  scheme,
		Cache:                   cacheOptions,
		Controller:              ctrlconfig.Controller{ReconciliationTimeout: passTimeout},
		Metrics:                 opts.metrics(),
		HealthProbeBindAddress:  opts.healthAddress,
		PprofBindAddress:        opts.pprofAddress,
		LeaderElection:          opts.leaderElect,
		LeaderElectionID:        obsv1.LeaderLease,
		LeaderElectionNamespace: opts.leaderElectionNamespace,
		// The process ends right after the manager, so the lease may go at once.
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return nil, fmt.Errorf("make the manager: %w", err)
	}
	return mgr, nil
}

func (o *options) metrics() metricsserver.Options {
	m := metricsserver.Options{BindAddress: o.metricsAddress, SecureServing: o.metricsSecure}
	if o.metricsSecure {
		m.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	if o.metricsCertDir != "" {
		m.TLSOpts = []func(*tls.Config){func(config *tls.Config) { config.GetCertificate = o.metricsCertificate }}
	}
	return m
}

// metricsCertificate reads the certificate of /metrics for each connection, of which there are
// few: it may come after the start, as the webhooks' does, and be renewed at any time.
func (o *options) metricsCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	dir := o.metricsCertDir
	certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, certFile), filepath.Join(dir, keyFile))
	if err != nil {
		return nil, fmt.Errorf("--metrics-cert-dir: %w", err)
	}
	return &certificate, nil
}

// setup registers the controllers and the probes.
func setup(ctx context.Context, mgr ctrl.Manager, opts *options, reporter *failures.Reporter) error {
	dog := watchdog.New(stuckAfter, time.Now)
	err := controllers.Setup(ctx, mgr, controllers.Options{
		ExporterImage:           opts.exporterImage,
		MaxConcurrentReconciles: opts.maxConcurrentReconciles,
		MaxConcurrentRollouts:   opts.maxConcurrentRollouts,
		Webhooks:                opts.webhook.enabled,
		Policy:                  opts.injectionPolicy,
		Namespace:               opts.namespace,
		Namespaces:              opts.namespaces(),
		Proofs:                  opts.proofs.ProofOptions,
		Wrap: func(r reconcile.Reconciler) reconcile.Reconciler {
			return dog.Wrap(reporter.Wrap(r))
		},
	})
	if err != nil {
		return err
	}
	return errors.Join(
		addWebhooks(ctx, mgr, opts),
		mgr.AddHealthzCheck("passes", func(*http.Request) error { return dog.Check() }),
		mgr.AddReadyzCheck("caches", cachesSynced(mgr.GetCache())),
	)
}

// cachesSynced reports whether everything that is watched has been read once.
func cachesSynced(c cache.Cache) healthz.Checker {
	return func(req *http.Request) error {
		ctx, cancel := context.WithTimeout(req.Context(), time.Second)
		defer cancel()
		if !c.WaitForCacheSync(ctx) {
			return errors.New(
				"the caches are not filled yet: the API server is slow or away, or the operator may not list what it watches")
		}
		return nil
	}
}
