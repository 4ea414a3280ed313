// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
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
	reader := newThrifty(near, 50*time.Millisecond)
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
	reader := newThrifty(near, 5*time.Second)
	reader.paced.Store(true)
	buffer := make([]byte, 4096)
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
	if bytes != 40 || reads > 10 {
		t.Errorf("%d bytes in %d reads, want 40 in a few", bytes, reads)
	}
}

func TestMuchIsReadWhole(t *testing.T) {
	near, far := connected(t)
	reader := newThrifty(near, 5*time.Second)
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

// TestPauses: the more comes, the shorter is the pause, so that it never fills the connection's window.
func TestPauses(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for name, tc := range map[string]struct {
		bytes int
		every time.Duration
		want  time.Duration
	}{
		"a heartbeat now and then":              {600, 2 * time.Second, gathering},
		"500 events a second":                   {17 << 10, gathering, gathering},
		"a window that filled up in each pause": {64 << 10, gathering, gathering / 2},
		"short reads that follow one another":   {8 << 10, time.Millisecond, 4 * time.Millisecond},
		"more than a portion in a millisecond":  {40 << 10, time.Millisecond, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p, at := pace{}, now
			var pause time.Duration
			for range 200 {
				at = at.Add(tc.every)
				pause = p.note(at, tc.bytes)
			}
			if pause != tc.want {
				t.Errorf("pause = %v, want %v", pause, tc.want)
			}
			at = at.Add(time.Minute)
			if pause := p.note(at, tc.bytes); pause != gathering {
				t.Errorf("pause = %v after a minute of silence, want %v", pause, gathering)
			}
			if pause := p.note(at.Add(time.Minute), 0); pause != gathering {
				t.Errorf("pause = %v after nothing came, want %v", pause, gathering)
			}
		})
	}
}
