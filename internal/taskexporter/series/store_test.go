// SPDX-License-Identifier: Apache-2.0

package series

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

func newStore(limit int) *Store {
	return New(Config{Prefix: "celery_", RuntimeBuckets: []float64{1}, WaitBuckets: []float64{1, 2}, MaxSeries: limit})
}

// fill makes series of every kind for a host.
func fill(s *Store, host string) {
	s.Sent(Key{"n", host, "q"})
	task := s.Task(Key{"n", host, "q"})
	task.Inc(Started)
	task.Fail("E")
	task.ObserveRuntime(0.5)
	task.ObserveFailedRuntime(2)
	task.ObserveWait(3)
}

func purge(s *Store, host string) {
	s.PurgeWorkers(map[string]bool{host: true})
	s.PurgeClients(map[string]bool{host: true})
}

func text(t *testing.T, s *Store) string {
	t.Helper()
	var b strings.Builder
	if err := s.WriteText(&b, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// samples counts the lines that are no comments.
func samples(text string) int {
	n := 0
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			n++
		}
	}
	return n
}

func TestKeptIsTheNumberOfSamples(t *testing.T) {
	s := newStore(1000)
	for i := range 10 {
		fill(s, fmt.Sprint("host", i))
	}
	if got := samples(text(t, s)); got != s.Kept() {
		t.Errorf("%d samples, but %d kept", got, s.Kept())
	}
	for i := range 10 {
		purge(s, fmt.Sprint("host", i))
	}
	if got := samples(text(t, s)); got != 0 || s.Kept() != 0 {
		t.Errorf("%d samples and %d kept after the purge", got, s.Kept())
	}
}

func TestTheLimitHoldsAndNothingIsLost(t *testing.T) {
	s := newStore(50)
	for i := range 100 {
		fill(s, fmt.Sprint("host", i))
	}
	if s.Kept() > 50 {
		t.Errorf("%d series kept", s.Kept())
	}
	if got := strings.Count(text(t, s), Overflow); got == 0 || got > 100 {
		t.Errorf("%d lines of overflow", got)
	}
	purge(s, Overflow)
	if !strings.Contains(text(t, s), `hostname="overflow"`) {
		t.Error("the overflow was purged")
	}
}

// TestClientsTakeNoWorkersPlace: they are web servers, which come and go by the thousand.
func TestClientsTakeNoWorkersPlace(t *testing.T) {
	s := newStore(100)
	for i := range 1000 {
		s.Sent(Key{"n", fmt.Sprint("client", i), "q"})
	}
	fill(s, "worker")
	got := text(t, s)
	if !strings.Contains(got, `started_total{name="n",hostname="worker",queue_name="q"} 1`) {
		t.Errorf("clients leave no room for a worker:\n%s", got)
	}
	if clients := strings.Count(got, `hostname="client`); clients != 20 {
		t.Errorf("%d series of clients, want 20", clients)
	}
	for i := range 1000 {
		fill(s, fmt.Sprint("worker", i))
	}
	purge(s, "client0")
	if s.Sent(Key{"n", "new", "q"}); !strings.Contains(text(t, s), `hostname="new"`) {
		t.Error("workers leave no room for a client")
	}
}

func TestIdleLabelSetsAreForgotten(t *testing.T) {
	s := newStore(1000)
	s.config.MaxIdle = time.Hour
	start := time.Unix(1_700_000_000, 0)
	s.Expire(start)
	fill(s, "idle")
	fill(s, "busy")
	for minute := range 62 {
		s.Expire(start.Add(time.Duration(minute) * time.Minute))
		fill(s, "busy")
	}
	if got := text(t, s); strings.Contains(got, "idle") || !strings.Contains(got,
		`started_total{name="n",hostname="busy",queue_name="q"} 63`) {
		t.Errorf("after an hour:\n%s", got)
	}
	if got := samples(text(t, s)); got != s.Kept() {
		t.Errorf("%d samples, but %d kept", got, s.Kept())
	}
}

func TestWhatIsCountedBeforeTheFirstLookIsNew(t *testing.T) {
	s := newStore(1000)
	s.config.MaxIdle = time.Hour
	fill(s, "early")
	start := time.Unix(1_700_000_000, 0)
	for _, after := range []time.Duration{0, time.Minute, time.Hour} {
		s.Expire(start.Add(after))
		if !strings.Contains(text(t, s), "early") {
			t.Errorf("forgotten after %v", after)
		}
	}
	if s.Expire(start.Add(62 * time.Minute)); strings.Contains(text(t, s), "early") {
		t.Error("not forgotten after an hour")
	}
}

func TestNativeHistogramsAreInTheBudget(t *testing.T) {
	s := newStore(1000)
	s.config.Native = true
	for i := range 100 {
		fill(s, fmt.Sprint("host", i))
	}
	if shown := strings.Count(text(t, s), "runtime_count{"); shown > 1000/nativeBuckets || s.Kept() > 1000 {
		t.Errorf("%d native histograms, %d series kept", shown, s.Kept())
	}
	for i := range 100 {
		purge(s, fmt.Sprint("host", i))
	}
	if s.Kept() != 0 {
		t.Errorf("%d series kept after the purge", s.Kept())
	}
}

func TestScrapesAndCountingDoNotDisturbEachOther(t *testing.T) {
	s := newStore(10_000)
	var scrapes sync.WaitGroup
	for range 2 {
		scrapes.Go(func() {
			for range 50 {
				if err := s.WriteText(io.Discard, true); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 2000 {
		fill(s, fmt.Sprint("host", i%30))
		if i%100 == 0 {
			purge(s, fmt.Sprint("host", i%30))
		}
	}
	scrapes.Wait()
}
