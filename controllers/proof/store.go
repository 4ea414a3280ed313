// SPDX-License-Identifier: Apache-2.0

// Package proof finds out, beside the passes, whether what they wrote works. It asks who knows:
// Prometheus, the exporters, Grafana and Sentry. The passes read what was found.
package proof

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/proof/judge"
)

// Source is who is asked.
type Source string

// The sources.
const (
	SourcePrometheus Source = "prometheus"
	SourceExporter   Source = "exporter"
	SourceGrafana    Source = "grafana"
	SourceSentry     Source = "sentry"
)

// knows are the kinds of the parts that a source is asked about.
var knows = map[Source][]obsv1.PartKind{
	SourcePrometheus: {obsv1.PartMonitor, obsv1.PartPython, obsv1.PartBroker, obsv1.PartAlerts, obsv1.PartSLO},
	SourceExporter:   {obsv1.PartBroker},
	SourceGrafana:    {obsv1.PartDashboard},
	SourceSentry:     {obsv1.PartDSN},
}

// ofExporter are the reasons that only the exporter gives of a broker, about which Prometheus is
// asked as well.
var ofExporter = []string{
	obsv1.ReasonBrokerUnreachable, obsv1.ReasonEventsDisabled, obsv1.ReasonNoConsumer, obsv1.ReasonNoEvents,
	obsv1.ReasonForeignImage,
}

// flags have the intervals of the sources.
var flags = map[Source]string{
	SourcePrometheus: "proof-interval", SourceExporter: "proof-interval", SourceGrafana: "dashboard-proof-interval",
	SourceSentry: "sentry-proof-interval",
}

var sources = []Source{SourcePrometheus, SourceExporter, SourceGrafana, SourceSentry}

// Store holds what the sources said last. The zero Store is empty and wakes nobody.
//
// What a source says of a part must be so for two rounds before it replaces what is known. A source
// that does not respond changes nothing that is known, nor does a restart: until a source has
// responded, the stack's status counts.
type Store struct {
	// Changed gets the stacks of which something else is known now.
	Changed chan event.GenericEvent
	// Off are the sources that are never asked, by which nothing can be known.
	Off map[Source]bool

	mu    sync.Mutex
	known map[id]map[Source]*record
}

// id of a stack, which another of the same name has not.
type id struct {
	types.NamespacedName

	uid types.UID
}

func idOf(stack *obsv1.ObservabilityStack) id {
	return id{client.ObjectKeyFromObject(stack), stack.UID}
}

// record is what one source says of one stack.
type record struct {
	// findings are known; latest are those of the last round.
	findings, latest []judge.Finding
	// faults are the rounds in a row that found something wrong.
	faults map[place]rounds
	// gap is set if the source did not respond twice; failed, if it did not respond last.
	gap    *judge.Gap
	failed bool
	// at is when the source responded last; zero if it did not since the operator started.
	at time.Time
	// found is when it last found out whether a part works.
	found time.Time
}

// Set takes what a round of a source found out about a stack.
func (s *Store) Set(ctx context.Context, stack *obsv1.ObservabilityStack, source Source, findings []judge.Finding) {
	s.update(ctx, stack, source, func(r *record) bool {
		next := record{latest: findings, faults: map[place]rounds{}, at: time.Now()}
		for _, f := range findings {
			at := place{f.Part, f.Level}
			if f.State == metav1.ConditionFalse {
				next.faults[at] = r.faults[at].more(next.at)
			}
			next.findings = append(next.findings, settled(source, find(r.findings, f), find(r.latest, f), f, next.faults[at]))
		}
		if next.found = next.at; !slices.ContainsFunc(findings, sure) {
			next.found = r.found
		}
		changed := r.gap != nil || !slices.Equal(next.findings, r.findings)
		*r = next
		return changed
	})
}

// Unavailable takes that a source did not respond.
func (s *Store) Unavailable(ctx context.Context, stack *obsv1.ObservabilityStack, source Source, gap judge.Gap) {
	s.update(ctx, stack, source, func(r *record) bool {
		before := r.gap
		if r.failed || len(r.findings) == 0 {
			r.gap = &gap
		}
		r.failed = true
		return r.gap != nil && (before == nil || *before != gap)
	})
}

func (s *Store) update(ctx context.Context, stack *obsv1.ObservabilityStack, source Source, apply func(*record) bool) {
	name := idOf(stack)
	s.mu.Lock()
	if s.known == nil {
		s.known = map[id]map[Source]*record{}
	}
	if s.known[name] == nil {
		s.known[name] = map[Source]*record{}
	}
	first := s.known[name][source] == nil
	if first {
		s.known[name][source] = &record{findings: reported(stack, source)}
	}
	changed := apply(s.known[name][source])
	s.mu.Unlock()
	if (first || changed) && s.Changed != nil {
		wake(ctx, s.Changed, name.NamespacedName)
	}
}

// wake has a stack looked at again.
func wake(ctx context.Context, changed chan event.GenericEvent, stack types.NamespacedName) {
	woken := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: stack.Name}}
	select {
	case changed <- event.GenericEvent{Object: woken}:
	case <-ctx.Done():
	}
}

// find what is said of the same part at the same level; zero if nothing is.
func find(findings []judge.Finding, like judge.Finding) judge.Finding {
	i := slices.IndexFunc(findings, func(f judge.Finding) bool { return f.Part == like.Part && f.Level == like.Level })
	if i < 0 {
		return judge.Finding{}
	}
	return findings[i]
}

// saidBy reports whether what the status says of a part is what a source found. Of a broker, it
// would else stay for ever if the one that is taken for its source is away.
func saidBy(source Source, part obsv1.PartStatus) bool {
	switch {
	case !slices.Contains(knows[source], part.Kind), part.Reason == obsv1.ReasonNotReady,
		part.Reason == obsv1.ReasonNotAsked:
		return false
	case part.Kind == obsv1.PartBroker && part.State != metav1.ConditionTrue:
		if slices.Contains(ofExporter, part.Reason) != (source == SourceExporter) {
			return false
		}
	}
	// What is not selected, the pass sees by itself, but for sidecars.
	return part.State != metav1.ConditionFalse || part.Level == obsv1.LevelSeen || source == SourceGrafana
}

// reported is what the status says of a source's parts.
func reported(stack *obsv1.ObservabilityStack, source Source) (findings []judge.Finding) {
	for _, part := range stack.Status.Parts {
		if !saidBy(source, part) {
			continue
		}
		f := judge.Finding{
			Part: judge.Part{Kind: part.Kind, Name: part.Name}, Level: part.Level, State: part.State, Reason: part.Reason,
			Message: part.Message,
		}
		if part.State == metav1.ConditionUnknown {
			f.Level = obsv1.LevelSeen
		}
		if part.TargetsUp != nil && part.Targets != nil {
			f.Up, f.Total = *part.TargetsUp, *part.Targets
		}
		findings = append(findings, f)
		if source == SourceGrafana && f.State == metav1.ConditionTrue {
			f.Level, f.Reason, f.Message = obsv1.LevelSelected, obsv1.ReasonSelected, ""
			findings = append(findings, f)
		}
	}
	return findings
}

// Evidence is what is known of a stack.
func (s *Store) Evidence(stack *obsv1.ObservabilityStack) (evidence judge.Evidence) {
	s.mu.Lock()
	defer s.mu.Unlock()
	records := s.known[idOf(stack)]
	parts := judge.Parts(stack)
	for _, source := range sources {
		about := slices.DeleteFunc(slices.Clone(parts), func(p judge.Part) bool {
			return !slices.Contains(knows[source], p.Kind)
		})
		if len(about) == 0 {
			continue
		}
		r := records[source]
		switch {
		case s.Off[source]:
			r = &record{gap: &judge.Gap{Reason: obsv1.ReasonNotAsked, Message: fmt.Sprintf(
				"obstack asks nobody: its flag --%s is 0", flags[source])}}
		case r == nil:
			r = &record{findings: reported(stack, source)}
		}
		// A single round without a response says nothing.
		evidence.Pending = evidence.Pending || r.at.IsZero() && r.gap == nil
		evidence.Findings = append(evidence.Findings, r.findings...)
		if r.gap != nil {
			evidence.Gaps = append(evidence.Gaps, *r.gap)
		}
		for _, part := range about {
			seen := judge.Finding{
				Part: part, Level: obsv1.LevelSeen, State: metav1.ConditionUnknown, Reason: obsv1.ReasonNotAsked,
			}
			if find(r.findings, seen).State != "" {
				continue
			}
			if r.gap != nil {
				seen.Reason, seen.Message = r.gap.Reason, r.gap.Message
			}
			evidence.Findings = append(evidence.Findings, seen)
		}
	}
	return evidence
}

// stacks lists those that are there to stay, from the cache: they must not be changed. What is
// known of others is dropped.
func (s *Store) stacks(ctx context.Context, cached client.Reader) ([]*obsv1.ObservabilityStack, error) {
	list := &obsv1.ObservabilityStackList{}
	if err := cached.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list stacks: %w", err)
	}
	var stacks []*obsv1.ObservabilityStack
	there := make(map[id]bool, len(list.Items))
	for i := range list.Items {
		if stack := &list.Items[i]; stack.DeletionTimestamp.IsZero() {
			stacks, there[idOf(stack)] = append(stacks, stack), true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.known, func(of id, _ map[Source]*record) bool { return !there[of] })
	return stacks, nil
}
