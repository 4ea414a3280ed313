// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obstack.dev/obstack/internal/brokerurl"
)

// scripted is a Redis server that agrees to everything and writes down what it was asked.
type scripted struct {
	net.Listener
	mu          sync.Mutex
	commands    []string
	connections []net.Conn
}

func newScripted(t *testing.T) *scripted {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{Listener: listener}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			s.mu.Lock()
			s.connections = append(s.connections, connection)
			s.mu.Unlock()
			go s.serve(connection)
		}
	}()
	return s
}

func (s *scripted) serve(connection net.Conn) {
	for in := bufio.NewReader(connection); ; {
		command, err := readCommand(in)
		if err != nil {
			return // the client has gone
		}
		s.mu.Lock()
		s.commands = append(s.commands, strings.ToLower(strings.Join(command, " ")))
		s.mu.Unlock()
		reply := "+OK\r\n"
		switch strings.ToLower(command[0]) {
		case "ping":
			reply = "+PONG\r\n"
		case "hello":
			reply = "-ERR unknown command\r\n" // as servers before Redis 6 say
		}
		if _, err := io.WriteString(connection, reply); err != nil {
			return
		}
	}
}

func readCommand(in *bufio.Reader) (words []string, err error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	count, err := strconv.Atoi(strings.TrimSpace(line[1:]))
	for range count {
		if line, err = in.ReadString('\n'); err != nil {
			return nil, err
		}
		size, _ := strconv.Atoi(strings.TrimSpace(line[1:]))
		word := make([]byte, size+2)
		if _, err := io.ReadFull(in, word); err != nil {
			return nil, err
		}
		words = append(words, string(word[:size]))
	}
	return words, err
}

// TestDialLeavesTheConnectionToUs pins what we assume of go-redis and what an upgrade of it may
// change: that it makes one connection, logs in, asks nothing else on it, reads nothing ahead and
// nothing later, and ends it with the client.
func TestDialLeavesTheConnectionToUs(t *testing.T) {
	server := newScripted(t)
	b := &redisBroker{address: brokerurl.Address{
		Hosts: []string{server.Addr().String()}, User: "u", Password: "p", Database: 3,
	}, options: DefaultOptions()}
	options, err := b.server(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client, connection, err := dial(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if client.PoolStats().IdleConns != 0 {
		t.Error("the connection is in the pool, which may use it or check it")
	}
	const text = "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n"
	for range 3 {
		time.Sleep(100 * time.Millisecond) // in which nobody else reads
		if _, err := io.WriteString(server.connections[0], text); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(connection, got); err != nil || string(got) != text {
			t.Fatalf("read %q, error %v, want all that the server sent", got, err)
		}
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	if diff := cmp.Diff([]string{"hello 2 auth u p", "auth u p", "select 3", "ping"}, server.commands); diff != "" {
		t.Errorf("what go-redis asked (-want +got):\n%s", diff)
	}
	if len(server.connections) != 1 {
		t.Errorf("%d connections, want one", len(server.connections))
	}
}

// TestQuestionsGoWhereEventsComeFrom: another server may know nothing of the queues and workers.
func TestQuestionsGoWhereEventsComeFrom(t *testing.T) {
	servers := []*scripted{newScripted(t), newScripted(t)}
	b := New(brokerurl.Address{
		Hosts: []string{servers[0].Addr().String(), servers[1].Addr().String()},
	}, DefaultOptions(), nil)
	for _, events := range []int{0, 1, 0} {
		before := []int{servers[0].connected(), servers[1].connected()}
		ctx, cancel := context.WithCancel(t.Context())
		received := make(chan error, 1)
		go func() { received <- b.Receive(ctx, Sink{Drained: func() {}}) }()
		servers[events].isAsked(t, "psubscribe")
		for range 2 {
			depths, err := b.Depths(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			workers, err := b.Workers(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			depths.Close()
			workers.Close()
		}
		cancel()
		if err := <-received; !errors.Is(err, context.Canceled) {
			t.Errorf("error = %v, want that of the context", err)
		}
		before[events] += 5
		if got := []int{servers[0].connected(), servers[1].connected()}; !slices.Equal(got, before) {
			t.Errorf("connections of the servers: %v, want %v: all to server %d", got, before, events)
		}
	}
}

// TestEachServerHasALoginOfItsOwn, as with kombu, and the one behind a sentinel that of all.
func TestEachServerHasALoginOfItsOwn(t *testing.T) {
	for url, want := range map[string][]string{
		"redis://u:p@a/1;redis://:q@b/1;redis://c/1": {"a:6379 u p 1", "b:6379  q 1", "c:6379   1"},
		"sentinel://a;sentinel://u:p@b/2":            {"master u p 2"},
	} {
		address, err := brokerurl.Parse(url)
		if err != nil {
			t.Fatal(err)
		}
		b := &redisBroker{address: address, options: DefaultOptions()}
		hosts := address.Hosts
		if address.Kind == brokerurl.Sentinel {
			hosts = []string{"master"}
		}
		var got []string
		for _, host := range hosts {
			o := b.settings(host)
			got = append(got, fmt.Sprintf("%s %s %s %d", o.Addr, o.Username, o.Password, o.DB))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", url, diff)
		}
	}
}

func (s *scripted) connected() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.connections)
}

// isAsked waits for a command, and forgets what was asked.
func (s *scripted) isAsked(t *testing.T, command string) {
	t.Helper()
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		found := slices.ContainsFunc(s.commands, func(c string) bool { return strings.HasPrefix(c, command) })
		if found {
			s.commands = nil
		}
		s.mu.Unlock()
		if found {
			return
		}
	}
	t.Fatalf("nobody asked for %s", command)
}
