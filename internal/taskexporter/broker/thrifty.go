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
	// thin is how little a read has to bring for a pause to follow it.
	thin = 64 << 10
	// gathering is the longest pause. Waking up for each message is what costs most: at 1,000 events a second it is three
	// quarters of the processor's time. Nobody looks at a counter 50 ms after the event, and the kernel holds what comes
	// meanwhile.
	gathering = 50 * time.Millisecond
	// portion is how much should come in a pause, in bytes: half the window of a young connection (64 KiB, tcp_rmem, tcp(7)).
	// Who lets it fill up in every pause slows the broker down to what it holds.
	portion = 32 << 10
	// shortest is the shortest pause that is worth it: below, falling asleep and waking up cost as much as it saves.
	shortest = time.Millisecond
)

// pace tells from what was read lately how long a pause may be.
type pace struct {
	since time.Time
	bytes int
	pause time.Duration
}

// note what was read until now, and return the pause in which a portion comes at that rate.
func (p *pace) note(now time.Time, bytes int) time.Duration {
	p.bytes += bytes
	if elapsed := now.Sub(p.since); elapsed >= gathering {
		p.pause = time.Duration(min(float64(gathering), float64(elapsed)*portion/float64(p.bytes)))
		if p.pause < shortest {
			p.pause = 0
		}
		p.since, p.bytes = now, 0
	}
	return p.pause
}

// thrifty reads a connection in few, large pieces, and gives it up when it is silent for too long.
type thrifty struct {
	net.Conn
	socket   syscall.RawConn // nil if there is none below
	patience time.Duration   // 0: for ever
	// paced turns the pauses on. Until all is set up, each answer is waited for.
	paced atomic.Bool

	pace     pace
	last     int // bytes of the last read
	deadline time.Time
}

func newThrifty(connection net.Conn, patience time.Duration) *thrifty {
	t := &thrifty{Conn: connection, patience: patience}
	if below, ok := connection.(syscall.Conn); ok {
		t.socket, _ = below.SyscallConn() // fails on closed connections, of which the read will tell
	}
	return t
}

// connect connects to a broker, over TLS if there are settings for that. What is returned second is the reader below.
func connect(ctx context.Context, network, address string, config *tls.Config, patience time.Duration) (net.Conn, *thrifty, error) {
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
	now := time.Now()
	if pause := t.pace.note(now, t.last); pause > 0 && t.last > 0 && t.last < min(thin, len(p)) && t.paced.Load() {
		t.gather(pause)
		now = time.Now()
	}
	// Setting a deadline takes longer than a small read. So it is set once a second and is at most that much too early.
	if t.patience > 0 && t.deadline.Sub(now) < t.patience-time.Second {
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

// gather lets bytes come for a while. The runtime's poller wakes a thread whenever a socket becomes readable, even if no goroutine
// reads it, so the kernel is asked not to call it so for few bytes (SO_RCVLOWAT, socket(7)).
func (t *thrifty) gather(pause time.Duration) {
	t.readableFrom(thin)
	time.Sleep(pause)
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
