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

// PythonFault is what is wrong with workloads that have the bundle.
type PythonFault struct {
	// Workload is NAMESPACE/NAME; empty for the fault of several.
	Workload string
	// Reason and Message are those of a condition or an event.
	Reason, Message string
	// Holds is how long it must be so before it counts.
	Holds time.Duration
}

// Python judges the processes of a stack by what they say of themselves. Its state is about those
// that the stack's conditions are about; the others are counted and named.
func Python(stack *obsv1.ObservabilityStack, series Series, mounted []string) []Finding {
	if stack.Spec.Python == nil {
		return nil
	}
	f := Finding{
		Part: Part{obsv1.PartPython, obsv1.MonitorPython}, Level: obsv1.LevelSeen, State: metav1.ConditionTrue,
		Reason: obsv1.ReasonSeen,
	}
	quiet, lost := series.unheard(mounted)
	worst, elsewhere := pythonFaults(stack, series, lost)
	switch {
	case stack.Spec.Python.MetricsPort() == 0:
		f.State, f.Reason = metav1.ConditionUnknown, obsv1.ReasonNoData
		f.Message = "processes report themselves by their metrics, and spec.python.metrics is Disabled"
		return []Finding{f}
	case worst != nil:
		f.State, f.Reason, f.Message, f.Holds = metav1.ConditionFalse, worst.Reason, worst.Message, worst.Holds
	case len(series.Processes) == 0:
		f.State, f.Reason = metav1.ConditionUnknown, obsv1.ReasonNoData
		f.Message = "no process reports itself"
		if len(lost) == 0 {
			f.Message = "no running workload has the bundle, and " + f.Message
		}
	default:
		f.Message = series.processes()
		if len(quiet) > 0 {
			f.Message += "; " + pythonMessage(obsv1.ReasonNotReported, quiet)
		}
	}
	if len(elsewhere) > 0 {
		f.Message += fmt.Sprintf("; %s of other namespaces, with events that say so: %s",
			counted(len(elsewhere), "workload", "workloads"),
			some(elsewhere, ", ", func(e PythonFault) string { return e.Workload + " (" + e.Reason + ")" }))
	}
	return []Finding{f}
}

// PythonElsewhere are the faults of workloads that the stack's conditions are not about, whose
// owners are to know.
func PythonElsewhere(stack *obsv1.ObservabilityStack, series Series, mounted []string) []PythonFault {
	if stack.Spec.Python.MetricsPort() == 0 {
		return nil
	}
	_, lost := series.unheard(mounted)
	_, elsewhere := pythonFaults(stack, series, lost)
	return elsewhere
}

// pythonFaults are the worst of those of workloads that the stack's conditions are about, as one,
// and those of others, one of each and sorted.
func pythonFaults(stack *obsv1.ObservabilityStack, series Series, lost []string) (worst *PythonFault,
	elsewhere []PythonFault) {
	faulty := map[string]bool{}
	for _, found := range []struct {
		reason    string
		workloads []string
		holds     time.Duration
	}{
		{obsv1.ReasonPythonFailed, series.with(pythonError), 0},
		{obsv1.ReasonSentrySDKMissing, series.withoutSDK(stack), 0},
		{obsv1.ReasonNotReported, lost, reportsWithin},
	} {
		var own []string
		for _, workload := range found.workloads {
			switch {
			case stack.SpeaksFor(namespaceOf(workload)):
				own = append(own, workload)
			case !faulty[workload]:
				faulty[workload] = true
				message := pythonMessage(found.reason, []string{workload})
				elsewhere = append(elsewhere, PythonFault{workload, found.reason, message, found.holds})
			}
		}
		if worst == nil && len(own) > 0 {
			worst = &PythonFault{Reason: found.reason, Message: pythonMessage(found.reason, own), Holds: found.holds}
		}
	}
	slices.SortFunc(elsewhere, func(a, b PythonFault) int { return strings.Compare(a.Workload, b.Workload) })
	return worst, elsewhere
}

func namespaceOf(workload string) string {
	namespace, _, _ := strings.Cut(workload, "/")
	return namespace
}

// unheard are those of the workloads with the bundle from which nothing is heard, sorted: quiet,
// where others of their namespaces are heard, and lost. Why, nobody knows; that all are is a fault.
func (s Series) unheard(mounted []string) (quiet, lost []string) {
	heard := map[string]bool{} // workloads and their namespaces
	for p := range s.Processes {
		heard[p.Workload], heard[namespaceOf(p.Workload)] = true, true
	}
	for _, workload := range slices.Compact(slices.Sorted(slices.Values(mounted))) {
		switch {
		case heard[workload]:
		case heard[namespaceOf(workload)]:
			quiet = append(quiet, workload)
		default:
			lost = append(lost, workload)
		}
	}
	return quiet, lost
}

// pythonMessage says what is wrong with some workloads, and what to change.
func pythonMessage(reason string, workloads []string) string {
	return fmt.Sprintf(pythonMessages[reason], some(workloads, ", ", itself))
}

var pythonMessages = map[string]string{
	obsv1.ReasonPythonFailed: "in processes of %s a part failed, without which they go on: set OBSTACK_PYTHON_DEBUG=1 " +
		"there, and their log says why",
	obsv1.ReasonSentrySDKMissing: "processes of %s have no sentry_sdk: add sentry-sdk to their requirements, or set " +
		"spec.python.sentry to Disabled",
	// What may be so, because nobody knows.
	obsv1.ReasonNotReported: "no process of %s reports itself: it ignores PYTHONPATH (python -I, PEX), is not Python, " +
		`serves metrics of its own alone, or is not scraped; obstack.dev/python: "false" on it leaves it out`,
}

// processes says how many processes report themselves, and with what.
func (s Series) processes() string {
	total, workloads := 0, map[string]bool{}
	for p, count := range s.Processes {
		total += int(count) // Anybody may say that there are as many as a count can be.
		workloads[p.Workload] = true
	}
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
		counted(len(workloads), "workload", "workloads"), strings.Join(with, "; "))
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
