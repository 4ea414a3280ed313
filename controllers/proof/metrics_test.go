// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	obsv1 "obstack.dev/obstack/api/v1alpha1"
	"obstack.dev/obstack/controllers/proof/judge"
)

// TestStoreShowsTheOldestOfWhatWasFoundOut: neither a source with nothing to ask about nor one that
// found out nothing counts.
func TestStoreShowsTheOldestOfWhatWasFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stack := &obsv1.ObservabilityStack{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}}
		store, start := &Store{}, time.Now()
		say := func(source Source, states ...metav1.ConditionStatus) {
			var findings []judge.Finding
			for _, state := range states {
				findings = append(findings, judge.Finding{
					Part: judge.Part{Kind: obsv1.PartMonitor, Name: "api"}, Level: obsv1.LevelSeen, State: state,
				})
			}
			store.Set(t.Context(), stack, source, findings)
		}
		for _, step := range []struct {
			say  func()
			want time.Duration // after the start; negative if nothing was found out yet
		}{
			{func() { say(SourceSentry) }, -1},
			{func() { say(SourcePrometheus, metav1.ConditionUnknown) }, -1},
			{func() { say(SourcePrometheus, metav1.ConditionTrue) }, 2 * time.Minute},
			{func() { say(SourceGrafana, metav1.ConditionFalse) }, 2 * time.Minute},
			{func() { say(SourcePrometheus, metav1.ConditionTrue) }, 3 * time.Minute},
			{func() { say(SourceGrafana, metav1.ConditionUnknown) }, 3 * time.Minute},
			{func() { store.Unavailable(t.Context(), stack, SourceGrafana, judge.Gap{}) }, 3 * time.Minute},
			{func() { say(SourceGrafana, metav1.ConditionTrue) }, 4 * time.Minute},
		} {
			step.say()
			got := shown(t, store).Sub(start.Truncate(time.Second))
			if step.want < 0 && got > 0 || step.want >= 0 && got != step.want {
				t.Errorf("after %s it shows %s, want %s", time.Since(start), got, step.want)
			}
			time.Sleep(time.Minute)
		}
	})
}

// shown is the time that a Store's metric shows; zero if it has none.
func shown(t *testing.T, store *Store) time.Time {
	t.Helper()
	metrics := make(chan prometheus.Metric, 1)
	store.Collect(metrics)
	select {
	case metric := <-metrics:
		value := &dto.Metric{}
		if err := metric.Write(value); err != nil {
			t.Fatal(err)
		}
		return time.Unix(int64(value.GetGauge().GetValue()), 0)
	default:
		return time.Time{}
	}
}
