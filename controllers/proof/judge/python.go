// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

// Process is what processes of a workload say of themselves: what obstack did in them of each part.
type Process struct {
	// Workload is NAMESPACE/NAME.
	Workload string
	// The others are one of PythonStates each, or for Metrics, port or app.
	Sentry, Logging, Structlog, Celery, Metrics string
}

// What obstack did of a part in a process.
const (
	pythonAuto   = "auto"
	pythonOwn    = "own"
	pythonAbsent = "absent"
	pythonOff    = "off"
	pythonError  = "error"
)

// PythonStates are all that the label of a part can be. Others are not the bundle's.
var PythonStates = []string{pythonAuto, pythonOwn, pythonAbsent, pythonOff, pythonError, "port", "app"}

// pythonParts are the labels of obstack_python_info, and what a process has in them.
var pythonParts = []struct {
	name string
	of   func(Process) string
}{
	{"sentry", func(p Process) string { return p.Sentry }},
	{"logging", func(p Process) string { return p.Logging }},
	{"structlog", func(p Process) string { return p.Structlog }},
	{"celery", func(p Process) string { return p.Celery }},
	{"metrics", func(p Process) string { return p.Metrics }},
}

// reportsWithin is how long a new Pod may take until Prometheus knows of its processes.
const reportsWithin = 5 * time.Minute

// Python judges the processes of a stack by what they say of themselves. Of workloads that have the
// bundle and from which nothing is heard, it says just that: why, nobody knows.
func Python(stack *obsv1.ObservabilityStack, series Series, mounted []string) []Finding {
	if stack.Spec.Python == nil {
		return nil
	}
	f := Finding{
		Part: Part{obsv1.PartPython, obsv1.MonitorPython}, Level: obsv1.LevelSeen, State: metav1.ConditionTrue,
		Reason: obsv1.ReasonSeen,
	}
	total := 0
	heard := map[string]bool{}
	for p, count := range series.Processes {
		total += int(count) // Anybody may say that there are as many as a count can be.
		heard[p.Workload] = true
	}
	silent := slices.DeleteFunc(slices.Clone(mounted), func(name string) bool { return heard[name] })
	slices.Sort(silent)
	failed, missing := series.with(pythonError), series.withoutSDK(stack)
	switch {
	case stack.Spec.Python.MetricsPort() == 0:
		f.State, f.Reason = metav1.ConditionUnknown, obsv1.ReasonNoData
		f.Message = "processes report themselves by their metrics, and spec.python.metrics is Disabled"
	case len(failed) > 0:
		f.State, f.Reason = metav1.ConditionFalse, obsv1.ReasonPythonFailed
		f.Message = fmt.Sprintf("in processes of %s a part failed, without which they go on: set OBSTACK_PYTHON_DEBUG=1 "+
			"there, and their log says why", some(failed, ", ", itself))
	case len(missing) > 0:
		f.State, f.Reason = metav1.ConditionFalse, obsv1.ReasonSentrySDKMissing
		f.Message = fmt.Sprintf("processes of %s have no sentry_sdk: add sentry-sdk to their requirements, or set "+
			"spec.python.sentry to Disabled", some(missing, ", ", itself))
	case total == 0 && len(silent) > 0:
		f.State, f.Reason, f.Holds = metav1.ConditionFalse, obsv1.ReasonNotReported, reportsWithin
		f.Message = unheard(silent)
	case total == 0:
		f.State, f.Reason = metav1.ConditionUnknown, obsv1.ReasonNoData
		f.Message = "no running workload has the bundle, and no process reports itself"
	default:
		f.Message = series.processes(total, len(heard))
		if len(silent) > 0 {
			f.Message += "; " + unheard(silent)
		}
	}
	return []Finding{f}
}

// unheard says of which workloads nothing is heard, and what may be so.
func unheard(workloads []string) string {
	return fmt.Sprintf("no process of %s reports itself: it ignores PYTHONPATH (python -I, PEX), is not Python, serves "+
		`metrics of its own alone, or is not scraped; obstack.dev/python: "false" on it leaves it out`,
		some(workloads, ", ", itself))
}

// processes says how many processes report themselves, and with what.
func (s Series) processes(total, workloads int) string {
	var with []string
	for _, part := range pythonParts {
		counts := map[string]int{}
		for p, count := range s.Processes {
			counts[part.of(p)] += int(count)
		}
		var states []string
		for _, state := range slices.Sorted(maps.Keys(counts)) {
			states = append(states, fmt.Sprintf("%s %d", state, counts[state]))
		}
		with = append(with, part.name+" "+strings.Join(states, ", "))
	}
	return fmt.Sprintf("%s of %s: %s", counted(total, "process", "processes"),
		counted(workloads, "workload", "workloads"), strings.Join(with, "; "))
}

func counted(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// with are the workloads that have a process in which a part is in a state, sorted.
func (s Series) with(state string) []string {
	found := map[string]bool{}
	for p := range s.Processes {
		for _, part := range pythonParts {
			if part.of(p) == state {
				found[p.Workload] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// withoutSDK are the workloads that should report errors to Sentry and cannot, sorted.
func (s Series) withoutSDK(stack *obsv1.ObservabilityStack) []string {
	if stack.Spec.Sentry == nil || stack.Spec.Python.Sentry == obsv1.PythonDisabled {
		return nil
	}
	found := map[string]bool{}
	for p := range s.Processes {
		if p.Sentry == pythonAbsent {
			found[p.Workload] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// pythonCondition says of the processes what is known, which is nothing while nobody can be asked.
func pythonCondition(out desired.Output, part obsv1.PartStatus) desired.Output {
	if part.State == metav1.ConditionFalse {
		out.Status, out.Reason, out.Message = part.State, part.Reason, part.Message
		return out
	}
	if part.Message == "" {
		part.Message = "not asked yet whether processes report themselves"
	}
	out.Status, out.Reason = part.State, part.Reason
	out.Message += "; " + part.Message
	return out
}
