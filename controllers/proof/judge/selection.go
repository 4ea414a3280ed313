// SPDX-License-Identifier: Apache-2.0

package judge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
)

// Cluster is what objects of the cluster say, as far as it concerns one stack.
type Cluster struct {
	// Prometheuses of all namespaces.
	Prometheuses []Prometheus
	// Labels of the stack's namespace.
	Labels map[string]string
	// Services of the stack's namespace, without those that obstack made.
	Services []Service
	// Refused are the stack's parts whose object prometheus-operator does not accept, and why.
	Refused map[Part]string
	// Unready are the stack's monitors behind whose Services nothing is ready.
	Unready map[string]bool
}

// Prometheus is an object of prometheus-operator that selects others: a Prometheus, a
// PrometheusAgent or a ThanosRuler.
type Prometheus struct {
	Namespace, Name string
	// Monitors, PodMonitors and Rules are nil if it takes none of that kind, or if its configuration
	// is written by hand, so that nobody knows what it takes.
	Monitors, PodMonitors, Rules *Selection
}

// Selection is a selector of objects, and one of the namespaces in which they are looked for, as
// prometheus-operator reads them: no selector of objects selects none, an empty one all; no
// selector of namespaces means the own namespace, an empty one all.
type Selection struct {
	Objects, Namespaces *metav1.LabelSelector
}

// Child is a ServiceMonitor, PodMonitor or PrometheusRule of a stack, which is of use only if it is
// selected.
type Child struct {
	Part
	// Object is its kind, and Name its name.
	Object, Name string
	Labels       map[string]string
}

// The kinds of Child.
const (
	ServiceMonitor = "ServiceMonitor"
	PodMonitor     = "PodMonitor"
	PrometheusRule = "PrometheusRule"
)

// of returns what a Prometheus selects of a kind.
func (p *Prometheus) of(kind string) *Selection {
	switch kind {
	case PrometheusRule:
		return p.Rules
	case PodMonitor:
		return p.PodMonitors
	default:
		return p.Monitors
	}
}

// Selected says of the parts of a stack in that namespace whether some Prometheus selects their
// objects. It says nothing where no Prometheus takes objects of the kind: something else may. What
// prometheus-operator itself says of an object counts more.
func Selected(namespace string, children []Child, cluster Cluster) (findings []Finding) {
	for _, child := range children {
		if why := cluster.Refused[child.Part]; why != "" {
			findings = append(findings, Finding{Part: child.Part, Level: obsv1.LevelSelected,
				State: metav1.ConditionFalse, Reason: obsv1.ReasonNotAccepted, Message: why})
			continue
		}
		needs := needsOf(child.Object, namespace, child.Labels, cluster)
		if len(needs) == 0 {
			continue
		}
		finding := Finding{Part: child.Part, Level: obsv1.LevelSelected, State: metav1.ConditionTrue,
			Reason: obsv1.ReasonSelected}
		if !needs[0].met() {
			finding.State, finding.Reason = metav1.ConditionFalse, obsv1.ReasonNotSelected
			finding.Message = fmt.Sprintf("no Prometheus selects %s %s: %s", child.Object, child.Name,
				some(needs, "; ", func(n need) string { return n.String(child.Object) }))
			if _, ok := needs[0].labels(); ok {
				finding.Message += "; spec.metrics.labels sets labels"
			}
		}
		findings = append(findings, finding)
	}
	return findings
}

// need is what an object lacks for a Prometheus to select it.
type need struct {
	prometheus string
	// nothing is set if the Prometheus selects no object of the kind at all, and own if it looks in
	// its own namespace alone, which is another one.
	nothing, own bool
	// unmet are the requirements that the object's labels do not meet, and elsewhere those that the
	// labels of its namespace do not meet. All is well if there are none.
	unmet, elsewhere []labels.Requirement
	invalid          bool
}

func (n need) met() bool {
	return !n.nothing && !n.own && !n.invalid && len(n.unmet)+len(n.elsewhere) == 0
}

// needsOf an object of every Prometheus that takes its kind, the nearest first.
func needsOf(kind, namespace string, of map[string]string, cluster Cluster) (needs []need) {
	for i := range cluster.Prometheuses {
		p := &cluster.Prometheuses[i]
		selects := p.of(kind)
		if selects == nil {
			continue
		}
		n := need{prometheus: p.Namespace + "/" + p.Name, nothing: selects.Objects == nil}
		n.own = selects.Namespaces == nil && p.Namespace != namespace
		var objects, namespaces bool
		n.unmet, objects = unmet(selects.Objects, of)
		n.elsewhere, namespaces = unmet(selects.Namespaces, cluster.Labels)
		n.invalid = !objects || !namespaces
		needs = append(needs, n)
	}
	slices.SortFunc(needs, func(a, b need) int {
		return cmp.Or(a.distance()-b.distance(), strings.Compare(a.prometheus, b.prometheus))
	})
	return needs
}

// unmet are the requirements of a selector that labels do not meet. It is not ok if the selector
// is malformed, which selects nothing.
func unmet(selector *metav1.LabelSelector, of map[string]string) (requirements []labels.Requirement, ok bool) {
	if selector == nil {
		return nil, true
	}
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil, false
	}
	all, _ := parsed.Requirements()
	for _, r := range all {
		if !r.Matches(labels.Set(of)) {
			requirements = append(requirements, r)
		}
	}
	return requirements, true
}

// distance grows with what would have to change. What is wrong with the namespace is another
// people's to change.
func (n need) distance() int {
	const far = 1 << 10
	distance := len(n.unmet) + far*len(n.elsewhere)
	if n.own {
		distance += far
	}
	if n.nothing || n.invalid {
		distance += far * far
	}
	return distance
}

// labels are those that would meet the need. It is not ok if labels alone would not.
func (n need) labels() (missing map[string]string, ok bool) {
	if n.nothing || n.own || n.invalid || len(n.elsewhere) > 0 || len(n.unmet) > maxLabels {
		return nil, false
	}
	missing = map[string]string{}
	for _, r := range n.unmet {
		values := r.ValuesUnsorted()
		if r.Operator() != selection.Equals || len(values) != 1 || ours(r.Key()) {
			return nil, false
		}
		missing[r.Key()] = values[0]
	}
	return missing, true
}

// maxLabels is how many labels a spec may set.
const maxLabels = 16

// ours reports whether a label says to whom an object belongs, which a Prometheus must not decide.
func ours(key string) bool {
	return strings.HasPrefix(key, "obstack.dev/") || strings.HasPrefix(key, "app.kubernetes.io/")
}

// String says what a Prometheus wants of an object of that kind.
func (n need) String(kind string) string {
	if n.nothing {
		return fmt.Sprintf("%s selects no %s", n.prometheus, kind)
	}
	var wants []string
	if len(n.unmet) > 0 {
		wants = append(wants, "wants "+joined(n.unmet))
	}
	switch {
	case n.invalid:
		wants = append(wants, "has a malformed selector")
	case n.own:
		wants = append(wants, "looks in its own namespace only")
	case len(n.elsewhere) > 0:
		wants = append(wants, "looks in namespaces with "+joined(n.elsewhere)+" only")
	}
	return n.prometheus + " " + strings.Join(wants, " and ")
}

func joined(requirements []labels.Requirement) string {
	return some(requirements, ",", func(r labels.Requirement) string { return r.String() })
}

// maxSome bounds the lists in messages.
const maxSome = 3

// some of a list, and how many more there are.
func some[T any](list []T, separator string, say func(T) string) string {
	var said []string
	for _, one := range list[:min(len(list), maxSome)] {
		said = append(said, say(one))
	}
	if more := len(list) - maxSome; more > 0 {
		said = append(said, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(said, separator)
}
