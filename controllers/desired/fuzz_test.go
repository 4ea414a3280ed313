// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"strings"
	"testing"

	sentrygo "github.com/getsentry/sentry-go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// secretStack refers to one Secret in each place that can.
func secretStack(value string) (*obsv1.ObservabilityStack, Inputs) {
	selector := obsv1.SecretKeySelector{Name: "shop", Key: "value"}
	source, ref := &obsv1.SecretKeySource{SecretKeyRef: selector}, secretKey(selector)
	stack := &obsv1.ObservabilityStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"},
		Spec: obsv1.ObservabilityStackSpec{
			Sentry: &obsv1.SentrySpec{DSNFrom: source},
			Tasks:  &obsv1.TasksSpec{Brokers: []obsv1.Broker{{Name: "main", URLFrom: source}}},
		},
	}
	secret := &corev1.Secret{Data: map[string][]byte{ref.Key: []byte(value)}}
	held := NewValue(Ref{ref, UseSetting | UseBrokerURL}, secret, secret.Data, Source{})
	in := Inputs{
		ExporterImage: "obstack.example/obstack:v1.0.0",
		Values:        map[KeyRef]Value{ref: held},
	}
	in.Settings = NewSettings(stack, in.Values, nil)
	return stack, in
}

// FuzzSecretValue: whatever a Secret holds becomes a condition, never a panic,
// and is never quoted.
func FuzzSecretValue(f *testing.F) {
	for _, seed := range []string{
		"", " \n", "https://0123456789abcdef@o1.ingest.example/42",
		"https://0123456789abcdef:fedcba9876543210@sentry.example:9000/path/42\n",
		"https://sentry.example/42", "https://key@sentry.example/shop", "http://", "://", "%zz", "https://k@h/1\x00",
		"redis://:correct-horse@redis:6379/0", "rediss://redis", "sentinel://a:26379;sentinel://b:26379",
		"redis+socket:///var/run/redis.sock", "amqp://guest:guest@rabbit//", "amqps://r", "REDIS://redis", " redis://redis",
		"kafka://k:9092",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		stack, in := secretStack(value)
		checkMessages(t, stack, in, value)
		for _, component := range Components {
			out := build(component, stack, in)
			switch out.Reason {
			case obsv1.ReasonInvalidDSN, obsv1.ReasonInvalidURL:
				if !out.Hold || len(out.Objects) > 0 {
					t.Errorf("%s: bad input must keep what exists and make nothing: %+v", component.Name, out)
				}
			}
		}
		checkDSN(t, stack, in, value)
	})
}

// checkMessages: of the same outcome, the condition is the same whatever the
// value is. To look for the value itself would find words of our own in it.
func checkMessages(t *testing.T, stack *obsv1.ObservabilityStack, in Inputs, value string) {
	t.Helper()
	type outcome struct{ component, reason, message string }
	known := map[outcome]bool{}
	// A broker's URL may be named by its scheme, with each thing that can be wrong with it.
	scheme, _, _ := strings.Cut(strings.TrimSpace(value), "://")
	for _, typical := range []string{
		"", "https://0123456789abcdef@sentry.example/42", "redis://redis", "neither", "redis://a;amqp://b",
		scheme + "://", scheme + "://h/@", scheme + "://h?%zz", scheme + "://h:x", scheme + "://h/x", scheme + "://x",
	} {
		stack, in := secretStack(typical)
		for _, component := range Components {
			out := build(component, stack, in)
			known[outcome{component.Name, out.Reason, withoutHash(out, stack, in)}] = true
		}
	}
	for _, component := range Components {
		out := build(component, stack, in)
		if !known[outcome{component.Name, out.Reason, withoutHash(out, stack, in)}] {
			t.Errorf("%s: the message depends on the Secret's value %q: %s", component.Name, value, out.Message)
		}
	}
}

// withoutHash is a message without the name of the version, which changes with the value.
func withoutHash(out Output, stack *obsv1.ObservabilityStack, in Inputs) string {
	if in.settings(stack).Hash(own) == "" {
		return out.Message
	}
	return strings.ReplaceAll(out.Message, in.settings(stack).Hash(own), "HASH")
}

// checkDSN: a DSN reaches the workloads only if the SDKs will take it.
func checkDSN(t *testing.T, stack *obsv1.ObservabilityStack, in Inputs, value string) {
	t.Helper()
	dsn, problem := sentryDSN(projects(stack.Spec.Sentry)[0], in.Values)
	if problem != nil || dsn == "" {
		return
	}
	parsed, err := sentrygo.NewDsn(dsn)
	if err != nil || parsed.GetHost() == "" || strings.TrimSpace(value) != dsn {
		t.Errorf("%q was taken as a DSN", value)
	}
}

// FuzzAlertNumbers: thresholds and durations are checked by CEL, but builders
// must not panic on what is not, such as a stack written before a rule existed.
func FuzzAlertNumbers(f *testing.F) {
	f.Add("0.05", "30s", "1s")
	f.Add(".2", "1h30m", "500ms")
	f.Add("NaN", "", "-1s")
	f.Add("1e400", "9999999h", "x")
	f.Fuzz(func(t *testing.T, share, interval, threshold string) {
		stack := &obsv1.ObservabilityStack{Spec: obsv1.ObservabilityStackSpec{
			Metrics: &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{{Name: "api", Interval: obsv1.Duration(interval)}}},
			Alerts: &obsv1.AlertsSpec{
				Latency:    obsv1.LatencyAlert{Threshold: obsv1.Duration(threshold)},
				ErrorRatio: obsv1.RatioAlert{Threshold: share},
			},
		}}
		if out := alerts(stack, Inputs{}); len(out.Objects) != 1 {
			t.Errorf("got %d objects, want one PrometheusRule", len(out.Objects))
		}
	})
}

// FuzzSLO: an SLO that CEL would refuse becomes rules or a condition, never a panic.
func FuzzSLO(f *testing.F) {
	f.Add("availability", "99.9", "", "", "30s")
	f.Add("latency", "99", "500ms", "", "5m")
	f.Add("queue-wait", "0", "1.5s", "--queue-wait-buckets=1.5,inf", "")
	f.Add("task-runtime", "NaN", "-1s", "--buckets=,NaN,1e400", "x")
	f.Add("task-success", "1e9", "1h", "--metric-prefix=", "0s")
	f.Fuzz(func(t *testing.T, indicator, objective, threshold, arg, interval string) {
		stack := &obsv1.ObservabilityStack{Spec: obsv1.ObservabilityStackSpec{
			Metrics: &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{{Name: "api", Interval: obsv1.Duration(interval)}}},
			Tasks:   &obsv1.TasksSpec{Brokers: []obsv1.Broker{{Name: "main", Args: []string{arg}}}},
			SLOs: []obsv1.SLO{{Name: "slo", Monitor: "api", Broker: "main", Indicator: obsv1.Indicator(indicator),
				Objective: objective, Threshold: obsv1.Duration(threshold)}},
		}}
		out := slos(stack, Inputs{})
		if held := out.Hold && out.Status == metav1.ConditionFalse; held == (len(out.Objects) == 1) {
			t.Errorf("want either one PrometheusRule or the one of before: %+v", out)
		}
	})
}
