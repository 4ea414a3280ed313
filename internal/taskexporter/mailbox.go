// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"sync"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

// mailbox hands messages from the goroutine that reads the broker to the one that processes them.
// Putting never waits: when the mailbox is full, the message is dropped and the caller knows.
// Bodies are copied into chunks of one size, which are used again, so that a backlog makes no
// garbage and never has to be moved to grow.
type mailbox struct {
	// ready holds a token while there may be something to take.
	ready chan struct{}
	limit int // bytes

	mu      sync.Mutex
	waiting []*chunk // the oldest first; the last is being filled
	size    int      // bytes waiting
	counted int      // messages waiting or taken that this exporter counts
	spare   []*chunk
	taken   *chunk // with the processing goroutine
}

// chunk is a number of messages, one behind the other in data.
type chunk struct {
	data     []byte
	messages []message
	counted  int
}

type message struct {
	end    int // of the message in the data
	format wire.Format
	// counted is false for what another exporter of the group counts, and this one only learns from.
	counted bool
}

const (
	// chunkBytes is the size of a chunk: small enough for a processor's cache, and about two
	// hundred messages.
	chunkBytes = 128 << 10
	// perMessage is what a message costs beside its bytes.
	perMessage = 80
	// spareChunks are kept for the next burst, unless they had to grow for more than chunkMessages.
	spareChunks, chunkMessages = 8, 1024
)

func newMailbox(limit int) *mailbox {
	return &mailbox{ready: make(chan struct{}, 1), limit: limit}
}

// put copies a message into the mailbox and reports whether there was room.
func (m *mailbox) put(body []byte, format wire.Format, counted bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.size+len(body)+perMessage > m.limit {
		return false
	}
	m.size += len(body) + perMessage
	into := m.room(len(body))
	into.data = append(into.data, body...)
	into.messages = append(into.messages, message{len(into.data), format, counted})
	if counted {
		into.counted++
		m.counted++
	}
	return true
}

// signal wakes the processing goroutine, because there may be something to take. The reader calls
// it when it has put in what it had, because waking up for each message would cost more than the
// message; a full chunk does it by itself.
func (m *mailbox) signal() {
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

// room returns the last chunk, a new one if that many bytes do not fit in. What is larger than a
// chunk has one of its own.
func (m *mailbox) room(bytes int) *chunk {
	if n := len(m.waiting); n > 0 && len(m.waiting[n-1].data)+bytes <= chunkBytes {
		return m.waiting[n-1]
	}
	if len(m.waiting) > 0 {
		m.signal()
	}
	var last *chunk
	if n := len(m.spare); n > 0 {
		last, m.spare = m.spare[n-1], m.spare[:n-1]
	} else {
		last = &chunk{data: make([]byte, 0, chunkBytes)}
	}
	m.waiting = append(m.waiting, last)
	return last
}

// take returns the oldest messages, valid until the next call, or nil if there are none.
func (m *mailbox) take() *chunk {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.taken != nil {
		m.recycle(m.taken)
	}
	m.taken = nil
	if len(m.waiting) == 0 {
		return nil
	}
	m.taken = m.waiting[0]
	copy(m.waiting, m.waiting[1:])
	m.waiting[len(m.waiting)-1] = nil
	m.waiting = m.waiting[:len(m.waiting)-1]
	m.size -= len(m.taken.data) + perMessage*len(m.taken.messages)
	return m.taken
}

// recycle takes a chunk back that was worked off.
func (m *mailbox) recycle(c *chunk) {
	m.counted -= c.counted
	if len(m.spare) < spareChunks && cap(c.data) == chunkBytes && cap(c.messages) <= chunkMessages {
		c.data, c.messages, c.counted = c.data[:0], c.messages[:0], 0
		m.spare = append(m.spare, c)
	}
}

// settled reports whether all that this exporter counts was worked off.
func (m *mailbox) settled() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counted == 0
}

// bytes returns how much waits.
func (m *mailbox) bytes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.size
}

// each calls handle with each message in order.
func (c *chunk) each(handle func(body []byte, format wire.Format, counted bool)) {
	start := 0
	for _, m := range c.messages {
		handle(c.data[start:m.end:m.end], m.format, m.counted)
		start = m.end
	}
}
