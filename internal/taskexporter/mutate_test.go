// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

// defaultMutated is how many messages TestRandomMessagesNeedBoundedMemory sends; OBSTACK_MUTATED
// sets another number.
const defaultMutated = 200_000

// TestRandomMessagesNeedBoundedMemory sends captured messages that were changed at random, and
// valid ones with random names, hosts, queues and ids, and looks at the heap.
func TestRandomMessagesNeedBoundedMemory(t *testing.T) {
	count := defaultMutated
	if text := os.Getenv("OBSTACK_MUTATED"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	b := newBench(t, "--max-series", "20000", "--max-tasks", "20000")
	samples := capturedRedis(t)
	random := rand.New(rand.NewPCG(7, 11))
	const limit = 64 << 20
	for i := range count {
		if i%2 == 0 {
			b.tracker.message(mutate(random, samples[random.IntN(len(samples))].Raw), wire.Format{Enveloped: true})
		} else {
			b.tracker.message(randomEvent(random), wire.Format{ContentType: "application/json"})
		}
		if i%1000 == 0 {
			b.wait(0)
		}
		if i%50_000 == 0 {
			if heap := heapSize(); heap > limit {
				t.Fatalf("%d MiB of heap after %d messages", heap>>20, i)
			}
		}
	}
	t.Logf("%d messages, %d MiB of heap, %d series", count, heapSize()>>20, b.tracker.store.Kept())
	b.metricsText()
}

func heapSize() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// mutate changes, drops, repeats or inserts a few bytes.
func mutate(random *rand.Rand, text string) []byte {
	data := []byte(text)
	for range 1 + random.IntN(4) {
		at := random.IntN(len(data))
		switch random.IntN(4) {
		case 0:
			data[at] = byte(random.IntN(256))
		case 1:
			data = append(data[:at:at], data[min(len(data), at+1+random.IntN(16)):]...)
		case 2:
			data = append(data[:at:at], append([]byte(`"\u`), data[at:]...)...)
		case 3:
			data = append(data, data[at:min(len(data), at+64)]...)
		}
		if len(data) == 0 {
			return []byte("{")
		}
	}
	return data
}

var randomTypes = wire.Types()

func randomEvent(random *rand.Rand) []byte {
	return fmt.Appendf(nil,
		`{"type": %q, "hostname": "w@%x", "uuid": "%x", "name": "n%x", "queue": "q%x", "exception": "E%x()", "runtime": `+
			`%g, "active": 1, "processed": %d, "timestamp": 1}`,
		randomTypes[random.IntN(len(randomTypes))].String(), random.IntN(1<<18), random.IntN(1<<22), random.IntN(1<<20),
		random.IntN(1<<16),
		random.IntN(1<<20), random.ExpFloat64(), random.IntN(1000))
}
