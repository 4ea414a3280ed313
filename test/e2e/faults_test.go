// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/test/testenv"
)

// fault is something that goes wrong in a cluster where all else works.
type fault struct {
	// name is how docs/faults.md refers to it.
	name string
	// make breaks something and returns what repairs it.
	make func(*testing.T, *cluster) (cure func())
	// condition, reason and message, or a part of it, are what the stack's status has to say.
	condition, reason, message string
}

// faults are tried one after the other.
var faults = []fault{
	{
		"secret-deleted", deleteDSN, obsv1.SentryReady, obsv1.ReasonSecretNotFound,
		"Secret shop-sentry does not exist",
	},
	{
		"wrong-threshold", inSpec(func(spec *obsv1.ObservabilityStackSpec) {
			spec.SLOs[0].Indicator, spec.SLOs[0].Threshold = obsv1.IndicatorLatency, "300ms"
		}), obsv1.SLOsReady, obsv1.ReasonInvalidThreshold,
		"the threshold 300ms is not the boundary of a bucket",
	},
	{
		"not-scraped", scaledToZero("shop", "api"), obsv1.MetricsReady, obsv1.ReasonNotScraped,
		"Prometheus has no target of monitor api",
	},
	{
		"target-down", inMonitor(func(monitor *obsv1.Monitor) { monitor.Path = "/nothing" }),
		obsv1.MetricsReady, obsv1.ReasonTargetDown, "0 of 1 targets of monitor api are up",
	},
	{
		"framework-mismatch", inMonitor(func(monitor *obsv1.Monitor) { monitor.Framework = obsv1.FrameworkDjango }),
		obsv1.MetricsReady, obsv1.ReasonFrameworkMismatch, "set framework: fastapi",
	},
	{
		"key-unknown", dsn(unknownKey), obsv1.SentryReady, obsv1.ReasonKeyRejected, "Sentry rejects the key",
	},
	{
		"key-of-another-project", dsn(otherProject), obsv1.SentryReady, obsv1.ReasonKeyRejected,
		"belongs to another project",
	},
	{
		"events-disabled", withoutEvents, obsv1.TasksReady, obsv1.ReasonEventsDisabled,
		"sends no task events: start it with -E",
	},
	{
		"no-sidecar", scaledToZero("grafana", "grafana"), obsv1.DashboardsReady, obsv1.ReasonNoSidecar,
		"no Pod of the cluster has a sidecar of Grafana",
	},
	{
		"no-data-source", inSpec(func(spec *obsv1.ObservabilityStackSpec) { spec.Dashboards.Datasource = "thanos" }),
		obsv1.DashboardsReady, obsv1.ReasonDatasourceNotFound, "Grafana has no data source with the uid thanos",
	},
	{
		"broker-away", scaledToZero("shop", "redis"), obsv1.TasksReady, obsv1.ReasonRollingOut,
		"the task exporter of broker main is not ready",
	},
	// What changes a target's configuration comes last: Prometheus does not mark the series of a
	// target as stale that it was about to scrape anew, and shows them for five minutes.
	{
		"not-selected", inSpec(func(spec *obsv1.ObservabilityStackSpec) {
			spec.Metrics.Labels = map[string]obsv1.LabelValue{"release": "another"}
		}), obsv1.MetricsReady, obsv1.ReasonNotSelected,
		"monitoring/k8s wants release=kube-prometheus-stack",
	},
	{
		"no-service", inMonitor(func(monitor *obsv1.Monitor) {
			monitor.Selector.MatchLabels = map[string]string{"app": "shop-ap"}
		}), obsv1.MetricsReady, obsv1.ReasonNoService, "monitor api selects no Service: it wants app=shop-ap",
	},
	{
		"port-not-found", inMonitor(func(monitor *obsv1.Monitor) { monitor.Port = "https" }),
		obsv1.MetricsReady, obsv1.ReasonPortNotFound, "no Service of monitor api has a port named https: api has http",
	},
}

// verified are those that kubectl obstack verify has to see as well.
var verified = []string{"secret-deleted", "not-scraped", "target-down", "key-unknown", "events-disabled"}

// TestFaults breaks one thing after the other. The status has to say so in time, and to be Ready
// again in time when it is repaired.
func TestFaults(t *testing.T) {
	c := start(t)
	c.ready(t)
	for _, tc := range faults {
		t.Run(tc.name, func(t *testing.T) {
			cure := tc.make(t, c)
			cured := false
			// What comes after a failure finds the cluster as it should be.
			defer func() {
				if !cured {
					cure()
				}
			}()
			eventually(t, fmt.Sprintf("%s to be False, %s", tc.condition, tc.reason), func(ctx context.Context) string {
				return c.lacksFault(ctx, tc)
			})
			if slices.Contains(verified, tc.name) {
				c.failsToVerify(t, tc.message)
			}
			cure()
			cured = true
			c.ready(t)
		})
	}
}

// ready waits until nothing is wrong with the stack.
func (c *cluster) ready(t *testing.T) {
	t.Helper()
	eventually(t, "the stack to be Ready", func(ctx context.Context) string {
		return c.lacksCondition(ctx, metav1.Condition{Type: obsv1.Ready, Status: metav1.ConditionTrue})
	})
}

// lacksFault says what the status has instead of a fault, in its condition and in Ready.
func (c *cluster) lacksFault(ctx context.Context, f fault) string {
	for _, condition := range []string{f.condition, obsv1.Ready} {
		want := metav1.Condition{Type: condition, Status: metav1.ConditionFalse}
		if condition == f.condition {
			want.Reason = f.reason
		}
		if lacks := c.lacksCondition(ctx, want); lacks != "" {
			return lacks
		}
	}
	stack, err := c.stack(ctx)
	if err != nil {
		return err.Error()
	}
	got := meta.FindStatusCondition(stack.Status.Conditions, f.condition)
	if got == nil || !strings.Contains(got.Message, f.message) {
		return fmt.Sprintf("%+v lacks %q", got, f.message)
	}
	return ""
}

// inSpec makes a fault of a change of the stack.
func inSpec(edit func(*obsv1.ObservabilityStackSpec)) func(*testing.T, *cluster) func() {
	return func(t *testing.T, c *cluster) func() {
		t.Helper()
		stack, err := c.stack(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		before := stack.Spec.DeepCopy()
		testenv.Change(t, c.Client, stack, func(stack *obsv1.ObservabilityStack) { edit(&stack.Spec) })
		return func() {
			testenv.Change(t, c.Client, stack, func(stack *obsv1.ObservabilityStack) { stack.Spec = *before })
		}
	}
}

// inMonitor makes a fault of a change of the stack's monitor.
func inMonitor(edit func(*obsv1.Monitor)) func(*testing.T, *cluster) func() {
	return inSpec(func(spec *obsv1.ObservabilityStackSpec) { edit(&spec.Metrics.Monitors[0]) })
}

// scaledToZero makes a fault of a Deployment without Pods.
func scaledToZero(namespace, name string) func(*testing.T, *cluster) func() {
	return func(t *testing.T, c *cluster) func() {
		t.Helper()
		deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		scale := func(replicas int32) {
			testenv.Change(t, c.Client, deployment, func(d *appsv1.Deployment) { d.Spec.Replicas = &replicas })
		}
		scale(0)
		return func() { scale(1) }
	}
}

// withoutEvents starts the Celery worker without -E, and gives it work: of one that has none it is
// not known whether it would send events.
func withoutEvents(t *testing.T, c *cluster) func() {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	go wait.UntilWithContext(ctx, func(ctx context.Context) {
		_ = c.ask(ctx, shop, http.MethodPost, "/orders/1", nil, nil) // the next one may succeed
	}, time.Second)
	worker := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "worker"}}
	start := func(args ...string) {
		testenv.Change(t, c.Client, worker, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Args = args })
	}
	start()
	return func() {
		stop()
		start("-E")
	}
}

// dsn makes a fault of another DSN in the application's Secret.
func dsn(edit func(c *cluster, dsn *url.URL)) func(*testing.T, *cluster) func() {
	return func(t *testing.T, c *cluster) func() {
		t.Helper()
		changed, err := url.Parse(c.dsn)
		if err != nil {
			t.Fatal(err)
		}
		edit(c, changed)
		secret := c.secret()
		write := func(dsn string) {
			testenv.Change(t, c.Client, secret, func(s *corev1.Secret) { s.Data = map[string][]byte{"dsn": []byte(dsn)} })
		}
		write(changed.String())
		return func() { write(c.dsn) }
	}
}

func unknownKey(_ *cluster, dsn *url.URL) { dsn.User = url.User(strings.Repeat("0", 32)) }

func otherProject(c *cluster, dsn *url.URL) { dsn.Path = c.other[strings.LastIndex(c.other, "/"):] }

// deleteDSN deletes the Secret with the application's DSN.
func deleteDSN(t *testing.T, c *cluster) func() {
	t.Helper()
	testenv.Delete(t, c.Client, c.secret())
	return func() { testenv.Create(t, c.Client, c.secret()) }
}
