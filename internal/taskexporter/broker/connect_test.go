// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"obstack.dev/obstack/internal/brokerurl"
)

// connected returns the two ends of a connection.
func connected(t *testing.T) (near, far net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if near, err = net.Dial("tcp", listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		near.Close()
		far.Close()
	})
	return near, far
}

func TestSilenceEndsAReadAndLosesNothing(t *testing.T) {
	near, far := connected(t)
	reader := newConnReader(near, 50*time.Millisecond)
	for _, want := range []string{"first", "second"} {
		if _, err := reader.Read(make([]byte, 16)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("error = %v, want a timeout", err)
		}
		if _, err := io.WriteString(far, want); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(reader, got); err != nil || string(got) != want {
			t.Errorf("read %q, error %v, want %q", got, err, want)
		}
	}
}

func TestALittleIsReadInOnePiece(t *testing.T) {
	near, far := connected(t)
	reader := newConnReader(near, 5*time.Second)
	reader.paced.Store(true)
	buffer := make([]byte, 4096)
	began := time.Now()
	go func() {
		for range 40 {
			_, _ = io.WriteString(far, "x") // an error shows as a missing byte
			time.Sleep(2 * time.Millisecond)
		}
		far.Close()
	}()
	bytes, reads := 0, 0
	for {
		n, err := reader.Read(buffer)
		bytes += n
		if err != nil {
			break
		}
		reads++
	}
	if most := fewReads(began); bytes != 40 || reads > most {
		t.Errorf("%d bytes in %d reads, want 40 in at most %d", bytes, reads, most)
	}
}

// fewReads are one each 50 ms since then, and some for the beginning and the end.
func fewReads(began time.Time) int { return 10 + int(time.Since(began)/(50*time.Millisecond)) }

func TestMuchIsReadWhole(t *testing.T) {
	near, far := connected(t)
	reader := newConnReader(near, 5*time.Second)
	reader.paced.Store(true)
	const size = 16 << 20
	go func() {
		_, _ = far.Write(make([]byte, size)) // an error shows as a short read
		far.Close()
	}()
	if n, err := io.Copy(io.Discard, io.LimitReader(reader, size)); err != nil || n != size {
		t.Fatalf("%d bytes, error %v", n, err)
	}
}

// TestABurstFitsBetweenTwoReads: a broker that has to wait for us may end the connection (room).
func TestABurstFitsBetweenTwoReads(t *testing.T) {
	near, far := connected(t)
	newConnReader(near, 5*time.Second)
	if err := far.(*net.TCPConn).SetWriteBuffer(16 << 10); err != nil {
		t.Fatal(err)
	}
	if err := far.SetWriteDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := far.Write(make([]byte, room/2)); err != nil {
		t.Errorf("%d of %d bytes written while nobody read: %v", n, room/2, err)
	}
}

// counting counts the reads of a connection.
type counting struct {
	net.Conn
	reads int
}

func (c *counting) Read(p []byte) (int, error) {
	c.reads++
	return c.Conn.Read(p)
}

func TestALittleIsReadInOnePieceOverTLS(t *testing.T) {
	cert, key := certificate(t, "broker.shop")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		far, err := listener.Accept()
		if err != nil {
			return // the test is over
		}
		defer far.Close()
		for range 40 {
			_, _ = io.WriteString(far, "x") // an error shows as a missing byte
			time.Sleep(2 * time.Millisecond)
		}
	}()
	values := map[string]string{"ca_certs": cert, "server_hostname": "broker.shop"}
	config, err := TLSConfig(brokerurl.Address{TLS: true}, values)
	if err != nil {
		t.Fatal(err)
	}
	secure, reader, err := connect(t.Context(), "tcp", listener.Addr().String(), config, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer secure.Close()
	below := &counting{Conn: reader.Conn}
	reader.Conn = below
	reader.paced.Store(true)
	began := time.Now()
	got, err := io.ReadAll(secure)
	if most := 2 + fewReads(began); err != nil || len(got) != 40 || below.reads > most {
		t.Errorf("%d bytes in %d reads below, error %v, want 40 in at most %d", len(got), below.reads, err, most)
	}
}
