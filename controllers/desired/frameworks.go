// SPDX-License-Identifier: Apache-2.0

package desired

import (
	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// framework says how the metrics of an HTTP library are named.
// docs/reference/frameworks.md lists where each name is from.
type framework struct {
	// requests is the counter of requests, or the count of a histogram.
	requests string
	// errors is the label matcher for responses with a status of 500 and above,
	// whether the status is grouped ("5xx") or exact ("503").
	errors string
	// duration is the histogram of response times, in seconds, without _bucket or _count.
	duration string
}

var frameworks = map[obsv1.Framework]framework{
	// prometheus-fastapi-instrumentator. The "highr" histogram has the buckets
	// for a percentile; the one by handler has only .1, .5 and 1.
	obsv1.FrameworkFastAPI: {"http_requests_total", `status=~"5.."`, "http_request_duration_highr_seconds"},
	// starlette_exporter.
	obsv1.FrameworkStarlette: {"starlette_requests_total", `status_code=~"5.."`, "starlette_request_duration_seconds"},
	// django-prometheus.
	obsv1.FrameworkDjango: {"django_http_responses_total_by_status_view_method_total", `status=~"5.."`, "django_http_requests_latency_seconds_by_view_method"},
	// prometheus-flask-exporter.
	obsv1.FrameworkFlask: {"flask_http_request_total", `status=~"5.."`, "flask_http_request_duration_seconds"},
	// http.server.request.duration of the OpenTelemetry semantic conventions.
	obsv1.FrameworkOpenTelemetry: {"http_server_request_duration_seconds_count", `http_response_status_code=~"5.."`, "http_server_request_duration_seconds"},
}

// frameworkOf a monitor. CEL admits none but the known ones and defaults to FastAPI.
func frameworkOf(monitor *obsv1.Monitor) framework {
	if f, ok := frameworks[monitor.Framework]; ok {
		return f
	}
	return frameworks[obsv1.FrameworkFastAPI]
}
