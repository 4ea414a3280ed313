// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"strings"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Table has every framework that the API knows.
var Table = map[obsv1.Framework]Framework{
	obsv1.FrameworkFastAPI:       fastAPI,
	obsv1.FrameworkStarlette:     starlette,
	obsv1.FrameworkDjango:        django,
	obsv1.FrameworkFlask:         flask,
	obsv1.FrameworkOpenTelemetry: openTelemetry,
}

// ClientBuckets are those of the Python client.
var ClientBuckets = []float64{.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}

// The process metrics of Python's prometheus_client, on Linux.
const (
	pythonCPU    = "process_cpu_seconds_total"
	pythonMemory = "process_resident_memory_bytes"
)

// Notes that several frameworks share.
const (
	clientTimes = "- Times have the boundaries of the Python client, 5 ms to 10 s: " +
		"a quantile is never above 10 s."
	multiprocess = "- With `PROMETHEUS_MULTIPROC_DIR` the Python client exposes neither CPU nor memory " +
		"nor starts of processes; those panels are empty then."
)

// fastAPI is prometheus-fastapi-instrumentator. The "highr" histogram has the buckets for a
// percentile; the one by handler has only .1, .5 and 1.
var fastAPI = Framework{
	Requests: "http_requests_total",
	Errors:   `status=~"5.."`,
	Duration: "http_request_duration_highr_seconds",
	Buckets: []float64{
		.01, .025, .05, .075, .1, .25, .5, .75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 7.5, 10, 30, 60,
	},
	Names: map[string]string{
		"status":         "status",
		"client_errors":  `status=~"4.."`,
		"method":         "method",
		"route":          "handler",
		"route_name":     "{{handler}}",
		"route_requests": "http_requests_total",
		"route_duration": "http_request_duration_seconds",
		"in_progress":    "http_requests_inprogress",
		"cpu":            pythonCPU,
		"memory":         pythonMemory,
	},
	Lacks: map[string]string{
		"exceptions": "prometheus-fastapi-instrumentator counts no exceptions. " +
			"An unhandled one is a response with status 5xx; what it was is in Sentry.",
	},
	Notes: lines(
		"- **Times by handler** come from a histogram with the boundaries 0.1, 0.5 and 1 s only: "+
			"*p95 by handler* is coarse and never above 1 s. *Slowest handlers* shows means, which are exact. "+
			"The other times are of the whole service, with 21 boundaries from 10 ms to 60 s.",
		"- **In progress** needs `Instrumentator(should_instrument_requests_inprogress=True)`.",
		"- The handler `none` is every path without a route. "+
			"`/metrics` and health checks count as requests unless `excluded_handlers` names them.",
		multiprocess),
}

// starlette is starlette_exporter.
var starlette = Framework{
	Requests: "starlette_requests_total",
	Errors:   `status_code=~"5.."`,
	Duration: "starlette_request_duration_seconds",
	Buckets:  ClientBuckets,
	Names: map[string]string{
		"status":         "status_code",
		"client_errors":  `status_code=~"4.."`,
		"method":         "method",
		"route":          "path",
		"route_name":     "{{path}}",
		"route_requests": "starlette_requests_total",
		"route_duration": "starlette_request_duration_seconds",
		"in_progress":    "starlette_requests_in_progress",
		"cpu":            pythonCPU,
		"memory":         pythonMemory,
	},
	Lacks: map[string]string{
		"exceptions": "starlette_exporter counts no exceptions. " +
			"An unhandled one is a response with status 500; what it was is in Sentry.",
	},
	Notes: lines(clientTimes,
		"- Paths without a route are not counted (`filter_unhandled_paths`), so 404 of unknown paths do not show.",
		multiprocess),
}

// django is django-prometheus.
var django = Framework{
	Requests: "django_http_responses_total_by_status_view_method_total",
	Errors:   `status=~"5.."`,
	Duration: "django_http_requests_latency_seconds_by_view_method",
	Buckets:  []float64{.01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 25, 50, 75},
	Names: map[string]string{
		"status":         "status",
		"client_errors":  `status=~"4.."`,
		"method":         "method",
		"route":          "view",
		"route_name":     "{{view}}",
		"route_requests": "django_http_responses_total_by_status_view_method_total",
		"route_duration": "django_http_requests_latency_seconds_by_view_method",
		"exceptions":     "django_http_exceptions_total_by_type_total",
		"exception":      "type",
		"cpu":            pythonCPU,
		"memory":         pythonMemory,
	},
	Lacks: map[string]string{
		"in_progress": "django-prometheus does not expose how many requests are in progress. " +
			"*CPU by process* shows when a service is full.",
	},
	Notes: lines(
		"- **Times count a request with an unhandled exception twice**, once for the exception and once for its "+
			"response; numbers of requests and ratios do not, they come from the counter of responses.",
		"- Times are those of the view, without the middlewares, with boundaries from 10 ms to 75 s.",
		"- `/metrics` counts as a view.",
		multiprocess),
}

// flask is prometheus-flask-exporter.
var flask = Framework{
	Requests: "flask_http_request_total",
	Errors:   `status=~"5.."`,
	Duration: "flask_http_request_duration_seconds",
	Buckets:  ClientBuckets,
	Names: map[string]string{
		"status":        "status",
		"client_errors": `status=~"4.."`,
		"method":        "method",
		// group_by of the exporter decides which of the labels there is.
		"route":      "path, url_rule, endpoint",
		"route_name": "{{path}}{{url_rule}}{{endpoint}}",
		// The counter has no path, the histogram has.
		"route_requests": "flask_http_request_duration_seconds_count",
		"route_duration": "flask_http_request_duration_seconds",
		"exceptions":     "flask_http_request_exceptions_total",
		"exception":      "method",
		"cpu":            pythonCPU,
		"memory":         pythonMemory,
	},
	Lacks: map[string]string{
		"in_progress": "prometheus-flask-exporter does not expose how many requests are in progress. " +
			"*CPU by process* shows when a service is full.",
	},
	Notes: lines(
		"- The handler is the path as it was asked for: `/items/1` and `/items/2` are two. "+
			"`PrometheusMetrics(app, group_by=\"url_rule\")` makes them one, and the dashboard follows.",
		clientTimes,
		"- Exceptions are counted by method only; what they were is in Sentry.",
		multiprocess),
}

// openTelemetry is http.server.request.duration of the semantic conventions.
var openTelemetry = Framework{
	Requests: "http_server_request_duration_seconds_count",
	Errors:   `http_response_status_code=~"5.."`,
	Duration: "http_server_request_duration_seconds",
	Buckets:  ClientBuckets,
	Names: map[string]string{
		"status":         "http_response_status_code",
		"client_errors":  `http_response_status_code=~"4.."`,
		"method":         "http_request_method",
		"route":          "http_route",
		"route_name":     "{{http_route}}",
		"route_requests": "http_server_request_duration_seconds_count",
		"route_duration": "http_server_request_duration_seconds",
		"in_progress":    "http_server_active_requests",
		"exceptions":     "http_server_request_duration_seconds_count",
		"exception":      "error_type",
	},
	Lacks: map[string]string{
		"cpu": "The HTTP conventions of OpenTelemetry say nothing of the process. " +
			"Use the Pod's CPU in your cluster's own dashboards.",
		"memory": "The HTTP conventions of OpenTelemetry say nothing of the process. " +
			"Use the Pod's memory in your cluster's own dashboards.",
	},
	Notes: lines(
		"- Times have the boundaries that the conventions recommend, 5 ms to 10 s: a quantile is never above 10 s.",
		"- **Exceptions** shows the label `error_type`: "+
			"the class of the exception, or the status where the SDK knows no class.",
		"- Python needs `OTEL_SEMCONV_STABILITY_OPT_IN=http` for these names. "+
			"A path without a route has no `http_route`."),
}

func lines(notes ...string) string { return strings.Join(notes, "\n") }
