// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// plain is an application with not one line of observability, and its stack and namespace.
const plain = "plain"

var plainService = service{plain, "api", "http"}

// TestPythonWithoutCode gives an application all of it by one stack and an annotation.
func TestPythonWithoutCode(t *testing.T) {
	c := start(t)
	t.Cleanup(func() {
		// The stack goes before its namespace, in which nothing could be made any more.
		stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: plain, Name: plain}}
		err := errors.Join(client.IgnoreNotFound(c.Delete(context.Background(), stack)),
			c.Delete(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: plain}}))
		if err != nil {
			t.Error(err)
		}
	})
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: plain, Name: "sentry"}, StringData: map[string]string{"dsn": c.other},
	}
	err := errors.Join(c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: plain}}),
		c.Create(t.Context(), secret), c.apply(t.Context(), "testdata/plain.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, condition := range []string{obsv1.Ready, obsv1.PythonReady, obsv1.Verified} {
		// It is scraped every 30 seconds, and two scrapes have to be seen.
		err := await(t.Context(), "the stack of Python to be "+condition, 4*time.Minute, func(ctx context.Context) string {
			_ = c.ask(ctx, plainService, http.MethodPost, "/orders/1", nil, nil) // it is asked again
			stack := &obsv1.ObservabilityStack{}
			if err := c.Get(ctx, client.ObjectKey{Namespace: plain, Name: plain}, stack); err != nil {
				return err.Error()
			}
			return lacksCondition(stack, metav1.Condition{Type: condition, Status: metav1.ConditionTrue})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Run("errors arrive without secrets", c.testPlainErrors)
	t.Run("panels have data", c.testPlainPanels)
	t.Run("logs of web and worker are alike", c.testPlainLogs)
	t.Run("kubectl obstack verify passes", func(t *testing.T) {
		if output, well := c.verify(t, plain, 2*time.Minute); !well {
			t.Errorf("it is not well:\n%s", output)
		}
	})
}

func (c *cluster) testPlainErrors(t *testing.T) {
	// The task fails because the route does, which it asks with a token.
	if err := c.ask(t.Context(), plainService, http.MethodPost, "/visits", nil, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "errors of the route and the task in Bugsink", func(ctx context.Context) string {
		events, err := c.errors(ctx, c.other)
		if err != nil {
			return err.Error()
		}
		for kind, release := range map[string]string{"RuntimeError": "api@e2e", "HTTPError": "worker@e2e"} {
			one, there := events[kind]
			if !there {
				return fmt.Sprintf("there is no %s among %d errors", kind, len(events))
			}
			if one.Environment != "e2e" || one.Release != release {
				return fmt.Sprintf("%s is of %s in %s, want %s in e2e", kind, one.Release, one.Environment, release)
			}
			if strings.Contains(one.text, "a-secret-of-the-task") {
				return fmt.Sprintf("%s has the token of the request", kind)
			}
		}
		if got := events["RuntimeError"].Request.Headers["authorization"]; got != "[Filtered]" {
			return fmt.Sprintf("the header is %q", got)
		}
		return ""
	})
}

// testPlainPanels asks for what p95, the ratio of errors and that of failed tasks are made of.
func (c *cluster) testPlainPanels(t *testing.T) {
	for _, query := range []string{
		`histogram_quantile(0.95, sum by (le, obstack_monitor) (rate(http_request_duration_seconds_bucket` +
			`{namespace="plain", obstack_stack="plain", handler="/orders/{order}"}[5m])))`,
		`sum by (obstack_monitor) (http_requests_total{namespace="plain", obstack_stack="plain", status="5xx",` +
			` handler="/fail/{order}"})`,
		`sum by (obstack_broker) (celery_task_failed_total{namespace="plain", obstack_stack="plain", name="plain.visit"})`,
		`sum by (obstack_broker) (celery_task_sent_total{namespace="plain", obstack_stack="plain", name="plain.deliver"})`,
	} {
		eventually(t, "data for a panel", func(ctx context.Context) string {
			_ = c.ask(ctx, plainService, http.MethodPost, "/orders/1", nil, nil) // it is asked again
			got, err := c.series(ctx, query, "obstack_stack")
			if err != nil {
				return err.Error()
			}
			if len(got) == 0 || got[""] == "NaN" || got[""] == "0" {
				return fmt.Sprintf("%s is %v", query, got)
			}
			return ""
		})
	}
}

// testPlainLogs compares lines of the service and of a task: the same fields in the same order, but
// for the ids that only one of them has.
func (c *cluster) testPlainLogs(t *testing.T) {
	web, task := c.fields(t, "api", "ordered"), c.fields(t, "worker", "delivered")
	if !slices.Contains(task, "task_id") || !slices.Contains(task, "task_name") {
		t.Errorf("a task's line has the fields %v", task)
	}
	ids := []string{"trace_id", "request_id", "task_id", "task_name"}
	isID := func(name string) bool { return slices.Contains(ids, name) }
	web, task = slices.DeleteFunc(web, isID), slices.DeleteFunc(task, isID)
	if want := []string{"timestamp", "level", "logger", "event", "order"}; !slices.Equal(web, want) ||
		!slices.Equal(task, want) {
		t.Errorf("the service's line has the fields %v, the task's %v, want %v", web, task, want)
	}
}

// fields are those of a container's line about an event, in their order.
func (c *cluster) fields(t *testing.T, container, event string) (names []string) {
	t.Helper()
	eventually(t, fmt.Sprintf("a line of JSON of %s about %q", container, event), func(ctx context.Context) string {
		_ = c.ask(ctx, plainService, http.MethodPost, "/orders/1", nil, nil) // it is asked again
		pods := &corev1.PodList{}
		if err := c.List(ctx, pods, client.InNamespace(plain), client.MatchingLabels{"app": container}); err != nil {
			return err.Error()
		}
		for _, pod := range pods.Items {
			for line := range strings.Lines(c.log(ctx, pod, container)) {
				var of struct{ Event string }
				if json.Unmarshal([]byte(line), &of) == nil && of.Event == event {
					names = keys(line)
					return ""
				}
			}
		}
		return "no line of the last 30"
	})
	return names
}

// keys are those of an object in JSON, in their order.
func keys(object string) (names []string) {
	decoder := json.NewDecoder(strings.NewReader(object))
	if _, err := decoder.Token(); err != nil {
		return nil
	}
	for decoder.More() {
		name, err := decoder.Token()
		var value json.RawMessage
		if err = errors.Join(err, decoder.Decode(&value)); err != nil {
			return nil
		}
		names = append(names, fmt.Sprint(name))
	}
	return names
}
