// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// stack reads the stack as it is now.
func (c *cluster) stack(ctx context.Context) (*obsv1.ObservabilityStack, error) {
	stack := &obsv1.ObservabilityStack{}
	return stack, c.Get(ctx, client.ObjectKey{Namespace: "shop", Name: "shop"}, stack)
}

// lacksCondition says what the stack has instead of a condition that is about its present spec.
func (c *cluster) lacksCondition(ctx context.Context, want metav1.Condition) string {
	stack, err := c.stack(ctx)
	if err != nil {
		return err.Error()
	}
	return lacksCondition(stack, want)
}

func lacksCondition(stack *obsv1.ObservabilityStack, want metav1.Condition) string {
	got := meta.FindStatusCondition(stack.Status.Conditions, want.Type)
	if got == nil {
		return "there is no condition " + want.Type
	}
	if got.Status != want.Status || got.ObservedGeneration != stack.Generation ||
		(want.Reason != "" && got.Reason != want.Reason) {
		return fmt.Sprintf("%s is %s, %s: %s", got.Type, got.Status, got.Reason, got.Message)
	}
	return ""
}

// TestStackOfARunningApplication walks through what obstack is for: everything is there, and what
// the application sends arrives.
func TestStackOfARunningApplication(t *testing.T) {
	c := start(t)
	eventually(t, "the stack to be Ready", func(ctx context.Context) string {
		return c.lacksCondition(ctx, metav1.Condition{Type: obsv1.Ready, Status: metav1.ConditionTrue})
	})
	t.Run("variables are in the process", c.testVariables)
	t.Run("targets are up", c.testTargets)
	t.Run("rules are loaded", c.testRules)
	t.Run("requests and tasks are counted", c.testCounts)
	t.Run("errors arrive", c.testErrors)
	t.Run("all of it was seen", func(t *testing.T) {
		eventually(t, "the stack to be Verified", func(ctx context.Context) string {
			return c.lacksCondition(ctx, metav1.Condition{Type: obsv1.Verified, Status: metav1.ConditionTrue})
		})
	})
	t.Run("kubectl obstack verify sees it now", c.testVerify)
}

func (c *cluster) testVariables(t *testing.T) {
	want := map[string]string{
		"SENTRY_DSN": c.dsn, "SENTRY_ENVIRONMENT": "e2e", "ENVIRONMENT": "e2e", "LOG_LEVEL": "INFO", "LOG_FORMAT": "json",
	}
	eventually(t, "the variables in the process of the service", func(ctx context.Context) string {
		var got map[string]string
		if err := c.ask(ctx, shop, http.MethodGet, "/environment", nil, &got); err != nil {
			return err.Error()
		}
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if got[name] != want[name] {
				return fmt.Sprintf("%s=%q, want %q", name, got[name], want[name])
			}
		}
		return ""
	})
}

// lacksSeries says what a query returns instead of series with these values of the label.
func (c *cluster) lacksSeries(ctx context.Context, query, label string, want map[string]string) string {
	got, err := c.series(ctx, query, label)
	if err != nil {
		return err.Error()
	}
	if !maps.Equal(got, want) {
		return fmt.Sprintf("%s is %v, want %v", query, got, want)
	}
	return ""
}

func (c *cluster) testTargets(t *testing.T) {
	eventually(t, "the service and the exporter to be scraped", func(ctx context.Context) string {
		return c.lacksSeries(ctx, `sum by (job) (up{namespace="shop", obstack_stack="shop"})`, "job",
			map[string]string{"api": "1", "shop-tasks-main": "1"})
	})
}

func (c *cluster) testRules(t *testing.T) {
	eventually(t, "Prometheus to evaluate the rules", func(ctx context.Context) string {
		var response struct {
			Data struct {
				Groups []struct {
					Name  string
					Rules []struct{ Name, Health, LastError string }
				}
			}
		}
		if err := c.ask(ctx, prometheus, http.MethodGet, "/api/v1/rules", nil, &response); err != nil {
			return err.Error()
		}
		health := map[string]string{}
		for _, group := range response.Data.Groups {
			for _, rule := range group.Rules {
				health[rule.Name] = rule.Health
				if rule.Health == "err" {
					return fmt.Sprintf("%s of %s is %s: %s", rule.Name, group.Name, rule.Health, rule.LastError)
				}
			}
		}
		for _, want := range []string{"ObstackTargetDown", "ObstackHighTaskFailureRatio", "ObstackErrorBudgetBurnFast"} {
			// Some groups are evaluated every few minutes only, and are unknown before.
			if health[want] != "ok" {
				return fmt.Sprintf("%s is %q", want, health[want])
			}
		}
		return ""
	})
}

// order has the service send tasks to the worker; those with a negative number fail.
func (c *cluster) order(t *testing.T, numbers ...int) {
	t.Helper()
	for _, number := range numbers {
		if err := c.ask(t.Context(), shop, http.MethodPost, fmt.Sprintf("/orders/%d", number), nil, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *cluster) testCounts(t *testing.T) {
	c.order(t, 1, 2, 3)
	const tasks = `{namespace="shop", obstack_stack="shop", obstack_broker="main", name="shop.deliver"}`
	eventually(t, "three tasks to be counted", func(ctx context.Context) string {
		return c.lacksSeries(ctx, "sum by (name) (celery_task_succeeded_total"+tasks+")", "name",
			map[string]string{"shop.deliver": "3"})
	})
	eventually(t, "three requests to be counted", func(ctx context.Context) string {
		return c.lacksSeries(ctx, `sum by (obstack_monitor) (http_requests_total{namespace="shop", obstack_stack="shop",`+
			` handler="/orders/{order}"})`, "obstack_monitor", map[string]string{"api": "3"})
	})
}

func (c *cluster) testErrors(t *testing.T) {
	c.order(t, -1)
	// The response is an error as well, and ends the connection.
	if err := c.ask(t.Context(), shop, http.MethodGet, "/fail", nil, nil); err == nil {
		t.Error("the service did not fail")
	}
	eventually(t, "errors of the service and the worker in Bugsink", func(ctx context.Context) string {
		events, err := c.errors(ctx, c.dsn)
		if err != nil {
			return err.Error()
		}
		got := map[string]string{}
		for kind, event := range events {
			got[kind] = event.Environment
		}
		want := map[string]string{"RuntimeError": "e2e", "ValueError": "e2e"}
		if !maps.Equal(got, want) {
			return fmt.Sprintf("errors and their environments are %v, want %v", got, want)
		}
		return ""
	})
}

// event is what Bugsink keeps of an error.
type event struct {
	Environment, Release string
	Request              struct{ Headers map[string]string }
	// text is all of it.
	text string
}

// errors are those that Bugsink has of a project, an event of each by the type of the error.
func (c *cluster) errors(ctx context.Context, dsn string) (map[string]event, error) {
	const api = "/api/canonical/0"
	var projects, issues struct {
		Results []struct {
			ID             any
			DSN            string
			CalculatedType string `json:"calculated_type"`
		}
	}
	if err := c.ask(ctx, tracker, http.MethodGet, api+"/projects/", nil, &projects); err != nil {
		return nil, err
	}
	for _, project := range projects.Results {
		if project.DSN != dsn {
			continue
		}
		path := fmt.Sprintf("%s/issues/?project=%v&sort=last_seen&order=desc", api, project.ID)
		if err := c.ask(ctx, tracker, http.MethodGet, path, nil, &issues); err != nil {
			return nil, err
		}
	}
	found := map[string]event{}
	for _, issue := range issues.Results {
		one, err := c.event(ctx, fmt.Sprintf("%s/events/?issue=%v", api, issue.ID))
		if err != nil {
			return nil, err
		}
		found[issue.CalculatedType] = one
	}
	return found, nil
}

// event is one of an issue.
func (c *cluster) event(ctx context.Context, path string) (one event, err error) {
	var events struct {
		Results []struct{ ID any }
	}
	if err := c.ask(ctx, tracker, http.MethodGet, path, nil, &events); err != nil || len(events.Results) == 0 {
		return event{}, err
	}
	var whole struct{ Data json.RawMessage }
	path = fmt.Sprintf("/api/canonical/0/events/%v/", events.Results[0].ID)
	if err := c.ask(ctx, tracker, http.MethodGet, path, nil, &whole); err != nil {
		return event{}, err
	}
	one.text = string(whole.Data)
	return one, json.Unmarshal(whole.Data, &one)
}
