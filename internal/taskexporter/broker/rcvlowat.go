// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"syscall"
	"time"
)

const (
	// gathering is how long bytes may gather until a portion of them is read at once. Waking up for
	// each message is what costs most: at 1,000 events a second it is three quarters of the
	// processor's time. Nobody looks at a counter 50 ms after the event, and the kernel holds what
	// comes meanwhile.
	gathering = 50 * time.Millisecond
	// portion is how much is worth waking up for, in bytes: half of what a read takes.
	portion = readSize / 2
	// room is how much the kernel may hold for us from the start, in bytes, instead of growing to
	// that over time. It takes memory only for what waits. A broker that fills it up has to wait
	// for us, and Redis 7 may close a TLS connection then ("SSL routines::bad length",
	// https://github.com/valkey-io/valkey/issues/1135).
	room = 2 << 20
)

// gather waits until a portion came, or for a moment. The runtime's poller wakes a thread whenever
// a socket becomes readable, even if no goroutine reads it, so the kernel is asked not to call it
// so for few bytes (SO_RCVLOWAT, socket(7)). What goes wrong here, the read reports.
func (t *connReader) gather() {
	if t.socket == nil {
		return
	}
	t.deadline = time.Time{}
	if err := t.SetReadDeadline(time.Now().Add(gathering)); err != nil {
		return
	}
	asked := false
	_ = t.socket.Read(func(socket uintptr) (done bool) {
		if !asked {
			readableFrom(socket, portion)
			asked = true
			return false
		}
		return true
	})
	t.readableFrom(1)
}

// readableFrom asks the kernel to call the socket readable from so many bytes on, for which it
// makes room if it has less.
func (t *connReader) readableFrom(bytes int) {
	if t.socket != nil {
		_ = t.socket.Control(func(socket uintptr) { readableFrom(socket, bytes) }) // the read reports an error
	}
}

func readableFrom(socket uintptr, bytes int) {
	// An error costs wake-ups and nothing else: the kernel goes on with what was set before.
	_ = syscall.SetsockoptInt(int(socket), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, bytes)
}
