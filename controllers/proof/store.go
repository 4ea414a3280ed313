// SPDX-License-Identifier: Apache-2.0

// Package proof finds out, beside the passes, whether what they wrote works. It asks who knows:
// Prometheus, the exporters, Grafana and Sentry. The passes read what was found.
package proof

import (
	"context"
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
	SourcePrometheus: {obsv1.PartMonitor, obsv1.PartBroker, obsv1.PartAlerts, obsv1.PartSLO},
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

var sources = []Source{SourcePrometheus, SourceExporter, SourceGrafana, SourceSentry}

// Store holds what the sources said last. The zero Store is empty and wakes nobody.
//
// What a source says of a part must be the same in two rounds before it replaces what is known. A
// source that does not respond changes nothing that is known, nor does a restart: until a source
// was asked, the stack's status counts.
type Store struct {
	// Changed gets the stacks of which something else is known now.
	Changed chan event.GenericEvent

	mu    sync.Mutex
	known map[types.NamespacedName]map[Source]*record
}

// record is what one source says of one stack.
type record struct {
	// findings are known; latest are those of the last round.
	findings, latest []judge.Finding
	// gap is set if the source did not respond twice; failed, if it did not respond last.
	gap    *judge.Gap
	failed bool
	// at is when the source responded last; zero if it did not since the operator started.
	at time.Time
}

// Set takes what a round of a source found out about a stack.
func (s *Store) Set(ctx context.Context, stack *obsv1.ObservabilityStack, source Source, findings []judge.Finding) {
	s.update(ctx, stack, source, func(r *record) bool {
		next := confirmed(r.findings, r.latest, findings)
		changed := r.gap != nil || !slices.Equal(next, r.findings)
		*r = record{findings: next, latest: findings, at: time.Now()}
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
	name := client.ObjectKeyFromObject(stack)
	s.mu.Lock()
	if s.known == nil {
		s.known = map[types.NamespacedName]map[Source]*record{}
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
		select {
		case s.Changed <- event.GenericEvent{Object: &obsv1.ObservabilityStack{
			ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: stack.Name},
		}}:
		case <-ctx.Done():
		}
	}
}

// confirmed are the findings that count after a round.
func confirmed(known, before, now []judge.Finding) []judge.Finding {
	next := slices.Clone(now)
	for i, f := range now {
		k := find(known, f)
		if k == nil || *k == f || k.State == metav1.ConditionUnknown {
			continue
		}
		if b := find(before, f); b == nil || b.State != f.State || b.Reason != f.Reason {
			next[i] = *k
		}
	}
	return next
}

// find what is said of the same part at the same level.
func find(findings []judge.Finding, like judge.Finding) *judge.Finding {
	i := slices.IndexFunc(findings, func(f judge.Finding) bool { return f.Part == like.Part && f.Level == like.Level })
	if i < 0 {
		return nil
	}
	return &findings[i]
}

// ofAnother reports whether what the status says of a broker is what another source found. It would
// stay for ever if the one that is taken for its source is away.
func ofAnother(part obsv1.PartStatus, source Source) bool {
	return part.Kind == obsv1.PartBroker && part.State != metav1.ConditionTrue &&
		slices.Contains(ofExporter, part.Reason) != (source == SourceExporter)
}

// reported is what the status says of a source's parts.
func reported(stack *obsv1.ObservabilityStack, source Source) (findings []judge.Finding) {
	for _, part := range stack.Status.Parts {
		// What is not selected, the pass sees by itself, but for sidecars.
		if !slices.Contains(knows[source], part.Kind) || part.Reason == obsv1.ReasonNotReady || ofAnother(part, source) ||
			part.State == metav1.ConditionFalse && part.Level != obsv1.LevelSeen && source != SourceGrafana {
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
	}
	return findings
}

// Evidence is what is known of a stack.
func (s *Store) Evidence(stack *obsv1.ObservabilityStack) (evidence judge.Evidence) {
	s.mu.Lock()
	defer s.mu.Unlock()
	records := s.known[client.ObjectKeyFromObject(stack)]
	parts := judge.Parts(stack)
	for _, source := range sources {
		about := slices.DeleteFunc(slices.Clone(parts), func(p judge.Part) bool {
			return !slices.Contains(knows[source], p.Kind)
		})
		if len(about) == 0 {
			continue
		}
		r := records[source]
		if r == nil {
			evidence.Pending = true
			r = &record{findings: reported(stack, source)}
		}
		evidence.Findings = append(evidence.Findings, r.findings...)
		if r.gap != nil {
			evidence.Gaps = append(evidence.Gaps, *r.gap)
		}
		for _, part := range about {
			seen := judge.Finding{
				Part: part, Level: obsv1.LevelSeen, State: metav1.ConditionUnknown, Reason: obsv1.ReasonNotAsked,
			}
			if find(r.findings, seen) != nil {
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

// Forget drops what is known of a stack that is gone.
func (s *Store) Forget(stack types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, stack)
}
