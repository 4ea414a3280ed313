// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"regexp"
	"strings"
	"testing"
)

func TestParseFlagsRefusesBadFlagsByName(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--log-level=loud"}, "--log-level=loud: must be debug, info or error"},
		{[]string{"--log-format=xml"}, "--log-format=xml: must be json or console"},
		{[]string{"--max-concurrent-rollouts=0"}, "--max-concurrent-rollouts=0: must be at least 1"},
		{[]string{"--max-concurrent-reconciles=0"}, "--max-concurrent-reconciles=0: must be at least 1"},
		{[]string{"--resync-period=1s"}, "--resync-period=1s: must be at least 10s"},
		{[]string{"--injection-policy=Pods"}, "--injection-policy=Pods: must be the name of a MutatingAdmissionPolicy"},
		{[]string{"--exporter-image="}, "--exporter-image: must name an image"},
		{[]string{"--watch-namespaces=shop,No_Such"}, `--watch-namespaces: "No_Such" is not the name of a namespace`},
		{[]string{"--namespace=No_Such"}, "--namespace=No_Such: must be the name of a namespace"},
		{
			[]string{"--webhook-bind-address=9443"},
			"--webhook-bind-address=9443: must be HOST:PORT or :PORT with a port from 1 to 65535, or 0 for no webhooks",
		},
		{[]string{"--webhook-bind-address=:0"}, "--webhook-bind-address=:0: must be"},
		{[]string{"--webhook-bind-address=:65536"}, "--webhook-bind-address=:65536: must be"},
		{[]string{"--webhook-bind-address=:https"}, "--webhook-bind-address=:https: must be"},
		{[]string{"--webhook-bind-address="}, "--webhook-bind-address=: must be"},
		{[]string{"--webhook-bind-address=:9443", "--webhook-cert-dir="}, "--webhook-cert-dir: must name a folder"},
		{
			[]string{"--webhook-bind-address=:9443", "--webhook-cert-secret=certs"},
			"--webhook-cert-secret=certs: must be NAMESPACE/NAME",
		},
		{
			[]string{"--webhook-bind-address=:9443", "--webhook-cert-secret=a/b/c"},
			"--webhook-cert-secret=a/b/c: must be NAMESPACE/NAME",
		},
		{
			[]string{"--webhook-bind-address=:9443", "--webhook-cert-secret=a/B"},
			"--webhook-cert-secret=a/B: must be NAMESPACE/NAME",
		},
		{[]string{"--webhook-bind-address=:9443", "--webhook-cert-secret=a/b"}, "--webhook-service=: must be NAMESPACE/NAME"},
		{
			[]string{"--webhook-bind-address=:9443", "--webhook-cert-secret=a/b", "--webhook-service=/c"},
			"--webhook-service=/c: must be NAMESPACE/NAME",
		},
		{
			[]string{
				"--webhook-bind-address=:9443", "--webhook-cert-secret=a/b", "--webhook-service=a/c", "--webhook-configuration=",
			},
			"--webhook-configuration=: must be the name of a MutatingWebhookConfiguration",
		},
		{[]string{"--proof-interval=1s"}, "--proof-interval=1s: must be 0 or at least 5s"},
		{[]string{"--dashboard-proof-interval=-1m"}, "--dashboard-proof-interval=-1m0s: must be 0 or at least 5s"},
		{[]string{"--sentry-proof-interval=1ms"}, "--sentry-proof-interval=1ms: must be 0 or at least 5s"},
		{[]string{"--sentry-hosts=https://sentry.io"}, `--sentry-hosts: "https://sentry.io" is no host`},
		{[]string{"--sentry-hosts=sentry.io,*"}, `--sentry-hosts: "*" is no host`},
		{[]string{"--sentry-hosts=*.*.io"}, `--sentry-hosts: "*.*.io" is no host`},
		{[]string{"--sentry-hosts=sentry.io:https"}, `--sentry-hosts: "sentry.io:https" is no host`},
		{[]string{"--pod-labels=app in (obstack)"}, "--pod-labels=app in (obstack): must be KEY=VALUE,KEY=VALUE"},
		{[]string{"serve"}, `unexpected argument "serve"`},
		{[]string{"--no-such-flag"}, "flag provided but not defined"},
	} {
		err := run(t.Context(), tc.args, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: error %v, want %q", tc.args, err, tc.want)
		}
	}
}

// The other webhook flags are then of no concern, whatever they say.
func TestParseFlagsLeavesInjectionOff(t *testing.T) {
	for _, args := range [][]string{nil, {"--webhook-bind-address=0", "--webhook-cert-secret=nonsense"}} {
		opts, err := parseFlags(args, io.Discard)
		if err != nil || opts.webhook.enabled {
			t.Errorf("%v: error %v, injection %t, want it off", args, err, opts.webhook.enabled)
		}
	}
	opts, err := parseFlags([]string{"--webhook-bind-address=127.0.0.1:9443"}, io.Discard)
	if err != nil || !opts.webhook.enabled || opts.webhook.host != "127.0.0.1" || opts.webhook.port != 9443 {
		t.Errorf("error %v, webhooks %+v, want them on 127.0.0.1:9443", err, opts)
	}
}

func TestRunHelpDocumentsEveryFlag(t *testing.T) {
	output := &logs{}
	if err := run(t.Context(), []string{"--help"}, output); err != nil {
		t.Fatal(err)
	}
	if undocumented := regexp.MustCompile(`(?m)^  -\S+( \S+)?\n(  -|\z)`).FindString(output.String()); undocumented != "" {
		t.Errorf("a flag has no description: %q", undocumented)
	}
	if !strings.Contains(output.String(), "-watch-namespaces") {
		t.Errorf("help = %s", output)
	}
}

func TestRunVersion(t *testing.T) {
	output := &logs{}
	if err := run(t.Context(), []string{"--version"}, output); err != nil || output.String() != "obstack dev\n" {
		t.Errorf("--version: %q, %v", output, err)
	}
}

func TestRunRefusesABadSentryDSN(t *testing.T) {
	t.Setenv("SENTRY_DSN", "nonsense")
	if err := run(t.Context(), nil, io.Discard); err == nil || !strings.Contains(err.Error(), "SENTRY_DSN") {
		t.Errorf("error = %v, want one that names SENTRY_DSN", err)
	}
}

func TestRunWithoutAClusterSaysWhatToDo(t *testing.T) {
	t.Setenv("KUBECONFIG", "/nonexistent")
	err := run(t.Context(), []string{"--log-format=console"}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "--kubeconfig") {
		t.Errorf("error = %v, want one that names --kubeconfig", err)
	}
}
