// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/proof/judge"
)

// rounds are what Prometheus said of a monitor, one after another; "-" is no response.
func TestStoreConfirmsWhatChanges(t *testing.T) {
	for _, test := range []struct {
		name   string
		status *obsv1.PartStatus
		rounds []string
		want   string
		wakes  int
	}{
		{name: "nobody was asked", want: "Unknown NotAsked", wakes: 0},
		{name: "the first one counts", rounds: []string{"False"}, want: "False R", wakes: 1},
		{name: "one round is not enough", rounds: []string{"True", "False"}, want: "True R", wakes: 1},
		{name: "two are", rounds: []string{"True", "False", "False"}, want: "False R", wakes: 2},
		{name: "taking turns changes nothing", rounds: []string{"True", "False", "True", "False", "True"}, want: "True R",
			wakes: 1},
		{name: "a cure takes two as well", rounds: []string{"False", "True", "True"}, want: "True R", wakes: 2},
		{name: "what was unknown is replaced at once", rounds: []string{"Unknown", "True"}, want: "True R", wakes: 2},
		{name: "no response changes nothing", rounds: []string{"True", "-"}, want: "True R", wakes: 1},
		{name: "no response twice is a gap", rounds: []string{"True", "-", "-", "-"}, want: "True R gap", wakes: 2},
		{name: "a gap ends", rounds: []string{"True", "-", "-", "True"}, want: "True R", wakes: 3},
		{name: "nobody ever responded", rounds: []string{"-"}, want: "Unknown Unreachable gap", wakes: 1},
		{name: "what the status says counts after a restart", status: part("False", obsv1.LevelSeen), want: "False R"},
		{name: "also before the second round", status: part("False", obsv1.LevelSeen), rounds: []string{"True"},
			want: "False R", wakes: 1},
		{name: "and in a gap", status: part("True", obsv1.LevelSeen), rounds: []string{"-"}, want: "True R", wakes: 1},
		{name: "what a pass finds out is not the source's", status: part("False", obsv1.LevelSelected),
			want: "Unknown NotAsked"},
		{name: "that nobody could be asked stays said", status: part("Unknown", obsv1.LevelSelected), want: "Unknown R"},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := &Store{Changed: make(chan event.GenericEvent, 16)}
			stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}}
			stack.Spec.Metrics = &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{{Name: "api"}}}
			if test.status != nil {
				stack.Status.Parts = []obsv1.PartStatus{*test.status}
			}
			for _, round := range test.rounds {
				if round == "-" {
					store.Unavailable(t.Context(), stack, SourcePrometheus, judge.Gap{Reason: "Unreachable"})
					continue
				}
				store.Set(t.Context(), stack, SourcePrometheus, []judge.Finding{{
					Part:  judge.Part{Kind: obsv1.PartMonitor, Name: "api"},
					Level: obsv1.LevelSeen, State: metav1.ConditionStatus(round), Reason: "R",
				}})
			}
			evidence := store.Evidence(stack)
			if len(evidence.Findings) != 1 {
				t.Fatalf("the findings are %v, not one", evidence.Findings)
			}
			got := fmt.Sprint(evidence.Findings[0].State, " ", evidence.Findings[0].Reason)
			if len(evidence.Gaps) > 0 {
				got += " gap"
			}
			if got != test.want || len(store.Changed) != test.wakes {
				t.Errorf("it is %q after %d wakes, not %q after %d", got, len(store.Changed), test.want, test.wakes)
			}
			if evidence.Pending != (len(test.rounds) == 0) {
				t.Errorf("pending is %t after %d rounds", evidence.Pending, len(test.rounds))
			}
			if store.Forget(client.ObjectKeyFromObject(stack)); len(store.known) != 0 {
				t.Errorf("the store still knows %v of a stack that is gone", store.known)
			}
		})
	}
}

func part(state metav1.ConditionStatus, level obsv1.ProofLevel) *obsv1.PartStatus {
	return &obsv1.PartStatus{Kind: obsv1.PartMonitor, Name: "api", State: state, Level: level, Reason: "R"}
}

// TestStoreTakesNoSourceForAnother: a broker that the exporter reaches again is well, also while
// Prometheus is away.
func TestStoreTakesNoSourceForAnother(t *testing.T) {
	for reason, cures := range map[string]Source{
		obsv1.ReasonBrokerUnreachable: SourceExporter, obsv1.ReasonTargetDown: SourcePrometheus,
	} {
		stack := &obsv1.ObservabilityStack{}
		stack.Spec.Tasks = &obsv1.TasksSpec{Brokers: []obsv1.Broker{{Name: "main"}}}
		stack.Status.Parts = []obsv1.PartStatus{{
			Kind: obsv1.PartBroker, Name: "main", Level: obsv1.LevelSeen, State: metav1.ConditionFalse, Reason: reason,
		}}
		store := &Store{}
		for _, source := range []Source{SourceExporter, SourcePrometheus} {
			for range 2 {
				if source != cures {
					store.Unavailable(t.Context(), stack, source, judge.Gap{Reason: obsv1.ReasonUnreachable})
					continue
				}
				store.Set(t.Context(), stack, source, []judge.Finding{{
					Part:  judge.Part{Kind: obsv1.PartBroker, Name: "main"},
					Level: obsv1.LevelSeen, State: metav1.ConditionTrue, Reason: obsv1.ReasonSeen,
				}})
			}
		}
		for _, f := range store.Evidence(stack).Findings {
			if f.State == metav1.ConditionFalse {
				t.Errorf("%s: it is still %+v, though %s found it well", reason, f, cures)
			}
		}
	}
}

func TestStoreWaitsForNobodyWhenItEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	store := &Store{Changed: make(chan event.GenericEvent)}
	store.Set(ctx, &obsv1.ObservabilityStack{}, SourceSentry, nil)
}
