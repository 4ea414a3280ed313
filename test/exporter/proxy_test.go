// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy stands between the exporter and a broker and treats the connections as a bad network does.
type proxy struct {
	port int

	mu sync.Mutex
	// quota is how many bytes the broker may still send before the connection is cut; negative for
	// no limit.
	quota int
	// delay is a pause before each piece of at most so many bytes; those of the exporter wait too
	// if the broker is far.
	delay time.Duration
	piece int
	far   bool
	cuts  int
	last  time.Time // something was passed on
}

func startProxy(t testing.TB, target int) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	p := &proxy{port: listener.Addr().(*net.TCPAddr).Port, quota: -1, piece: 512}
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			far, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", target))
			if err != nil {
				near.Close()
				continue
			}
			go forward(far, near, p.ask)
			go forward(near, far, p.allow)
		}
	}()
	return p
}

var errCut = errors.New("cut")

// forward passes on what it may. It ends with either side.
func forward(to, from net.Conn, allow func(n int) (allowed, piece int, delay time.Duration, cut error)) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for piece := 512; ; {
		n, err := from.Read(buffer[:piece])
		allowed, size, delay, cut := allow(n)
		time.Sleep(delay)
		if _, failed := to.Write(buffer[:allowed]); err != nil || failed != nil || cut != nil {
			return
		}
		piece = size
	}
}

// ask is about what the exporter sends.
func (p *proxy) ask(n int) (allowed, piece int, delay time.Duration, cut error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.far {
		delay = p.delay
	}
	return n, 64 << 10, delay, nil
}

// allow is about what the broker sends.
func (p *proxy) allow(n int) (allowed, piece int, delay time.Duration, cut error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = time.Now()
	if p.quota < 0 {
		return n, p.piece, p.delay, nil
	}
	if n < p.quota {
		p.quota -= n
		return n, p.piece, p.delay, nil
	}
	n, p.quota = p.quota, -1
	p.cuts++
	return n, p.piece, 0, errCut
}

// cutAfter cuts the next connection on which the broker has sent so many bytes more.
func (p *proxy) cutAfter(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.quota = bytes
}

// quietFor reports whether the broker has said nothing for that long: the questions that the
// exporter asks at its start have their replies, and what is sent now is the next to come.
func (p *proxy) quietFor(span time.Duration) func() bool {
	return func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return time.Since(p.last) > span
	}
}

// slowDown lets the broker send small pieces only, with pauses.
func (p *proxy) slowDown(pause time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = pause
}

// moveAway takes the broker some time away, in either direction.
func (p *proxy) moveAway(delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay, p.piece, p.far = delay, 64<<10, true
}

func (p *proxy) hasCut() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts > 0
}

func TestRedisIsCutOffInTheMiddleOfAMessage(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	p := startProxy(t, port)
	e := startReady(t, fmt.Sprintf("redis://127.0.0.1:%d/0", p.port), "--queue-interval", "3600", "--inspect-interval",
		"3600")
	client := redisAt(t, port, "")
	e.hears(client)
	eventually(t, "the questions at the start are over", p.quietFor(2*time.Second))
	before := e.counts("celery_exporter_events")["{task-started}"]
	p.cutAfter(100) // of about 250
	send(t, client, fmt.Sprintf(goodEvent, "cut"))
	eventually(t, "the connection is cut", p.hasCut)
	eventually(t, "the subscription is made again", func() bool { return e.one("celery_exporter_reconnects_total") == 1 })
	if got := e.counts("celery_exporter_events")["{task-started}"]; got != before {
		t.Errorf("%v events, want %v: half a message counted", got, before)
	}
	if got := e.counts("celery_exporter_malformed"); len(got) != 0 {
		t.Errorf("malformed: %v, but what was cut off is no message", got)
	}
	send(t, client, fmt.Sprintf(goodEvent, "whole"))
	e.becomes("celery_exporter_events", map[string]float64{"{task-started}": before + 1})
}

func TestRabbitMQIsCutOffInTheMiddleOfAMessage(t *testing.T) {
	server := newRabbit(t)
	server.start(t)
	p := startProxy(t, server.Port)
	// With the other connections, whose heartbeats come every 2.5 s too, it might never be quiet.
	e := startReady(t, fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/shop", p.port), "--no-inspect", "--no-queue-lengths")
	c := celery{t, "celery-newest", server.URL("shop"), events}
	c.publish(order{"proj.ok", 2, nil})
	e.becomes("celery_task_", map[string]float64{"sent{proj.ok,celery}": 2})
	eventually(t, "the broker has no more to say", p.quietFor(time.Second))
	p.cutAfter(200) // a task-sent has about 500
	c.publish(order{"proj.ok", 1, nil})
	eventually(t, "the connection is cut", p.hasCut)
	eventually(t, "the subscription is made again", func() bool { return e.one("celery_exporter_reconnects_total") == 1 })
	c.publish(order{"proj.ok", 3, nil})
	// What was on its way when the connection broke is lost: events are not acknowledged.
	e.becomes("celery_task_", map[string]float64{"sent{proj.ok,celery}": 5})
	if got := e.counts("celery_exporter_malformed"); len(got) != 0 {
		t.Errorf("malformed: %v, but what was cut off is no message", got)
	}
}

func TestASlowBrokerLosesNothing(t *testing.T) {
	port := freePort(t)
	startRedis(t, port)
	p := startProxy(t, port)
	e := startReady(t, fmt.Sprintf("redis://127.0.0.1:%d/0", p.port))
	p.slowDown(20 * time.Millisecond) // 25 kB/s, each message in pieces
	client := redisAt(t, port, "")
	const sent = 300
	for i := range sent {
		send(t, client, fmt.Sprintf(goodEvent, fmt.Sprint("u", i)))
	}
	e.becomes("celery_exporter_events", map[string]float64{"{task-started}": sent})
	if got := e.one("celery_exporter_reconnects_total"); got != 0 {
		t.Errorf("%v reconnects to a slow broker", got)
	}
}
