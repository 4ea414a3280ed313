// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

func TestTaskIDsOfUUIDsAndOthersDiffer(t *testing.T) {
	seen := map[taskID]string{}
	for _, text := range []string{
		"20ad2e65-20f3-4667-9dfb-2b42a74452e4", "20ad2e65-20f3-4667-9dfb-2b42a74452e5",
		"20ad2e65-20f3-4667-9dfb-2b42a74452eX",
		"20ad2e6520f346679dfb2b42a74452e4", "email-17", "", "x",
	} {
		id := newTaskID([]byte(text))
		if other, known := seen[id]; known {
			t.Errorf("%q and %q have the same id", text, other)
		}
		seen[id] = text
	}
}

// TestCacheAgainstAModel does random things with a small cache and with plain maps and lists.
func TestCacheAgainstAModel(t *testing.T) {
	const limit = 20
	c := newTaskCache(limit)
	var live []taskID // oldest first
	finished := map[taskID]bool{}
	random := rand.New(rand.NewPCG(1, 2))
	use := func(id taskID) {
		live = append(without(live, id), id)
		live = live[max(0, len(live)-limit):]
	}
	for range 20_000 {
		id := newTaskID(fmt.Append(nil, random.IntN(60)))
		task := c.touch(id)
		if !finished[id] {
			use(id)
		}
		switch random.IntN(4) {
		case 0:
			c.finish(task, wire.TaskSucceeded)
			finished[id] = true
			live = without(live, id)
		case 1:
			c.resume(task)
			delete(finished, id)
			use(id)
		}
		if c.live.length != len(live) || c.finished.length != len(finished) || len(c.index) != len(live)+len(finished) {
			t.Fatalf("%d live, %d finished, %d known, want %d and %d", c.live.length, c.finished.length, len(c.index), len(live),
				len(finished))
		}
		for _, id := range live {
			if c.get(id) == nil {
				t.Fatal("a task was forgotten too early")
			}
		}
	}
}

func without(list []taskID, id taskID) []taskID {
	var rest []taskID
	for _, other := range list {
		if other != id {
			rest = append(rest, other)
		}
	}
	return rest
}

func TestEvictionsAreCountedAndFinishedTasksBounded(t *testing.T) {
	c := newTaskCache(10)
	for i := range 100 {
		c.touch(newTaskID(fmt.Append(nil, i)))
	}
	if got := c.evicted.Load(); got != 90 {
		t.Errorf("%d evictions, want 90", got)
	}
	for i := range 2 * finishedTasks {
		c.finish(c.touch(newTaskID(fmt.Append(nil, "f", i))), wire.TaskFailed)
	}
	if c.finished.length != finishedTasks || c.live.length > 10 {
		t.Errorf("%d finished and %d live tasks", c.finished.length, c.live.length)
	}
}

func TestMailboxDropsWhatIsBeyondItsLimit(t *testing.T) {
	m := newMailbox(10 * (perMessage + 4))
	format := wire.Format{Enveloped: true}
	for i := range 12 {
		if got, want := m.put([]byte("four"), format, true), i < 10; got != want {
			t.Errorf("message %d taken = %v, want %v", i, got, want)
		}
	}
	m.signal()
	<-m.ready
	count := 0
	m.take().each(func(body []byte, got wire.Format, _ bool) {
		if string(body) != "four" || got != format {
			t.Errorf("took %q as %+v", body, got)
		}
		count++
	})
	if count != 10 || m.bytes() != 0 {
		t.Errorf("%d messages taken, %d bytes left", count, m.bytes())
	}
	if !m.put([]byte("more"), format, true) {
		t.Error("no room after the mailbox was emptied")
	}
}

func TestMailboxKeepsOrderAcrossChunksAndGivesThemBack(t *testing.T) {
	m := newMailbox(64 << 20)
	sizes := []int{10, chunkBytes - 10, 1, chunkBytes, chunkBytes + 1, 8 << 20, 0, 5}
	for range 10 {
		for i, size := range sizes {
			if !m.put(bytes.Repeat([]byte{byte(i)}, size), wire.Format{}, true) {
				t.Fatal("no room")
			}
		}
		got := []int{}
		for taken := m.take(); taken != nil; taken = m.take() {
			taken.each(func(body []byte, _ wire.Format, _ bool) {
				if len(body) > 0 && body[len(body)-1] != byte(len(got)) {
					t.Errorf("message %d holds %d", len(got), body[0])
				}
				got = append(got, len(body))
			})
		}
		if !slices.Equal(got, sizes) {
			t.Fatalf("sizes = %v, want %v", got, sizes)
		}
	}
	kept := 0
	for _, c := range m.spare {
		kept += cap(c.data)
	}
	if kept == 0 || kept > spareChunks*chunkBytes || m.bytes() != 0 {
		t.Errorf("%d bytes are kept and %d wait", kept, m.bytes())
	}
}

func TestAFullChunkWakesTheProcessing(t *testing.T) {
	m := newMailbox(64 << 20)
	m.put(make([]byte, chunkBytes), wire.Format{}, true)
	if len(m.ready) != 0 {
		t.Error("woken before the reader had put in all it had")
	}
	m.put(make([]byte, chunkBytes), wire.Format{}, true)
	if len(m.ready) != 1 {
		t.Error("a full chunk woke nothing")
	}
}

func TestBackoffGrowsAndIsBounded(t *testing.T) {
	for failures := range 100 {
		if pause := backoff(failures, false); pause < shortestPause/2 || pause > longestPause {
			t.Errorf("pause %v after %d failures", pause, failures)
		}
		if pause := backoff(failures, true); pause < shortestPause ||
			pause > 2*refusedPause || failures >= 4 && pause < time.Minute {
			t.Errorf("pause %v after %d refusals", pause, failures)
		}
	}
}
