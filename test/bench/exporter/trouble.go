// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"obstack.dev/obstack/test/realparts"
)

// overload sends as fast as it goes for a while, which is more than can be worked off, with the usual limits.
func (b *bench) overload() error {
	e, port, stop, err := b.onRedis()
	if err != nil {
		return err
	}
	defer stop()
	blocks := render(newGenerator(usual).stream(streamEvents), blockEvents)
	sent, began := 0, time.Now()
	for time.Since(began).Seconds() < b.seconds {
		n, err := publishRedis(port, blocks, streamEvents, 0)
		if err != nil {
			return err
		}
		sent += n
	}
	b.figure("overload: events sent", "events/s", float64(sent)/time.Since(began).Seconds(), bar{})
	got, err := e.counted(sent)
	if err != nil {
		return err
	}
	b.figure("overload: events counted", "events/s", got/time.Since(began).Seconds(), bar{})
	b.figure("overload: events counted", "%", 100*got/float64(sent), bar{})
	peak, err := e.memory("VmHWM")
	if err != nil {
		return err
	}
	b.figure("overload: peak memory", "MiB", peak, bar{})
	if err := b.losses(e, float64(sent)-got); err != nil {
		return err
	}
	after, err := publishRedis(port, blocks, 10_000, 10_000)
	if err != nil {
		return err
	}
	finally, err := e.counted(int(got) + after)
	b.figure("overload: caught up, events lost afterwards", "", got+float64(after)-finally, bar{0.5, false})
	return err
}

// manyTasks measures memory after a million events of a quarter of a million tasks.
func (b *bench) manyTasks() error {
	e, port, stop, err := b.onRedis()
	if err != nil {
		return err
	}
	defer stop()
	g := newGenerator(usual)
	sent := 0
	for sent < 1_000_000 {
		blocks := render(g.stream(100_000), blockEvents)
		n, err := publishRedis(port, blocks, 100_000, 50_000)
		if err != nil {
			return err
		}
		sent += n
	}
	memory, err := e.memory("VmRSS")
	if err != nil {
		return err
	}
	b.figure("memory after 1 M events of 250,000 tasks (RSS)", "MiB", memory, bar{60, false})
	got, err := e.counted(sent)
	b.figure("lost of 1 M events", "", float64(sent)-got, bar{0.5, false})
	return err
}

// rabbitMQ measures at two rates, and how fast a queue is worked off that filled up.
func (b *bench) rabbitMQ() error {
	dir, err := os.MkdirTemp("", "bench-rabbitmq")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	rabbit, err := realparts.NewRabbitMQ(dir)
	if err != nil {
		return err
	}
	defer rabbit.Close()
	log, err := os.Create(dir + "/output.log")
	if err != nil {
		return err
	}
	defer log.Close()
	server, err := rabbit.Start(log)
	if err != nil {
		return err
	}
	defer server.Kill()
	for _, rate := range []float64{20_000, 45_000} {
		if err := b.rabbitAt(rabbit, rate); err != nil {
			return err
		}
	}
	return b.rabbitFilled(rabbit)
}

// publishers is how many connections publish. Each is a process of its own in RabbitMQ.
const publishers = 2

func newPublishers(port, events int) ([]*publisher, error) {
	var all []*publisher
	for range publishers {
		p, err := newPublisher(port, newGenerator(usual).stream(events/publishers))
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// publishAll publishes from all connections at once.
func publishAll(all []*publisher, events int, rate float64) (int, error) {
	type result struct {
		sent int
		err  error
	}
	results := make(chan result, len(all))
	for _, p := range all {
		go func() {
			sent, err := p.publish(events/len(all), rate/float64(len(all)))
			results <- result{sent, err}
		}()
	}
	sent, failed := 0, error(nil)
	for range all {
		r := <-results
		sent += r.sent
		failed = errors.Join(failed, r.err)
	}
	return sent, failed
}

// rabbitAt measures a rate.
func (b *bench) rabbitAt(rabbit *realparts.RabbitMQ, rate float64) error {
	e, err := b.startExporter(rabbit.URL("/"))
	if err != nil {
		return err
	}
	defer e.Kill()
	all, err := newPublishers(rabbit.Port, streamEvents/2)
	if err != nil {
		return err
	}
	before, err := e.cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	sent, err := publishAll(all, int(rate*b.seconds), rate)
	if err != nil {
		return err
	}
	reached := float64(sent) / time.Since(began).Seconds()
	got, err := e.counted(sent)
	if err != nil {
		return err
	}
	used, err := e.cpu()
	if err != nil {
		return err
	}
	name := fmt.Sprintf("RabbitMQ at %.0f events/s", rate)
	b.figure(name+": sent", "events/s", reached, bar{0.98 * rate, true})
	b.figure(name+": lost", "events", float64(sent)-got, bar{0.5, false})
	b.figure(name+": CPU per 1,000 events", "ms", (used-before)*1e6/float64(sent), bar{})
	for _, p := range all {
		if err := p.Close(); err != nil {
			return err
		}
	}
	return nil
}

// filled is how many events wait in the queue: far below its limit of 64 MiB, and sent before RabbitMQ takes an exporter
// that does not answer for dead, which is after ten seconds.
const filled = 60_000

// rabbitFilled stops the exporter, fills its queue and measures how fast it is worked off.
func (b *bench) rabbitFilled(rabbit *realparts.RabbitMQ) error {
	all, err := newPublishers(rabbit.Port, filled)
	if err != nil {
		return err
	}
	rate, cpu, err := b.drainFilled(rabbit, all)
	if err != nil {
		return err
	}
	b.figure("RabbitMQ, a filled queue worked off", "events/s", rate, bar{45_000, true})
	b.figure("RabbitMQ, a filled queue: CPU per 1,000 events", "ms", cpu, bar{})
	return nil
}

func (b *bench) drainFilled(rabbit *realparts.RabbitMQ, all []*publisher) (rate, cpu float64, err error) {
	e, err := b.startExporter(rabbit.URL("/"))
	if err != nil {
		return 0, 0, err
	}
	defer e.Kill()
	e.Signal(syscall.SIGSTOP)
	sent, err := publishAll(all, filled, 0)
	if err != nil {
		return 0, 0, err
	}
	before, err := e.cpu()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	e.Signal(syscall.SIGCONT)
	if rate, err = e.worked(sent, began); err != nil {
		return 0, 0, err
	}
	used, err := e.cpu()
	return rate, (used - before) * 1e6 / float64(sent), err
}
