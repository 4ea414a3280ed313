// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// readSize is how much is read from a connection at once, in bytes: about two hundred messages.
	readSize = 128 << 10
	// gathering is how long bytes may gather until a portion of them is read at once. Waking up for each message is what
	// costs most: at 1,000 events a second it is three quarters of the processor's time. Nobody looks at a counter 50 ms
	// after the event, and the kernel holds what comes meanwhile.
	gathering = 50 * time.Millisecond
	// portion is how much is worth waking up for, in bytes: half of what a read takes.
	portion = readSize / 2
	// room is how much the kernel may hold for us from the start, in bytes, instead of growing to that
	// over time. It takes memory only for what waits. A broker that fills it up has to wait for us,
	// and Redis 7 may close a TLS connection then ("SSL routines::bad length",
	// https://github.com/valkey-io/valkey/issues/1135).
	room = 2 << 20
)

// thrifty reads a connection in few, large pieces, and gives it up when it is silent for too long.
type thrifty struct {
	net.Conn
	socket   syscall.RawConn // nil if there is none below
	patience time.Duration
	// paced turns gathering on. Until all is set up, each answer is waited for.
	paced atomic.Bool

	last     int // bytes of the last read
	deadline time.Time
}

func newThrifty(connection net.Conn, patience time.Duration) *thrifty {
	t := &thrifty{Conn: connection, patience: patience}
	if below, ok := connection.(syscall.Conn); ok {
		t.socket, _ = below.SyscallConn() // fails on closed connections, of which the read will tell
	}
	t.readableFrom(room) // The kernel keeps what it made room for.
	t.readableFrom(1)
	return t
}

// connect connects to a broker, over TLS if there are settings for that. What is returned second is the reader below.
func connect(ctx context.Context, network, address string, config *tls.Config,
	patience time.Duration) (net.Conn, *thrifty, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	socket, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, nil, err
	}
	reader := newThrifty(socket, patience)
	if config == nil {
		return reader, reader, nil
	}
	// A clone, because several hosts share the settings and each has a name of its own.
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(address) // it was dialled, so it is a pair
	}
	// Below TLS and not above, where a read brings one record of at most 16 KiB and tells nothing of how much waits.
	secure := tls.Client(&buffered{reader, bufio.NewReaderSize(reader, readSize)}, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		socket.Close()
		return nil, nil, err
	}
	return secure, reader, nil
}

// buffered is a connection that is read through a buffer.
type buffered struct {
	net.Conn
	buffer *bufio.Reader
}

// Read reads from the buffer, which an error of the connection does not spoil.
func (b *buffered) Read(p []byte) (int, error) { return b.buffer.Read(p) }

// Read reads once from the connection. After a timeout it can go on: no byte is lost.
func (t *thrifty) Read(p []byte) (int, error) {
	if 0 < t.last && t.last < min(portion, len(p)) && t.paced.Load() {
		t.gather()
	}
	// Setting a deadline takes longer than a small read. So it is set once a second and is at most that much too early.
	if now := time.Now(); t.deadline.Sub(now) < t.patience-time.Second {
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

// gather waits until a portion came, or for a moment. The runtime's poller wakes a thread whenever
// a socket becomes readable, even if no goroutine reads it, so the kernel is asked not to call it
// so for few bytes (SO_RCVLOWAT, socket(7)). What goes wrong here, the read tells of.
func (t *thrifty) gather() {
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
func (t *thrifty) readableFrom(bytes int) {
	if t.socket != nil {
		_ = t.socket.Control(func(socket uintptr) { readableFrom(socket, bytes) }) // the read tells of an error
	}
}

func readableFrom(socket uintptr, bytes int) {
	// An error costs wake-ups and nothing else: the kernel goes on with what was set before.
	_ = syscall.SetsockoptInt(int(socket), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, bytes)
}
