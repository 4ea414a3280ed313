// SPDX-License-Identifier: Apache-2.0

package taskexporter

import (
	"sync"

	"obstack.dev/obstack/internal/taskexporter/wire"
)

// mailbox hands messages from the goroutine that reads the broker to the one that processes them. Putting never waits:
// when the mailbox is full, the message is dropped and the caller told. Bodies are copied into one buffer, so that a
// backlog is two allocations and not thousands.
type mailbox struct {
	// ready holds a token while there may be something to take.
	ready chan struct{}
	limit int // bytes

	mu      sync.Mutex
	waiting batch
	spare   batch
}

// batch is a number of messages, one behind the other in data.
type batch struct {
	data     []byte
	messages []message
}

type message struct {
	end    int // of the message in the data
	format wire.Format
}

// perMessage is what a message costs beside its bytes.
const perMessage = 80

func newMailbox(limit int) *mailbox {
	return &mailbox{ready: make(chan struct{}, 1), limit: limit}
}

// put copies a message into the mailbox and reports whether there was room.
func (m *mailbox) put(body []byte, format wire.Format) bool {
	m.mu.Lock()
	if m.waiting.size()+len(body)+perMessage > m.limit {
		m.mu.Unlock()
		return false
	}
	m.waiting.data = append(m.waiting.data, body...)
	m.waiting.messages = append(m.waiting.messages, message{len(m.waiting.data), format})
	first := len(m.waiting.messages) == 1
	m.mu.Unlock()
	if first {
		select {
		case m.ready <- struct{}{}:
		default:
		}
	}
	return true
}

// take returns what is there, maybe nothing, valid until the next call.
func (m *mailbox) take() batch {
	m.mu.Lock()
	defer m.mu.Unlock()
	taken := m.waiting
	m.waiting = m.spare.emptied()
	m.spare = taken
	return taken
}

// size returns the bytes that wait.
func (m *mailbox) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.waiting.size()
}

func (b batch) size() int { return len(b.data) + perMessage*len(b.messages) }

// keepCapacity is the size of a buffer that is kept for good; a larger one goes when it was not needed again.
const keepCapacity = 1 << 20

func (b batch) emptied() batch {
	if cap(b.data) > keepCapacity && len(b.data) < cap(b.data)/4 {
		return batch{}
	}
	return batch{data: b.data[:0], messages: b.messages[:0]}
}

// each calls handle with each message in order.
func (b batch) each(handle func(body []byte, format wire.Format)) {
	start := 0
	for _, m := range b.messages {
		handle(b.data[start:m.end:m.end], m.format)
		start = m.end
	}
}
