// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"bytes"
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"obstack.dev/obstack/internal/brokerurl"
	"obstack.dev/obstack/internal/taskexporter/series"
)

func noEnv(string) string { return "" }

func TestDefaultsAreThePeers(t *testing.T) {
	got, err := ParseOptions([]string{"--broker-url", "redis://localhost"}, noEnv, nil)
	if err != nil {
		t.Fatal(err)
	}
	type defaults struct {
		Listen, Prefix, Queue          string
		Timeout, Purge, Clients        time.Duration
		Runtime, Wait                  []float64
		Events, Native, Client, Worker bool
	}
	want := defaults{
		Listen: "0.0.0.0:9808", Prefix: "celery_", Queue: "celery", Timeout: 300 * time.Second, Purge: 600 * time.Second,
		Clients: 24 * time.Hour,
		Runtime: []float64{.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10},
		Wait:    []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800},
	}
	if diff := cmp.Diff(want, defaults{
		Listen: got.Listen, Prefix: got.Series.Prefix, Queue: got.DefaultQueue, Timeout: got.WorkerTimeout,
		Purge: got.PurgeAfter, Clients: got.PurgeClientsAfter,
		Runtime: got.Series.RuntimeBuckets, Wait: got.Series.WaitBuckets,
		Events: got.EnableEvents, Native: got.Series.Native, Client: got.GenericClientHost, Worker: got.GenericWorkerHost,
	}); diff != "" {
		t.Error(diff)
	}
}

func TestArgumentsAndEnvironmentSayTheSame(t *testing.T) {
	args, err := ParseOptions([]string{
		"--broker-url=sentinel://a;sentinel://b/3", "--broker-transport-option", "master_name=mymaster",
		"--broker-transport-option=global_keyprefix=pfx:",
		"-Qone,two", "--static-label", "env=prod", "--static-label", "team=shop", "--port=1234", "--host", "127.0.0.1",
		"--log-level", "debug",
		"--generic-hostname-task-sent-metric", "--retry-interval", "5", "--accept-content", "json", "--buckets", "1,2,inf",
		"--enable-events",
		"--broker-transport-option", "visibility_timeout=18000", "--broker-ssl-option=ssl_ciphers=x",
	}, noEnv, nil)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"CE_BROKER_URL":              "sentinel://a;sentinel://b/3",
		"CE_BROKER_TRANSPORT_OPTION": "master_name=mymaster global_keyprefix=pfx: visibility_timeout=18000",
		"CE_QUEUES":                  "one,two", "CE_STATIC_LABEL": "env=prod team=shop", "CE_PORT": "1234",
		"CE_HOST": "127.0.0.1", "CE_LOG_LEVEL": "DEBUG",
		"CE_GENERIC_HOSTNAME_TASK_SENT_METRIC": "true", "CE_RETRY_INTERVAL": "5", "CE_BROKER_SSL_OPTION": "ssl_ciphers=x",
		"CE_NATIVE_HISTOGRAMS": "off", "CE_METRIC_PREFIX": "", "CE_ACCEPT_CONTENT": "json", "CE_BUCKETS": "1,2",
		"CE_ENABLE_EVENTS": "1",
	}
	fromEnv, err := ParseOptions(nil, func(name string) string { return env[name] }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(args, fromEnv, cmp.AllowUnexported(brokerurl.Address{}),
		cmpopts.IgnoreTypes(&tls.Config{})); diff != "" {
		t.Error(diff)
	}
	if len(args.Warnings) != 4 {
		t.Errorf("warnings = %q, want four", args.Warnings)
	}
	want := []series.Label{{Name: "env", Value: "prod"}, {Name: "team", Value: "shop"}}
	if diff := cmp.Diff(want, args.Series.Static); diff != "" {
		t.Error(diff)
	}
}

func TestAnArgumentWinsOverItsVariable(t *testing.T) {
	got, err := ParseOptions([]string{"--broker-url", "redis://localhost", "--port", "1"}, func(name string) string {
		return map[string]string{"CE_PORT": "2", "CE_HOST": "::1"}[name]
	}, nil)
	if err != nil || got.Listen != "[::1]:1" {
		t.Errorf("listen on %q, error %v", got.Listen, err)
	}
}

func TestSpaceAroundTheURLOfASecretIsCutOff(t *testing.T) {
	for _, text := range []string{"amqp://u:p@mq/shop\n", " amqp://u:p@mq/shop\r\n", "amqp://u:p@mq/shop \t"} {
		got, err := ParseOptions(nil, func(name string) string { return map[string]string{"CE_BROKER_URL": text}[name] }, nil)
		if err != nil || got.Address.VirtualHost != "shop" || got.Address.Password != "p" {
			t.Errorf("%q: options %+v, error %v", text, got, err)
		}
	}
	if _, err := ParseOptions([]string{"--broker-url", " \n"}, noEnv, nil); err == nil || !strings.Contains(err.Error(),
		"the URL is empty") {
		t.Errorf("error = %v, want one about an empty URL", err)
	}
}

func TestAURLWhereNoneBelongsIsNotRepeated(t *testing.T) {
	for _, args := range [][]string{
		{"redis://u:secret@h/0"}, {"--brokerurl=redis://u:secret@h/0"}, {"--redis://u:secret@h"},
	} {
		_, err := ParseOptions(args, noEnv, nil)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: error = %v", args, err)
		}
	}
}

func TestSentinelPasswordOfTheEnvironmentWins(t *testing.T) {
	env := map[string]string{
		"CE_BROKER_URL": "sentinel://a", "CE_SENTINEL_PASSWORD": "p@ss word",
		"CE_BROKER_TRANSPORT_OPTION": `master_name=m sentinel_kwargs={"username":"u","password":"other"}`,
	}
	got, err := ParseOptions(nil, func(name string) string { return env[name] }, nil)
	if err != nil || got.Transport.SentinelPassword != "p@ss word" || got.Transport.SentinelUser != "u" {
		t.Errorf("options %+v, error %v", got, err)
	}
}

func TestSentinelPasswordOfAFileLosesTheLineFeedAlone(t *testing.T) {
	for given, want := range map[string]string{" p@ss \n": " p@ss ", "p@ss\r\n": "p@ss", "p@ss": "p@ss", "\n": ""} {
		env := map[string]string{
			"CE_BROKER_URL": "sentinel://a", EnvSentinelPassword: given,
			"CE_BROKER_TRANSPORT_OPTION": "master_name=m",
		}
		got, err := ParseOptions(nil, func(name string) string { return env[name] }, nil)
		if err != nil || got.Transport.SentinelPassword != want {
			t.Errorf("%q: options %+v, error %v; want the password %q", given, got, err, want)
		}
	}
}

func TestBadOptionsAreRefusedByName(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"no broker":      {nil, "--broker-url (CE_BROKER_URL) is missing; accepted are redis://"},
		"unknown":        {[]string{"--colour"}, `unknown flag --colour`},
		"positional":     {[]string{"redis://x"}, "an argument is no option"},
		"value missing":  {[]string{"--port"}, "--port: expected int value"},
		"port":           {[]string{"--port", "65536"}, "--port: want a number from 0 to 65535"},
		"buckets":        {[]string{"--buckets", "1,x"}, `--buckets: "x" is not a number`},
		"buckets fall":   {[]string{"--buckets", "2,1"}, "--buckets: the bounds do not ascend"},
		"no buckets":     {[]string{"--queue-wait-buckets", "inf"}, "--queue-wait-buckets: want 1 to 200 finite bounds"},
		"level":          {[]string{"--log-level", "LOUD"}, "--log-level: want DEBUG, INFO, WARNING or ERROR"},
		"timeout":        {[]string{"--worker-timeout=-1"}, "--worker-timeout: want a number of seconds"},
		"interval":       {[]string{"--inspect-interval", "0"}, "--inspect-interval: want at least 1s"},
		"prefix":         {[]string{"--metric-prefix", "my-"}, "--metric-prefix: want letters"},
		"label":          {[]string{"--static-label", "a-b=1"}, `--static-label: "a-b=1": want name=value`},
		"reserved label": {[]string{"--static-label", "hostname=1"}, `the label "hostname" is in use`},
		"repeated label": {[]string{"--static-label", "a=1", "--static-label", "a=2"}, `the label "a" is given twice`},
		"transport":      {[]string{"--broker-transport-option", "x"}, "--broker-transport-option: want NAME=VALUE"},
		"steps": {
			[]string{"--broker-transport-option", "priority_steps=3"}, "transport option priority_steps: want a list",
		},
		"TLS option":   {[]string{"--broker-ssl-option", "x"}, "--broker-ssl-option: want NAME=VALUE"},
		"login method": {[]string{"--broker-transport-option", "login_method=EXTERNAL"}, "login_method EXTERNAL needs"},
		"no number":    {[]string{"--port", "x"}, `--port: expected a valid 64 bit int but got "x"`},
		"web file":     {[]string{"--web.config.file", "/does/not/exist"}, "--web.config.file: open /does/not/exist"},
		"backlog":      {[]string{"--max-backlog-bytes", "1"}, "--max-backlog-bytes: want a number from 65536"},
		"TLS file":     {[]string{"--broker-ssl-option", "ca_certs=/does/not/exist"}, "--broker-ssl-option: read ca_certs"},
		"switch":       {[]string{"--enable-events=maybe"}, "--enable-events: bool value must be true"},
		"scheme":       {[]string{"--broker-url", "sqs://x"}, "sqs:// is not supported"},
		"sentinel":     {[]string{"--broker-url", "sentinel://x"}, "master_name"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			args := tc.args
			if name != "no broker" {
				args = append([]string{"--broker-url", "redis://localhost"}, args...)
			}
			_, err := ParseOptions(args, noEnv, nil)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error = %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestHelpNamesEveryOption(t *testing.T) {
	var help bytes.Buffer
	if _, err := ParseOptions([]string{"--help"}, noEnv, &help); !errors.Is(err, ErrHelp) {
		t.Fatal(err)
	}
	// What the exporter took before its options were kong's, and takes for ever.
	for option := range strings.FieldsSeq("broker-url broker-transport-option broker-ssl-option accept-content " +
		"retry-interval host port " +
		"buckets queue-wait-buckets log-level worker-timeout purge-offline-worker-metrics " +
		"generic-hostname-task-sent-metric " +
		"generic-hostname-worker-task-metric queues metric-prefix default-queue-name static-label event-exchange " +
		"enable-events " +
		"inspect-interval queue-interval purge-idle-client-metrics native-histograms max-series max-tasks max-label-length " +
		"max-backlog-bytes") {
		if !strings.Contains(help.String(), "--"+option) ||
			!strings.Contains(help.String(), variable(option)) || helpTexts[option] == "" {
			t.Errorf("--%s is not documented", option)
		}
	}
}

func TestControlExchangeAndLoginMethod(t *testing.T) {
	got, err := ParseOptions([]string{"--broker-url", "amqp://h?login_method=AMQPLAIN", "--control-exchange", "shop"},
		noEnv, nil)
	if err != nil || got.Transport.ControlExchange != "shop" || got.Transport.LoginMethod != "AMQPLAIN" {
		t.Errorf("options %+v, error %v", got, err)
	}
}
