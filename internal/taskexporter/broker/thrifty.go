// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// readSize is how much is read from a connection at once, in bytes: about two hundred messages.
	readSize = 128 << 10
	// thin is how little a read has to bring for a pause to follow it.
	thin = 64 << 10
	// gathering is that pause. Below thousands of events a second, waking up for each is what costs most: at 1,000 it is
	// three quarters of the processor's time. Nobody looks at a counter 50 ms after the event; the kernel holds what
	// comes meanwhile, and at rates that would be too much for it, no read is thin.
	gathering = 50 * time.Millisecond
)

// thrifty reads a connection in few, large pieces, and gives it up when it is silent for too long.
type thrifty struct {
	net.Conn
	socket   syscall.RawConn // nil if there is none below
	patience time.Duration   // 0: for ever
	// paced turns the pauses on. Until all is set up, each answer is waited for.
	paced atomic.Bool

	last     int // bytes of the last read
	deadline time.Time
}

func newThrifty(connection net.Conn, patience time.Duration) *thrifty {
	t := &thrifty{Conn: connection, patience: patience}
	if layered, ok := connection.(interface{ NetConn() net.Conn }); ok { // TLS
		connection = layered.NetConn()
	}
	if below, ok := connection.(syscall.Conn); ok {
		t.socket, _ = below.SyscallConn() // fails on closed connections, of which the read will tell
	}
	return t
}

// Read reads once from the connection. After a timeout it can go on: no byte is lost.
func (t *thrifty) Read(p []byte) (int, error) {
	if t.last > 0 && t.last < min(thin, len(p)) && t.paced.Load() {
		t.pause()
	}
	// Setting a deadline takes longer than a small read. So it is set once a second and is at most that much too early.
	if now := time.Now(); t.patience > 0 && t.deadline.Sub(now) < t.patience-time.Second {
		t.deadline = now.Add(t.patience)
		if err := t.SetReadDeadline(t.deadline); err != nil {
			return 0, err
		}
	}
	n, err := t.Conn.Read(p)
	if t.last = n; err != nil {
		t.deadline = time.Time{}
	}
	return n, err
}

// pause lets bytes gather. The runtime's poller wakes a thread whenever a socket becomes readable, even if no goroutine
// reads it, so the kernel is asked not to call it so for few bytes (SO_RCVLOWAT, socket(7)).
func (t *thrifty) pause() {
	t.readableFrom(thin)
	time.Sleep(gathering)
	t.readableFrom(1)
}

func (t *thrifty) readableFrom(bytes int) {
	if t.socket == nil {
		return
	}
	// An error costs wake-ups and nothing else: the kernel goes on with what was set before, or the read tells of it.
	_ = t.socket.Control(func(socket uintptr) {
		_ = syscall.SetsockoptInt(int(socket), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, bytes)
	})
}
