// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired/framework"
)

// Names of the alerts on monitors. Each has a page of its name in docs/runbooks.
const (
	alertHighLatency    = "ObstackHighLatency"
	alertHighErrorRatio = "ObstackHighErrorRatio"
	alertTargetDown     = "ObstackTargetDown"
)

// An alert on a share needs volume, or one failure at night is 100 %. The
// guards count what happened in the window of the rate.
const (
	// minimumFailures within the window: fewer are an incident for Sentry, not for a pager.
	minimumFailures = 3
	// minimumRequests within the window: of fewer, the slowest one alone is the 95th percentile.
	minimumRequests = 20
)

func monitorAlerts(stack *obsv1.ObservabilityStack, monitor *obsv1.Monitor, spec *obsv1.AlertsSpec) []choice {
	s := monitorSubject(stack, monitor)
	return []choice{
		{spec.Latency.Disabled, highLatency(s, monitor, spec.Latency)},
		{spec.ErrorRatio.Disabled, highErrorRatio(s, monitor, spec.ErrorRatio)},
		{spec.TargetDown.Disabled, targetDown(s, spec.TargetDown)},
	}
}

func highLatency(s subject, monitor *obsv1.Monitor, tuning obsv1.LatencyAlert) monitoringv1.Rule {
	f, series, window := framework.Table[monitor.Framework], s.series(), window(tuning.Window, monitor)
	expr := fmt.Sprintf("histogram_quantile(0.95, sum %s (rate(%s_bucket{%s}[%s]))) > %g\nand sum %s "+
		"(increase(%s_count{%s}[%s])) >= %d",
		s.by("le"), f.Duration, series, window, seconds(tuning.Threshold), s.by(), f.Duration, series, window,
		minimumRequests)
	return s.alert(alertHighLatency, expr, tuning.For, tuning.Severity,
		annotation("%s of stack %s/%s responds slowly", s.name, s.stack.Namespace, s.stack.Name),
		annotation("The 95th percentile of the response time is {{ $value | humanizeDuration }}, above the threshold of %s.",
			tuning.Threshold))
}

func highErrorRatio(s subject, monitor *obsv1.Monitor, tuning obsv1.RatioAlert) monitoringv1.Rule {
	f, series, window := framework.Table[monitor.Framework], s.series(), window(tuning.Window, monitor)
	by := "sum " + s.by()
	errors := fmt.Sprintf("%s{%s,%s}[%s]", f.Requests, series, f.Errors, window)
	expr := fmt.Sprintf("%s (rate(%s)) / %s (rate(%s{%s}[%s])) > %g\nand %s (increase(%s)) >= %d",
		by, errors, by, f.Requests, series, window, share(tuning.Threshold), by, errors, minimumFailures)
	return s.alert(alertHighErrorRatio, expr, tuning.For, tuning.Severity,
		annotation("%s of stack %s/%s responds with server errors", s.name, s.stack.Namespace, s.stack.Name),
		annotation("{{ $value | humanizePercentage }} of the responses are 5xx, above the threshold of %s.",
			percent(tuning.Threshold)))
}
