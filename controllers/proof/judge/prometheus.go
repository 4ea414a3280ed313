// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/desired"
)

// Series is what a Prometheus says of one stack.
type Series struct {
	// Scrapes of its monitors and brokers. A part without a target has none.
	Scrapes map[Part]Scrape
	// Processes of spec.python, by what they say of themselves.
	Processes map[Process]int32
	// Groups of its rules, by their names.
	Groups map[string]Group
	// NoRules is set if the server cannot say which rules are evaluated.
	NoRules bool
	// Recorded are the SLOs of which events are recorded.
	Recorded map[string]bool
}

// Scrape is what Prometheus knows of the targets of a monitor or broker.
type Scrape struct {
	Targets, Up int32
	// Fault is why a target is not up, in words of ours; empty if nobody says.
	Fault string
	// Samples of the largest scrape.
	Samples float64
	// Frameworks whose series there are.
	Frameworks []obsv1.Framework
}

// Group of rules that is loaded.
type Group struct {
	// Evaluated reports whether every rule has been evaluated.
	Evaluated bool
	// Failing is the rule whose last evaluation failed, and Fault why, in words of ours.
	Failing, Fault string
}

// nearLimit is the share of a limit above which a message warns of it.
const nearLimit = 0.8

// Scraped judges the monitors and brokers of a stack by their series.
func Scraped(stack *obsv1.ObservabilityStack, series Series) (findings []Finding) {
	for _, monitor := range stack.Spec.Monitors() {
		findings = append(findings, series.monitor(&monitor))
	}
	for _, broker := range stack.Spec.Brokers() {
		findings = append(findings, series.scraped(Part{obsv1.PartBroker, broker.Name}, "the task exporter of broker "))
	}
	return findings
}

// longestInterval leaves no time between two scrapes in which Prometheus, which looks back for five
// minutes, shows no series.
const longestInterval = 4 * time.Minute

func (s Series) monitor(monitor *obsv1.Monitor) Finding {
	part := Part{obsv1.PartMonitor, monitor.Name}
	f := s.scraped(part, "monitor ")
	scrape := s.Scrapes[part]
	interval, _ := time.ParseDuration(string(monitor.Interval)) // CEL has checked it.
	if interval > time.Minute && f.Reason == obsv1.ReasonNotScraped {
		f.Holds = interval // A new target has no series for as long.
	}
	switch {
	case interval > longestInterval:
		f.State, f.Reason = metav1.ConditionUnknown, obsv1.ReasonNoData
		f.Message = fmt.Sprintf("monitor %s is scraped every %s, and Prometheus shows each scrape for 5m, so that nobody "+
			"can say whether it works: set interval to 4m or less", monitor.Name, monitor.Interval)
	case f.State != metav1.ConditionTrue:
	case len(scrape.Frameworks) == 0:
		f.State, f.Reason = metav1.ConditionUnknown, obsv1.ReasonNoData
		f.Message = fmt.Sprintf("the targets of monitor %s serve no series of %s yet: send them a request; if nothing "+
			"comes, set framework to what they use, or use what docs/reference/frameworks.md lists",
			monitor.Name, monitor.Framework)
	case !slices.Contains(scrape.Frameworks, monitor.Framework):
		f.State, f.Reason = metav1.ConditionFalse, obsv1.ReasonFrameworkMismatch
		f.Message = fmt.Sprintf("monitor %s says framework %s, and its targets serve the metrics of %s: set framework: %s",
			monitor.Name, monitor.Framework, join(scrape.Frameworks), scrape.Frameworks[0])
	case monitor.SampleLimit != nil && scrape.Samples > nearLimit*float64(*monitor.SampleLimit):
		f.Message = strings.TrimPrefix(fmt.Sprintf("%s; a scrape of monitor %s has more than %.0f %% of the samples that "+
			"sampleLimit allows: raise it, or all of them are lost", f.Message, monitor.Name, 100*nearLimit), "; ")
	}
	return f
}

func join(frameworks []obsv1.Framework) string {
	var names []string
	for _, f := range frameworks {
		names = append(names, string(f))
	}
	return strings.Join(names, " and ")
}

// scraped judges the targets of a part. Some that are down are for an alert: Pods come and go.
func (s Series) scraped(part Part, owner string) Finding {
	scrape := s.Scrapes[part]
	owner += part.Name
	f := Finding{Part: part, Level: obsv1.LevelSeen, State: metav1.ConditionTrue, Reason: obsv1.ReasonSeen,
		Up: scrape.Up, Total: scrape.Targets}
	fault := cmp.Or(scrape.Fault, "Prometheus shows why on its page of targets")
	switch {
	case scrape.Targets == 0:
		f.State, f.Reason = metav1.ConditionFalse, obsv1.ReasonNotScraped
		f.Message = fmt.Sprintf("Prometheus has no target of %s: see that its Service selects Pods, and that Prometheus "+
			"reads ServiceMonitors and may list Services, EndpointSlices and Pods in this namespace", owner)
	case scrape.Up == 0:
		f.State, f.Reason = metav1.ConditionFalse, obsv1.ReasonTargetDown
		f.Message = fmt.Sprintf("0 of %d targets of %s are up: %s", scrape.Targets, owner, fault)
	case scrape.Up < scrape.Targets:
		f.Message = fmt.Sprintf("%d of %d targets of %s are up: %s", scrape.Up, scrape.Targets, owner, fault)
	}
	return f
}

// Groups of rules that a Prometheus should evaluate for a stack, or some of them.
func Groups(stack *obsv1.ObservabilityStack) (names []string) {
	if stack.Spec.Alerts != nil {
		names = alertGroups(stack)
	}
	for i := range stack.Spec.SLOs {
		names = append(names, sloGroups(stack, &stack.Spec.SLOs[i])...)
	}
	return names
}

func alertGroups(stack *obsv1.ObservabilityStack) []string {
	return []string{desired.GroupName(stack, "http"), desired.GroupName(stack, "tasks")}
}

func sloGroups(stack *obsv1.ObservabilityStack, slo *obsv1.SLO) []string {
	return []string{desired.GroupName(stack, "slo:"+slo.Name), desired.GroupName(stack, "slo:"+slo.Name+":long")}
}

// Loaded judges the alerts and SLOs of a stack by the rules that are evaluated.
func Loaded(stack *obsv1.ObservabilityStack, series Series) (findings []Finding) {
	if stack.Spec.Alerts != nil {
		f := series.loaded(Part{obsv1.PartAlerts, desired.AlertsPart}, "the alerts", alertGroups(stack)...)
		if f.Reason == obsv1.ReasonRulesNotLoaded {
			if groups, problem := desired.AlertGroups(stack); problem == nil && len(groups) == 0 {
				f.State, f.Reason, f.Message = metav1.ConditionTrue, obsv1.ReasonSeen, "" // Every alert is disabled.
			}
		}
		findings = append(findings, f)
	}
	for i := range stack.Spec.SLOs {
		findings = append(findings, series.slo(stack, &stack.Spec.SLOs[i]))
	}
	return findings
}

// loaded judges the groups of a part, which are loaded together, as they are of one PrometheusRule.
func (s Series) loaded(part Part, owner string, names ...string) Finding {
	f := Finding{Part: part, Level: obsv1.LevelSeen, State: metav1.ConditionFalse, Reason: obsv1.ReasonRulesNotLoaded}
	if s.NoRules {
		f.State, f.Reason = metav1.ConditionUnknown, obsv1.ReasonNotServed
		f.Message = "the server that the platform names does not say which rules are evaluated"
		return f
	}
	f.Message = fmt.Sprintf("Prometheus has not loaded the rules of %s: see the log of prometheus-operator for why it "+
		"rejects them, and Prometheus' for why it does not reload", owner)
	for _, name := range names {
		switch group, ok := s.Groups[name]; {
		case !ok:
		case group.Failing != "":
			f.State, f.Reason = metav1.ConditionFalse, obsv1.ReasonRuleFailing
			f.Message = fmt.Sprintf("Prometheus cannot evaluate rule %s of %s: %s", ruleName(group.Failing), owner, group.Fault)
			return f
		case !group.Evaluated:
			f.State, f.Reason = metav1.ConditionUnknown, obsv1.ReasonNoData
			f.Message = fmt.Sprintf("the rules of %s are loaded, and not evaluated yet", owner)
		case f.State == metav1.ConditionFalse:
			f.State, f.Reason, f.Message = metav1.ConditionTrue, obsv1.ReasonSeen, ""
		}
	}
	return f
}

var nameOfRule = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_:]{0,63}$`)

// ruleName is the name of a rule if it could be one of ours.
func ruleName(name string) string {
	if nameOfRule.MatchString(name) {
		return name
	}
	return "of another name"
}

// slo judges an SLO. Its recorded events show that its rules are evaluated even where nobody lists
// rules. Without them something is wrong only if it counts a histogram that is there: counters
// appear with what they count.
func (s Series) slo(stack *obsv1.ObservabilityStack, slo *obsv1.SLO) Finding {
	f := s.loaded(Part{obsv1.PartSLO, slo.Name}, "SLO "+slo.Name, sloGroups(stack, slo)...)
	recorded := s.Recorded[slo.Name]
	switch {
	case f.State == metav1.ConditionFalse:
	case recorded && f.Reason != obsv1.ReasonNoData:
		f.State, f.Reason, f.Message = metav1.ConditionTrue, obsv1.ReasonSeen, ""
	case recorded || f.State == metav1.ConditionUnknown:
	case slo.Indicator == obsv1.IndicatorLatency && s.serves(stack, slo.Monitor):
		f.State, f.Reason = metav1.ConditionFalse, obsv1.ReasonNoData
		f.Message = fmt.Sprintf("SLO %s has no data, though monitor %s serves its framework's series: the application's "+
			"histogram has no bucket of %s: set threshold to one that it has", slo.Name, slo.Monitor, slo.Threshold)
	default:
		f.State, f.Reason = metav1.ConditionUnknown, obsv1.ReasonNoData
		f.Message = fmt.Sprintf("SLO %s has no data yet: nothing that it counts has happened, or %s is not scraped",
			slo.Name, cmp.Or(slo.Monitor, slo.Broker))
	}
	return f
}

// serves reports whether a monitor's histogram is there.
func (s Series) serves(stack *obsv1.ObservabilityStack, name string) bool {
	return slices.ContainsFunc(stack.Spec.Monitors(), func(monitor obsv1.Monitor) bool {
		return monitor.Name == name && s.monitor(&monitor).State == metav1.ConditionTrue
	})
}
