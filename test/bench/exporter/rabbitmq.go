// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"obstack.dev/obstack/test/bench/kit"
	"obstack.dev/obstack/test/integration"
)

const (
	// rabbitRate has to be sustained, in events/s, and 1,000 events may cost rabbitCPU
	// milliseconds.
	rabbitRate, rabbitCPU = 20_000, 15
	// filled is how many events wait in the queue: far below its limit of 64 MiB, and sent before
	// RabbitMQ takes an exporter that does not respond for dead, which is after ten seconds.
	filled = 60_000
)

// startRabbit starts a server, and returns how to stop it.
func startRabbit() (rabbit *integration.RabbitMQ, stop func()) {
	dir := kit.Must(os.MkdirTemp("", "bench-rabbitmq"))
	rabbit = kit.Must(integration.NewRabbitMQ(dir))
	log := kit.Must(os.Create(dir + "/output.log"))
	// Its schedulers do not wait busily for work, as its guide advises where others need the
	// processors (https://www.rabbitmq.com/docs/runtime#cpu-reduce-idle-usage).
	rabbit.Erlang = "+sbwt none +sbwtdcpu none +sbwtdio none"
	server, err := rabbit.Start(log)
	stop = func() {
		if server != nil {
			server.Kill()
		}
		rabbit.Close()
		log.Close()
		os.RemoveAll(dir)
	}
	if err != nil {
		stop()
		kit.Check(err)
	}
	return rabbit, stop
}

// rabbitMQ measures at a rate, and how fast a queue is worked off that filled up.
func (b *bench) rabbitMQ() {
	rabbit, stop := startRabbit()
	defer stop()
	// Two publish at once: each connection is a process of its own in RabbitMQ.
	streams := [][]message{newGenerator(usual).stream(streamEvents / 4), newGenerator(usual).stream(streamEvents / 4)}

	e := b.start(rabbit.URL("/"))
	defer e.Kill()
	before := e.cpu()
	sent, reached := publishRabbit(rabbit.Port, streams, int(rabbitRate*b.seconds), rabbitRate)
	b.Least(fmt.Sprintf("RabbitMQ at %d events/s: sent", rabbitRate), reached, "events/s", 0.98*rabbitRate)
	b.Most("… lost", e.lost(sent), "events", 0)
	b.Most("… CPU per 1,000 events", (e.cpu()-before)*1e6/float64(sent), "ms", rabbitCPU)
	// One that is killed leaves its queue for a minute, and the server would fill that too.
	kit.Check(e.Stop(syscall.SIGTERM, 10*time.Second))

	e = b.start(rabbit.URL("/"))
	defer e.Kill()
	e.Signal(syscall.SIGSTOP)
	sent, _ = publishRabbit(rabbit.Port, streams, filled, 0)
	before, began := e.cpu(), time.Now()
	e.Signal(syscall.SIGCONT)
	got, rate := e.worked(sent, began)
	b.Least("RabbitMQ, a filled queue worked off", rate, "events/s", rabbitRate)
	b.Most("… lost", float64(sent)-got, "events", 0)
	b.Most("… CPU per 1,000 events", (e.cpu()-before)*1e6/float64(sent), "ms", rabbitCPU)
}

// publishRabbit publishes events at a rate, 0 for full speed, and returns how many and the rate
// that was reached.
func publishRabbit(port int, streams [][]message, events int, rate float64) (sent int, reached float64) {
	var all atomic.Int64
	began := time.Now()
	kit.Parallel(len(streams), len(streams), func(i int) {
		connection := kit.Must(amqp.Dial(fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/", port)))
		defer connection.Close()
		channel := kit.Must(connection.Channel())
		n := play(streams[i], events/len(streams), rate/float64(len(streams)), func(m message) int {
			kit.Check(channel.PublishWithContext(context.Background(), "celeryev", m.key, false, false, amqp.Publishing{
				ContentType: "application/json", ContentEncoding: "utf-8", DeliveryMode: 1,
				Headers: amqp.Table{"hostname": "celery@worker"}, Body: m.body,
			}))
			return m.events
		})
		// A response comes after all that was sent before.
		kit.Check(channel.ExchangeDeclarePassive("celeryev", "topic", true, false, false, false, nil))
		all.Add(int64(n))
	})
	return int(all.Load()), float64(all.Load()) / time.Since(began).Seconds()
}
