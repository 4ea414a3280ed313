// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"maps"
	"slices"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// signals are what the dashboards ask for besides the names in framework, by the
// placeholder that stands for them in the files: ${status:raw} and so on. A
// signal that a library does not expose is in lacks instead.
type signals struct {
	values map[string]string
	// lacks says why, for the panel that would have shown the signal.
	lacks map[string]string
	// notes are Markdown, for the panel that says how far to trust the others.
	notes string
}

// The process metrics of Python's prometheus_client, on Linux.
const (
	pythonCPU    = "process_cpu_seconds_total"
	pythonMemory = "process_resident_memory_bytes"
)

const multiprocess = "\n- With `PROMETHEUS_MULTIPROC_DIR` the Python client exposes neither CPU nor memory nor starts of processes; those panels are empty then."

// Where each name is from: docs/reference/frameworks.md.
var frameworkSignals = map[obsv1.Framework]signals{
	obsv1.FrameworkFastAPI: {
		values: map[string]string{
			"status": "status", "client_errors": `status=~"4.."`, "method": "method",
			"route": "handler", "route_name": "{{handler}}",
			"route_requests": "http_requests_total", "route_duration": "http_request_duration_seconds",
			"in_progress": "http_requests_inprogress", "cpu": pythonCPU, "memory": pythonMemory,
		},
		lacks: map[string]string{
			"exceptions": "prometheus-fastapi-instrumentator counts no exceptions. An unhandled one is a response with status 5xx; what it was is in Sentry.",
		},
		notes: "- **Times by handler** come from a histogram with the boundaries 0.1, 0.5 and 1 s only: *p95 by handler* is coarse and never above 1 s. *Slowest handlers* shows means, which are exact. The other times are of the whole service, with 21 boundaries from 10 ms to 60 s.\n" +
			"- **In progress** needs `Instrumentator(should_instrument_requests_inprogress=True)`.\n" +
			"- The handler `none` is every path without a route. `/metrics` and health checks count as requests unless `excluded_handlers` names them." + multiprocess,
	},
	obsv1.FrameworkStarlette: {
		values: map[string]string{
			"status": "status_code", "client_errors": `status_code=~"4.."`, "method": "method",
			"route": "path", "route_name": "{{path}}",
			"route_requests": "starlette_requests_total", "route_duration": "starlette_request_duration_seconds",
			"in_progress": "starlette_requests_in_progress", "cpu": pythonCPU, "memory": pythonMemory,
		},
		lacks: map[string]string{
			"exceptions": "starlette_exporter counts no exceptions. An unhandled one is a response with status 500; what it was is in Sentry.",
		},
		notes: "- Times have the boundaries of the Python client, 5 ms to 10 s: a quantile is never above 10 s.\n" +
			"- Paths without a route are not counted (`filter_unhandled_paths`), so 404 of unknown paths do not show." + multiprocess,
	},
	obsv1.FrameworkDjango: {
		values: map[string]string{
			"status": "status", "client_errors": `status=~"4.."`, "method": "method",
			"route": "view", "route_name": "{{view}}",
			"route_requests": "django_http_responses_total_by_status_view_method_total", "route_duration": "django_http_requests_latency_seconds_by_view_method",
			"exceptions": "django_http_exceptions_total_by_type_total", "exception": "type", "cpu": pythonCPU, "memory": pythonMemory,
		},
		lacks: map[string]string{
			"in_progress": "django-prometheus does not tell how many requests are in progress. *CPU by process* shows when a service is full.",
		},
		notes: "- **Times count a request with an unhandled exception twice**, once for the exception and once for its response; numbers of requests and ratios do not, they come from the counter of responses.\n" +
			"- Times are those of the view, without the middlewares, with boundaries from 10 ms to 75 s.\n" +
			"- `/metrics` counts as a view." + multiprocess,
	},
	obsv1.FrameworkFlask: {
		values: map[string]string{
			"status": "status", "client_errors": `status=~"4.."`, "method": "method",
			// group_by of the exporter decides which of the labels there is.
			"route": "path, url_rule, endpoint", "route_name": "{{path}}{{url_rule}}{{endpoint}}",
			// The counter has no path, the histogram has.
			"route_requests": "flask_http_request_duration_seconds_count", "route_duration": "flask_http_request_duration_seconds",
			"exceptions": "flask_http_request_exceptions_total", "exception": "method", "cpu": pythonCPU, "memory": pythonMemory,
		},
		lacks: map[string]string{
			"in_progress": "prometheus-flask-exporter does not tell how many requests are in progress. *CPU by process* shows when a service is full.",
		},
		notes: "- The handler is the path as it was asked for: `/items/1` and `/items/2` are two. `PrometheusMetrics(app, group_by=\"url_rule\")` makes them one, and the dashboard follows.\n" +
			"- Times have the boundaries of the Python client, 5 ms to 10 s: a quantile is never above 10 s.\n" +
			"- Exceptions are told apart by method only; what they were is in Sentry." + multiprocess,
	},
	obsv1.FrameworkOpenTelemetry: {
		values: map[string]string{
			"status": "http_response_status_code", "client_errors": `http_response_status_code=~"4.."`, "method": "http_request_method",
			"route": "http_route", "route_name": "{{http_route}}",
			"route_requests": "http_server_request_duration_seconds_count", "route_duration": "http_server_request_duration_seconds",
			"in_progress": "http_server_active_requests", "exceptions": "http_server_request_duration_seconds_count", "exception": "error_type",
		},
		lacks: map[string]string{
			"cpu":    "The HTTP conventions of OpenTelemetry say nothing of the process. Use the Pod's CPU in your cluster's own dashboards.",
			"memory": "The HTTP conventions of OpenTelemetry say nothing of the process. Use the Pod's memory in your cluster's own dashboards.",
		},
		notes: "- Times have the boundaries that the conventions recommend, 5 ms to 10 s: a quantile is never above 10 s.\n" +
			"- **Exceptions** shows the label `error_type`: the class of the exception, or the status where the SDK knows no class.\n" +
			"- Python needs `OTEL_SEMCONV_STABILITY_OPT_IN=http` for these names. A path without a route has no `http_route`.",
	},
}

// placeholders of each framework: the names of its metrics and labels, by what stands for them in the files.
var placeholders = func() map[obsv1.Framework]map[string]string {
	all := map[obsv1.Framework]map[string]string{}
	for name, s := range frameworkSignals {
		f := frameworks[name]
		all[name] = maps.Clone(s.values)
		maps.Copy(all[name], map[string]string{"requests": f.requests, "errors": f.errors, "duration": f.duration, "notes": s.notes})
	}
	return all
}()

// frameworksOf a stack's monitors, each once, in the order of their names.
func frameworksOf(stack *obsv1.ObservabilityStack) []obsv1.Framework {
	var names []obsv1.Framework
	monitors := monitorsOf(stack)
	for i := range monitors {
		names = append(names, frameworkName(&monitors[i]))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// frameworkName of a monitor. CEL admits none but the known ones and defaults to FastAPI.
func frameworkName(monitor *obsv1.Monitor) obsv1.Framework {
	if _, ok := frameworkSignals[monitor.Framework]; ok {
		return monitor.Framework
	}
	return obsv1.FrameworkFastAPI
}
