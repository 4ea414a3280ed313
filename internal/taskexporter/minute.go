// SPDX-License-Identifier: Apache-2.0

package taskexporter

import "sync/atomic"

// minute counts events, and those of the last sixty seconds. One goroutine changes it and any
// number read.
type minute struct {
	total atomic.Uint64
	// before are the totals of the last sixty seconds, a ring.
	before [60]atomic.Uint64
	oldest atomic.Uint32
}

// tick is called once a second.
func (m *minute) tick() {
	at := m.oldest.Load()
	m.before[at].Store(m.total.Load())
	m.oldest.Store((at + 1) % uint32(len(m.before)))
}

func (m *minute) recent() uint64 { return m.total.Load() - m.before[m.oldest.Load()].Load() }
