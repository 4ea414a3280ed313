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

// readSize is how much is read from a connection at once, in bytes: about two hundred messages.
const readSize = 128 << 10

// connReader reads a connection in few, large pieces, and gives it up when it is silent for too
// long.
type connReader struct {
	net.Conn
	socket  syscall.RawConn // nil if there is none below
	timeout time.Duration
	// paced turns gathering on. Until all is set up, each response is waited for.
	paced atomic.Bool

	last     int // bytes of the last read
	deadline time.Time
}

func newConnReader(connection net.Conn, timeout time.Duration) *connReader {
	t := &connReader{Conn: connection, timeout: timeout}
	if below, ok := connection.(syscall.Conn); ok {
		t.socket, _ = below.SyscallConn() // fails on closed connections, which the read will report
	}
	t.readableFrom(room) // The kernel keeps what it made room for.
	t.readableFrom(1)
	return t
}

// connect connects to a broker, over TLS if there are settings for that. What is returned second is
// the reader below.
func connect(
	ctx context.Context, network, address string, config *tls.Config, timeout time.Duration,
) (net.Conn, *connReader, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	socket, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, nil, err
	}
	reader := newConnReader(socket, timeout)
	if config == nil {
		return reader, reader, nil
	}
	// A clone, because several hosts share the settings and each has a name of its own.
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(address) // it was dialled, so it is a pair
	}
	// Below TLS and not above, where a read brings one record of at most 16 KiB and says nothing of
	// how much waits.
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
func (t *connReader) Read(p []byte) (int, error) {
	if 0 < t.last && t.last < min(portion, len(p)) && t.paced.Load() {
		t.gather()
	}
	// Setting a deadline takes longer than a small read. So it is set once a second and is at most
	// that much too early.
	if now := time.Now(); t.deadline.Sub(now) < t.timeout-time.Second {
		t.deadline = now.Add(t.timeout)
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
