// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"obstack.dev/obstack/test/bench/kit"
	"obstack.dev/obstack/test/integration"
	"obstack.dev/obstack/test/testenv"
)

// refused counts the connections to servers that refuse the password, after the fifth.
func (b *bench) refused() {
	port := kit.Must(testenv.FreePort())
	redis := kit.Must(integration.Redis(nil, port, "--requirepass", "right"))
	defer redis.Kill()
	rabbit, stop := startRabbit()
	defer stop()
	gates := []*gate{newGate(port), newGate(rabbit.Port)}
	for i, url := range []string{"redis://:wrong@127.0.0.1:%d/0", "amqp://guest:wrong@127.0.0.1:%d/"} {
		defer gates[i].listener.Close()
		e := b.launch(fmt.Sprintf(url, gates[i].port()))
		defer e.Kill()
	}
	kit.Check(integration.WaitFor("five refusals of each", 5*time.Minute, func() bool {
		return gates[0].passed.Load() >= 5 && gates[1].passed.Load() >= 5
	}))
	before, span := []int64{gates[0].passed.Load(), gates[1].passed.Load()}, 3*time.Minute
	time.Sleep(span)
	for i, name := range []string{"Redis that refuses (WRONGPASS)", "RabbitMQ that refuses (ACCESS_REFUSED)"} {
		after := float64(gates[i].passed.Load() - before[i])
		b.Most("connections a minute to a "+name+", after the fifth", after/span.Minutes(), "", 1)
	}
}

// gate passes connections on to a server, and counts them.
type gate struct {
	listener net.Listener
	passed   atomic.Int64
}

func newGate(target int) *gate {
	g := &gate{listener: kit.Must(net.Listen("tcp", "127.0.0.1:0"))}
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // ends with either side
		to.Close()
	}
	go func() {
		for near, err := g.listener.Accept(); err == nil; near, err = g.listener.Accept() {
			g.passed.Add(1)
			far, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", target))
			if err != nil {
				near.Close()
				continue
			}
			go pass(far, near)
			go pass(near, far)
		}
	}()
	return g
}

func (g *gate) port() int { return g.listener.Addr().(*net.TCPAddr).Port }
