// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"slices"
	"testing"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/internal/brokerurl"
)

// TestURLsOfTheCRDAreThoseOfTheExporter: what the exporter reads can be written into a stack, and
// what it does not read is refused by the API server, or else by the builder.
func TestURLsOfTheCRDAreThoseOfTheExporter(t *testing.T) {
	const stackYAML = `
apiVersion: obstack.dev/v1alpha1
kind: ObservabilityStack
metadata: {name: shop, namespace: shop}
spec: {tasks: {brokers: [{name: main, url: %q}]}}
`
	accepted := slices.Clone(brokerurl.Schemes())
	for _, scheme := range slices.Concat(accepted, []string{
		"", "x", "http", "https", "REDIS", "redis+", "xredis", "sqs", "memory", "kafka", "mongodb", "amqpss",
	}) {
		want := slices.Contains(accepted, scheme)
		_, problems := tryToAdmit(t, scheme, fmt.Appendf(nil, stackYAML, scheme+":///0"))
		if got := len(problems) == 0; got != want {
			t.Errorf("the API server takes %s://: %t, want %t: %v", scheme, got, want, problems.ToAggregate())
		}
		if _, err := brokerurl.Parse(scheme + ":///0"); (err == nil) != want {
			t.Errorf("the exporter reads %s:///0: %v, want %t", scheme, err, want)
		}
	}
	for url, reason := range map[string]string{
		"sentinel://a:26379;sentinel://b:26379/0": obsv1.ReasonRollingOut, "amqp://guest@rabbit//": obsv1.ReasonRollingOut,
		"redis+socket:///run/redis.sock?virtual_host=1": obsv1.ReasonRollingOut,
		"redis://redis:port":                            obsv1.ReasonInvalidURL,
		"redis://a;amqp://b":                            obsv1.ReasonInvalidURL,
	} {
		stack := admit(t, url, fmt.Appendf(nil, stackYAML, url))
		if out := tasks(stack, Inputs{}); out.Reason != reason {
			t.Errorf("%s: %+v, want %s", url, conditionOf(out), reason)
		}
	}
}
