// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"obstack.dev/obstack/controllers"
)

// proofOptions are the flags about proofs: whom the operator asks whether what it wrote works.
type proofOptions struct {
	controllers.ProofOptions

	hosts, labels string // as given
}

func (o *proofOptions) register(fs *flag.FlagSet) {
	fs.DurationVar(&o.Interval, "proof-interval", time.Minute,
		"how often Prometheus and the task exporters are asked whether what was written works; 0: never, else at least 5s")
	fs.DurationVar(&o.DashboardInterval, "dashboard-proof-interval", 10*time.Minute,
		"how often Grafana is asked for the dashboards, and its sidecars are looked for; 0: never, else at least 5s")
	fs.DurationVar(&o.SentryInterval, "sentry-proof-interval", 8*time.Hour,
		"how often Sentry is asked about a DSN that has not changed; 0: about none, else at least 5s")
	fs.StringVar(&o.hosts, "sentry-hosts", "sentry.io,*.sentry.io", "comma-separated `hosts`, HOST or HOST:PORT, that "+
		"may be asked over TLS about DSNs beside those of the platforms' sentry.url; *.DOMAIN is every host below it")
	fs.StringVar(&o.labels, "pod-labels", "", "`labels` of the operator's Pods, KEY=VALUE and separated by commas, by "+
		"which the NetworkPolicies of task exporters let it in; empty: they do not")
}

// parse checks the flags.
func (o *proofOptions) parse() error {
	var errs []error
	for name, interval := range map[string]time.Duration{
		"proof-interval": o.Interval, "dashboard-proof-interval": o.DashboardInterval,
		"sentry-proof-interval": o.SentryInterval,
	} {
		if interval != 0 && interval < 5*time.Second {
			errs = append(errs, fmt.Errorf("--%s=%s: must be 0 or at least 5s", name, interval))
		}
	}
	for host := range strings.SplitSeq(strings.ToLower(o.hosts), ",") {
		if host = strings.TrimSpace(host); host == "" {
			continue
		}
		if !isHost(host) {
			errs = append(errs, fmt.Errorf("--sentry-hosts: %q is no host: write sentry.example.com, *.example.com or HOST:PORT",
				host))
		}
		o.SentryHosts = append(o.SentryHosts, host)
	}
	var err error
	if o.PodLabels, err = labels.ConvertSelectorToLabelsMap(o.labels); err != nil {
		errs = append(errs, fmt.Errorf("--pod-labels=%s: must be KEY=VALUE,KEY=VALUE: %w", o.labels, err))
	}
	return errors.Join(errs...)
}

func isHost(text string) bool {
	name, port, found := strings.Cut(strings.TrimPrefix(text, "*."), ":")
	_, err := strconv.ParseUint(port, 10, 16)
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") == "" && strings.Trim(name, ".-") == name &&
		name != "" && (!found || err == nil)
}
