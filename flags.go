// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// options are the flags, checked.
type options struct {
	metricsAddress          string
	metricsSecure           bool
	metricsCertDir          string
	healthAddress           string
	pprofAddress            string
	leaderElect             bool
	leaderElectionNamespace string
	namespace               string
	watchNamespaces         []string
	maxConcurrentReconciles int
	maxConcurrentRollouts   int
	exporterImage           string
	resyncPeriod            time.Duration
	injectionPolicy         string
	webhook                 webhookOptions
	proofs                  proofOptions
	logFormat               string
	logLevel                zapcore.Level
	showVersion             bool
}

// parseFlags reads the command line. What is wrong with it is said with the
// name of the flag and what it accepts.
func parseFlags(args []string, output io.Writer) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("obstack", flag.ContinueOnError)
	fs.SetOutput(output)
	config.RegisterFlags(fs)
	fs.StringVar(&o.metricsAddress, "metrics-bind-address", ":8443",
		"`address` on which /metrics is served; 0 turns it off")
	fs.BoolVar(&o.metricsSecure, "metrics-secure", true, "serve /metrics over TLS, to clients that the cluster "+
		"authenticates and authorizes (get on the non-resource URL /metrics)")
	fs.StringVar(&o.metricsCertDir, "metrics-cert-dir", "",
		"`folder` with tls.crt and tls.key for /metrics, which may come later; empty: a self-signed certificate is "+
			"made at every start")
	fs.StringVar(&o.healthAddress, "health-probe-bind-address", ":8081",
		"`address` on which /healthz and /readyz are served; 0 turns them off")
	fs.StringVar(&o.pprofAddress, "pprof-bind-address", "0",
		"`address` on which Go's profiles are served under /debug/pprof; 0 turns them off")
	fs.BoolVar(&o.leaderElect, "leader-elect", false, "let one of several replicas work at a time")
	fs.StringVar(&o.leaderElectionNamespace, "leader-election-namespace", "",
		"`namespace` of the leader election's Lease; the operator's own if it is empty")
	fs.StringVar(&o.namespace, "namespace", podNamespace(), "`namespace` of the Secrets with the credentials of "+
		"ObservabilityPlatforms; that of obstack's Pod by default")
	namespaces := fs.String("watch-namespaces", "",
		"comma-separated `namespaces` whose stacks are kept; all if it is empty")
	fs.IntVar(&o.maxConcurrentReconciles, "max-concurrent-reconciles", 8,
		"how many stacks are worked on at a time, at least 1")
	fs.IntVar(&o.maxConcurrentRollouts, "max-concurrent-rollouts", 20,
		"how many workloads of all stacks together roll out at a time because of new settings, at least 1")
	fs.StringVar(&o.exporterImage, "exporter-image", "ghcr.io/obstack/obstack:"+version,
		"`image` of the task exporter, run as /task-exporter, where a broker names none")
	fs.DurationVar(&o.resyncPeriod, "resync-period", 10*time.Hour,
		"how often every stack is looked at again although nothing changed; at least 10s")
	fs.StringVar(&o.injectionPolicy, "injection-policy", "", "`name` of the MutatingAdmissionPolicy, and of its binding, "+
		"by which the API server injects settings into Pods; empty if there is none")
	o.webhook.register(fs)
	o.proofs.register(fs)
	fs.StringVar(&o.logFormat, "log-format", "json", "`format` of the log: json or console")
	level := fs.String("log-level", "info", "least `level` that is logged: debug, info or error")
	fs.BoolVar(&o.showVersion, "version", false, "print the version and exit")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: obstack takes flags only, see --help", fs.Arg(0))
	}
	o.watchNamespaces = strings.FieldsFunc(*namespaces, func(r rune) bool { return r == ',' || r == ' ' })
	return o, errors.Join(o.check(*level), o.webhook.parse(), o.proofs.parse())
}

func (o *options) check(level string) error {
	levels := map[string]zapcore.Level{"debug": zapcore.DebugLevel, "info": zapcore.InfoLevel, "error": zapcore.ErrorLevel}
	var known bool
	if o.logLevel, known = levels[level]; !known {
		return fmt.Errorf("--log-level=%s: must be debug, info or error", level)
	}
	if o.logFormat != "json" && o.logFormat != "console" {
		return fmt.Errorf("--log-format=%s: must be json or console", o.logFormat)
	}
	if o.maxConcurrentReconciles < 1 {
		return fmt.Errorf("--max-concurrent-reconciles=%d: must be at least 1", o.maxConcurrentReconciles)
	}
	if o.maxConcurrentRollouts < 1 {
		return fmt.Errorf("--max-concurrent-rollouts=%d: must be at least 1", o.maxConcurrentRollouts)
	}
	if o.resyncPeriod < 10*time.Second {
		return fmt.Errorf("--resync-period=%s: must be at least 10s", o.resyncPeriod)
	}
	if o.exporterImage == "" {
		return fmt.Errorf("--exporter-image: must name an image, such as ghcr.io/obstack/obstack:%s", version)
	}
	return o.checkNames()
}

// checkNames are those of objects of the cluster.
func (o *options) checkNames() error {
	if problems := validation.IsDNS1123Subdomain(o.injectionPolicy); o.injectionPolicy != "" && len(problems) > 0 {
		return fmt.Errorf("--injection-policy=%s: must be the name of a MutatingAdmissionPolicy: %s", o.injectionPolicy,
			strings.Join(problems, "; "))
	}
	return o.checkNamespaces()
}

func (o *options) checkNamespaces() error {
	if problems := validation.IsDNS1123Label(o.namespace); o.namespace != "" && len(problems) > 0 {
		return fmt.Errorf("--namespace=%s: must be the name of a namespace: %s", o.namespace, strings.Join(problems, "; "))
	}
	for _, namespace := range o.watchNamespaces {
		if problems := validation.IsDNS1123Label(namespace); len(problems) > 0 {
			return fmt.Errorf("--watch-namespaces: %q is not the name of a namespace: %s", namespace,
				strings.Join(problems, "; "))
		}
	}
	return nil
}

// podNamespace is where the Pod runs; empty outside of a cluster.
func podNamespace() string {
	content, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(content))
}

// namespaces to cache; nil means all.
func (o *options) namespaces() map[string]cache.Config {
	if len(o.watchNamespaces) == 0 {
		return nil
	}
	configs := map[string]cache.Config{}
	for _, namespace := range o.watchNamespaces {
		configs[namespace] = cache.Config{}
	}
	return configs
}

func (o *options) logging(output io.Writer) []zap.Opts {
	format := zap.JSONEncoder(timestamps)
	if o.logFormat == "console" {
		format = zap.ConsoleEncoder(timestamps)
	}
	return []zap.Opts{
		zap.WriteTo(output), zap.Level(o.logLevel), format,
		// Our errors say where they come from; a stack trace with each would bury them.
		zap.StacktraceLevel(zapcore.DPanicLevel),
	}
}

func timestamps(config *zapcore.EncoderConfig) {
	config.EncodeTime = zapcore.RFC3339NanoTimeEncoder
}
