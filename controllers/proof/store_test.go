// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"cmp"
	"context"
	"fmt"
	"strings"
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
		// pending is set if it stays so though there was a round.
		pending bool
	}{
		{name: "nobody was asked", want: "Unknown NotAsked", wakes: 0},
		{name: "the first success counts", rounds: []string{"True"}, want: "True R", wakes: 1},
		{name: "a new part may be at fault for a moment", rounds: []string{"False", "False"}, want: "Unknown R", wakes: 1},
		{name: "and not for long", rounds: []string{"False", "False", "False"}, want: "False R", wakes: 2},
		{name: "in a row", rounds: []string{"False", "False", "Unknown", "False"}, want: "Unknown R", wakes: 1},
		{name: "one round is not enough", rounds: []string{"True", "False"}, want: "True R", wakes: 1},
		{name: "two are", rounds: []string{"True", "False", "False"}, want: "False R", wakes: 2},
		{name: "taking turns changes nothing", rounds: []string{"True", "False", "True", "False", "True"}, want: "True R",
			wakes: 1},
		{name: "whatever the fault is, two are", rounds: []string{"True", "False A", "False B"}, want: "False B", wakes: 2},
		{name: "and it is not another one each time",
			rounds: []string{"True", "False A", "False B", "False A", "False B"}, want: "False B", wakes: 2},
		{name: "what is not seen for two rounds is not known", rounds: []string{"True", "False A", "Unknown B"},
			want: "Unknown B", wakes: 2},
		{name: "nor is it at fault yet", rounds: []string{"True", "Unknown A", "False B"}, want: "Unknown B", wakes: 2},
		{name: "nor why it is not known another one each time",
			rounds: []string{"Unknown A", "Unknown B", "Unknown A", "Unknown B"}, want: "Unknown A", wakes: 1},
		{name: "a cure takes two as well", status: part("False", obsv1.LevelSeen), rounds: []string{"True", "True"},
			want: "True R", wakes: 2},
		{name: "what was unknown is replaced at once", rounds: []string{"Unknown", "True"}, want: "True R", wakes: 2},
		{name: "no response changes nothing", rounds: []string{"True", "-"}, want: "True R", wakes: 1},
		{name: "no response twice is a gap", rounds: []string{"True", "-", "-", "-"}, want: "True R gap", wakes: 2},
		{name: "a gap ends", rounds: []string{"True", "-", "-", "True"}, want: "True R", wakes: 3},
		{name: "nobody ever responded", rounds: []string{"-"}, want: "Unknown Unreachable gap", wakes: 1},
		{name: "what the status says counts after a restart", status: part("False", obsv1.LevelSeen), want: "False R"},
		{name: "also before the second round", status: part("False", obsv1.LevelSeen), rounds: []string{"True"},
			want: "False R", wakes: 1},
		{name: "and in a gap", status: part("True", obsv1.LevelSeen), rounds: []string{"-"}, want: "True R", wakes: 1,
			pending: true},
		{name: "which stays one", status: part("True", obsv1.LevelSeen), rounds: []string{"-", "-"}, want: "True R gap",
			wakes: 2},
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
				state, reason, _ := strings.Cut(round, " ")
				store.Set(t.Context(), stack, SourcePrometheus, []judge.Finding{{
					Part:  judge.Part{Kind: obsv1.PartMonitor, Name: "api"},
					Level: obsv1.LevelSeen, State: metav1.ConditionStatus(state), Reason: cmp.Or(reason, "R"),
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
			if want := test.pending || len(test.rounds) == 0; evidence.Pending != want {
				t.Errorf("pending is %t after %d rounds", evidence.Pending, len(test.rounds))
			}
		})
	}
}

// TestStoreForgetsStacksThatAreGone although a round was under way when they went.
func TestStoreForgetsStacksThatAreGone(t *testing.T) {
	store := &Store{}
	gone := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop", UID: "1"}}
	gone.Spec.Metrics = &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{{Name: "api"}}}
	store.Set(t.Context(), gone, SourcePrometheus, []judge.Finding{{
		Part: judge.Part{Kind: obsv1.PartMonitor, Name: "api"}, Level: obsv1.LevelSeen, State: metav1.ConditionTrue,
	}})
	anew := gone.DeepCopy()
	anew.UID = "2"
	if evidence := store.Evidence(anew); !evidence.Pending || evidence.Findings[0].State != metav1.ConditionUnknown {
		t.Errorf("of a stack that was made anew is known %+v", evidence)
	}
	if _, err := store.stacks(t.Context(), &objects{all: []client.Object{anew}}); err != nil || len(store.known) > 0 {
		t.Errorf("the store still knows %v of a stack that is gone (%v)", store.known, err)
	}
}

// TestStoreSaysNothingOfASourceThatIsOff: nobody would ever take back what the status says.
func TestStoreSaysNothingOfASourceThatIsOff(t *testing.T) {
	stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}}
	stack.Spec.Metrics = &obsv1.MetricsSpec{Monitors: []obsv1.Monitor{{Name: "api"}}}
	for _, state := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse} {
		stack.Status.Parts = []obsv1.PartStatus{*part(state, obsv1.LevelSeen)}
		store := &Store{Off: map[Source]bool{SourcePrometheus: true}}
		evidence := store.Evidence(stack)
		got := fmt.Sprint(len(evidence.Findings), evidence.Findings[0].State, " ", evidence.Findings[0].Reason)
		if got != "1Unknown NotAsked" || evidence.Pending {
			t.Errorf("after %s is known %+v", state, evidence)
		}
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
