// SPDX-License-Identifier: Apache-2.0

package exporter

import (
	"errors"
	"fmt"
	"io"
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
	// slow is a pause after each small piece.
	slow time.Duration
	cuts int
	last time.Time // something was passed on
}

func startProxy(t testing.TB, target int) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	p := &proxy{port: listener.Addr().(*net.TCPAddr).Port, quota: -1}
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
			go func() {
				_, _ = io.Copy(far, near) // ends with either side
				far.Close()
			}()
			go p.forward(near, far)
		}
	}()
	return p
}

var errCut = errors.New("cut")

// forward passes on what the broker sends.
func (p *proxy) forward(near, far net.Conn) {
	defer near.Close()
	defer far.Close()
	buffer := make([]byte, 512)
	for {
		n, err := far.Read(buffer)
		allowed, pause, cut := p.allow(n)
		if _, failed := near.Write(buffer[:allowed]); err != nil || failed != nil || cut != nil {
			return
		}
		time.Sleep(pause)
	}
}

func (p *proxy) allow(n int) (allowed int, pause time.Duration, cut error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = time.Now()
	if p.quota < 0 {
		return n, p.slow, nil
	}
	if n < p.quota {
		p.quota -= n
		return n, p.slow, nil
	}
	n, p.quota = p.quota, -1
	p.cuts++
	return n, 0, errCut
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

func (p *proxy) slowDown(pause time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slow = pause
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
