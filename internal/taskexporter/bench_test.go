// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"log/slog"
	"testing"
	"time"

	"obstack.dev/obstack/internal/taskexporter/broker"
	"obstack.dev/obstack/internal/taskexporter/wire"
)

// BenchmarkMessage is the cost of one captured message, from bytes to counts; it reports events.
func BenchmarkMessage(b *testing.B) {
	options, err := ParseOptions([]string{"--broker-url", "redis://localhost"}, noEnv, nil)
	if err != nil {
		b.Fatal(err)
	}
	e := New(options, broker.New(options.Address, options.Transport, nil), slog.New(slog.DiscardHandler))
	e.tracker.now = time.Unix(start, 0)
	messages := capturedRedis(b)
	format := wire.Format{Enveloped: true}
	events := 0
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m := messages[i%len(messages)]
		e.tracker.message([]byte(m.Raw), format)
		events += len(m.EventTypes)
	}
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}
