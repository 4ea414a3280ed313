// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/proof/promclient"
)

const (
	// alertTimeout is longer than the text says: on a busy machine all takes its time.
	alertTimeout = 5 * time.Minute
	// why an alert fires so early, after what the alert says itself.
	why = `
      Why: every fifth order fails, so one request in twelve does, and the objective allows one in 200. This
      alert waits for nothing: it fires when the budget burns too fast in a long and in a short window, and in
      windows that are longer than the data, the data of these minutes counts alone.`
)

// alert as Prometheus says it.
type alert struct {
	Labels, Annotations map[string]string
	State               string
}

// awaitAlert waits until an alert of an SLO fires and its budget is known, and says why.
func (d *demo) awaitAlert(ctx context.Context, stack *obsv1.ObservabilityStack) error {
	ctx, cancel := context.WithTimeout(ctx, alertTimeout)
	defer cancel()
	began := time.Now()
	var alerts []alert
	var budget map[string]float64
	err := wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		var err error
		if alerts, err = d.alerts(ctx); err != nil {
			return false, err
		}
		if budget, err = d.budgets(ctx, stack); err != nil {
			return false, err
		}
		return burning(alerts) >= 0 && len(budget) > 0, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no alert of an SLO fired within %s; Prometheus says: %v, %v", alertTimeout, alerts, budget)
	}
	if err != nil {
		return err
	}
	fires := alerts[burning(alerts)]
	say(d.out, "      after %s fires %s (%s): %s.", time.Since(began).Round(time.Second), fires.Labels["alertname"],
		fires.Labels["severity"], fires.Annotations["summary"])
	say(d.out, "      %s%s", fires.Annotations["description"], why)
	for slo, left := range budget {
		say(d.out, "      Of the error budget of %s %.0f %% is left: below 0, the objective is missed.", slo, 100*left)
	}
	if pending := pending(alerts); len(pending) > 0 {
		say(d.out, "      Pending, until it has been so for as long as they say: %s.", strings.Join(pending, ", "))
	}
	return nil
}

// burning is which of the alerts says that an error budget burns, or -1.
func burning(alerts []alert) int {
	return slices.IndexFunc(alerts, func(a alert) bool { return a.State == "firing" && a.Labels["slo"] != "" })
}

// pending are the names of the alerts that wait.
func pending(alerts []alert) []string {
	var names []string
	for _, a := range alerts {
		if a.State == "pending" {
			names = append(names, a.Labels["alertname"])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// alerts that fire or are pending.
func (d *demo) alerts(ctx context.Context) ([]alert, error) {
	content, err := d.parts.ask(ctx, http.MethodGet, "/api/v1/alerts")
	if err != nil {
		return nil, err
	}
	var body struct{ Data struct{ Alerts []alert } }
	if err := json.Unmarshal(content, &body); err != nil {
		return nil, fmt.Errorf("read the alerts: %w", err)
	}
	return body.Data.Alerts, nil
}

// budgets are what is left of the error budgets of a stack, by SLO.
func (d *demo) budgets(ctx context.Context, stack *obsv1.ObservabilityStack) (map[string]float64, error) {
	left := map[string]float64{}
	expr := fmt.Sprintf("obstack:slo_error_budget_remaining:ratio{namespace=%q,%s=%q}", stack.Namespace, obsv1.SeriesStack,
		stack.Name)
	err := d.parts.client().Query(ctx, expr, func(s promclient.Sample) { left[s.Labels["slo"]] = s.Value })
	if err != nil {
		return nil, fmt.Errorf("ask Prometheus for error budgets: %w", err)
	}
	return left, nil
}
